/**
 * The tar archives that bundles are: POSIX.1-1988 ustar headers (IEEE Std 1003.1, pax, "ustar Interchange Format"), and of
 * these regular files alone. Everything that an archive could do beside that (links, devices, extended headers that rename
 * what follows, sparse files, other encodings of a size) is refused by its type. Written by hand since a general reader
 * has to understand all that, and unpacks compressed data inside on its own.
 */
import { FormatError } from '../base/errors.ts'

const BLOCK = 512
const FIELDS = {
  name: { at: 0, bytes: 100 },
  size: { at: 124, bytes: 12 },
  checksum: { at: 148, bytes: 8 },
  type: { at: 156, bytes: 1 },
  magic: { at: 257, bytes: 8 },
  prefix: { at: 345, bytes: 155 },
} as const
const REGULAR = '0'
/** Version "00" follows the magic and its NUL. */
const MAGIC = 'ustar\x0000'
const TYPES: Readonly<Record<string, string>> = {
  ...{ '\0': 'a file of an older format', '1': 'a hard link', '2': 'a symbolic link', '3': 'a device' },
  ...{
    '4': 'a device',
    '5': 'a directory',
    '6': 'a FIFO',
    '7': 'a contiguous file',
    x: 'an extended header',
  },
  ...{ g: 'an extended header', L: 'a long name', K: 'a long link', S: 'a sparse file' },
}

export interface TarEntry {
  /** As it stands there: unchecked. */
  readonly path: string
  readonly size: number
  /** Of its header in the archive. */
  readonly offset: number
}

/** Gets the pieces of an entry's content in order. */
export type TakeContent = (piece: Uint8Array) => void | Promise<void>

/**
 * Reads to the end. `open` decides about an entry before a byte of its content is read, and throws to refuse it. Throws
 * FormatError `truncated`, `bad-value`, `trailing-bytes`; offsets are those in the archive.
 */
export async function readTar(
  source: AsyncIterable<Uint8Array>,
  open: (entry: TarEntry) => Promise<{ readonly take: TakeContent; readonly close: () => Promise<void> }>,
): Promise<void> {
  const input = new BlockInput(source)
  for (;;) {
    const { offset } = input
    const header = await input.read(BLOCK, 'a header')
    if (header.every((byte) => byte === 0)) return requireEnd(input)
    const entry = parseHeader(header, offset)
    const { take, close } = await open(entry)
    for (let left = entry.size; left > 0; ) {
      const piece = await input.readSome(left, `the content of ${JSON.stringify(entry.path)}`)
      await take(piece)
      left -= piece.length
    }
    await close()
    const padding = (BLOCK - (entry.size % BLOCK)) % BLOCK
    if (padding > 0) requireZero(await input.read(padding, 'padding'), input.offset - padding)
  }
}

function parseHeader(header: Buffer, offset: number): TarEntry {
  const field = (name: keyof typeof FIELDS): Buffer =>
    header.subarray(FIELDS[name].at, FIELDS[name].at + FIELDS[name].bytes)
  const refuse = (name: string, reason: string): never => {
    throw new FormatError(`cannot read the bundle's archive at 0x${offset.toString(16)}: ${reason}`, {
      ...{ code: 'bad-value', field: name, offset },
    })
  }
  if (field('magic').toString('latin1') !== MAGIC) refuse('magic', 'there is no ustar header')
  const blanked = Buffer.from(header)
  blanked.fill(' ', FIELDS.checksum.at, FIELDS.checksum.at + FIELDS.checksum.bytes)
  const sum = blanked.reduce((total, byte) => total + byte, 0)
  if (octal(field('checksum')) !== sum) refuse('checksum', `the header's sum is ${sum}, it names another`)
  const type = field('type').toString('latin1')
  if (type !== REGULAR)
    refuse(
      'type',
      `an entry is ${TYPES[type] ?? `of type ${JSON.stringify(type)}`}; only regular files may be there`,
    )
  const size = octal(field('size')) ?? refuse('size', 'its size is no octal number')
  const prefix = ascii(field('prefix'))
  const name = ascii(field('name')) ?? refuse('name', 'its name is not plain text')
  if (prefix === undefined) refuse('prefix', 'its name is not plain text')
  return { path: prefix ? `${prefix}/${name}` : name, size, offset }
}

/** Digits, then a space or NUL; undefined for anything else, GNU's binary sizes among it. */
function octal(field: Buffer): number | undefined {
  const digits = /^ *([0-7]{1,11})[ \0]{0,11}$/.exec(field.toString('latin1'))?.[1]
  return digits === undefined ? undefined : Number.parseInt(digits, 8)
}

/** Up to the first NUL, behind which there is nothing else. */
function ascii(field: Buffer): string | undefined {
  return /^([\x20-\x7e]*)\0*$/.exec(field.toString('latin1'))?.[1]
}

function requireZero(bytes: Uint8Array, offset: number): void {
  if (bytes.every((byte) => byte === 0)) return
  throw new FormatError(
    `cannot read the bundle's archive at 0x${offset.toString(16)}: bytes follow where zeros are required`,
    { code: 'trailing-bytes', field: 'padding', offset },
  )
}

/** A second block of zeros at least, and zeros up to a multiple of the record size: nothing can hide behind the end. */
async function requireEnd(input: BlockInput): Promise<void> {
  requireZero(await input.read(BLOCK, 'the end'), input.offset - BLOCK)
  for await (const rest of input.rest()) requireZero(rest, input.offset - rest.length)
}

/** Bytes of a stream, as many at a time as are wanted. */
class BlockInput {
  readonly #source: AsyncIterator<Uint8Array>
  #waiting: Uint8Array = Buffer.alloc(0)
  offset = 0

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  async read(bytes: number, what: string): Promise<Buffer> {
    const parts: Uint8Array[] = []
    for (let left = bytes; left > 0; ) {
      const piece = await this.readSome(left, what)
      parts.push(piece)
      left -= piece.length
    }
    return Buffer.concat(parts)
  }

  /** At least one byte, at most `most`. */
  async readSome(most: number, what: string): Promise<Uint8Array> {
    while (this.#waiting.length === 0) {
      const next = await this.#source.next()
      if (next.done)
        throw new FormatError(
          `cannot read the bundle's archive: it ends at 0x${this.offset.toString(16)}, within ${what}`,
          { code: 'truncated', field: 'archive', offset: this.offset },
        )
      this.#waiting = next.value
    }
    const piece = this.#waiting.subarray(0, most)
    this.#waiting = this.#waiting.subarray(piece.length)
    this.offset += piece.length
    return piece
  }

  async *rest(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#waiting.length === 0) {
        const next = await this.#source.next()
        if (next.done) return
        this.#waiting = next.value
      }
      const piece = this.#waiting
      this.#waiting = Buffer.alloc(0)
      this.offset += piece.length
      yield piece
    }
  }
}
