/** What a guest extended its vTPM's registers by, read from swtpm's log while the guest runs. */
import { open } from 'node:fs/promises'
import { ByteReader } from '../../base/bytes.ts'
import { FormatError } from '../../base/errors.ts'

/** In the order in which the TPM did it. */
export type PcrEvent =
  /** TPM2_Startup(CLEAR): all registers are as after a reset. */
  | { readonly kind: 'startup' }
  /** `digest`: 48 bytes, of the SHA-384 bank. */
  | { readonly kind: 'extend'; readonly pcr: number; readonly digest: Buffer }

/** TPM 2.0 Library, part 2, TPM_CC. */
const STARTUP = 0x144
const PCR_EXTEND = 0x182
const PCR_EVENT = 0x13c
const EVENT_SEQUENCE_COMPLETE = 0x185
/** TPM_ST_SESSIONS: parameters follow their size. */
const WITH_SESSIONS = 0x8002
const SHA384 = 0x000c
const SHA384_BYTES = 48
const DIGEST_BYTES: Readonly<Record<number, number>> = { 4: 20, 11: 32, 12: SHA384_BYTES, 13: 64 }

/** In place of a digest that nobody knows; nothing has it. */
const UNKNOWN = Buffer.alloc(SHA384_BYTES, 0xff)

/** Longer than any command that is looked at. */
const LONGEST_COMMAND = 4096
const CHUNK_BYTES = 64 * 1024
const LONGEST_LINE = 1024

const FRAME = /^\s*SWTPM_IO_(Read|Write): length (\d{1,9})$/
const HEX_LINE = /^\s*((?:[0-9A-F]{2} ?)+)$/

/** What the last command does if the TPM answers it with success; it may be the answer that has the digest. */
type Asked = PcrEvent | { readonly kind: 'hash'; readonly pcr: number }

interface Frame {
  readonly isCommand: boolean
  readonly length: number
  seen: number
  bytes: Buffer[]
}

/**
 * Follows the log of one swtpm (`SwtpmOptions.log`). swtpm logs a response before it sends it, so what a guest knows to
 * have been extended is in the log. Memory stays flat, whatever the guest does.
 */
export class PcrExtendLog {
  readonly #file: string
  #offset = 0
  #line = ''
  #frame: Frame | undefined
  #asked: Asked | undefined

  constructor(file: string) {
    this.#file = file
  }

  /** What was added since the last call. Nothing where the log does not exist yet. */
  async *read(): AsyncGenerator<PcrEvent> {
    const handle = await open(this.#file).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (handle === undefined) return
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES)
      for (;;) {
        const { bytesRead } = await handle.read(chunk, 0, chunk.length, this.#offset)
        if (bytesRead === 0) return
        this.#offset += bytesRead
        yield* this.#lines(chunk.toString('latin1', 0, bytesRead))
      }
    } finally {
      await handle.close()
    }
  }

  *#lines(text: string): Generator<PcrEvent> {
    const lines = text.split('\n')
    for (const [index, part] of lines.entries()) {
      if (this.#line.length <= LONGEST_LINE) this.#line += part
      if (index === lines.length - 1) return
      const event = this.#take(this.#line)
      this.#line = ''
      if (event) yield event
    }
  }

  #take(line: string): PcrEvent | undefined {
    const [, direction, length] = FRAME.exec(line) ?? []
    if (length !== undefined) {
      this.#frame = { isCommand: direction === 'Read', length: Number(length), seen: 0, bytes: [] }
      return undefined
    }
    const digits = HEX_LINE.exec(line)?.[1]
    const frame = this.#frame
    if (frame === undefined || digits === undefined) return undefined
    const bytes = Buffer.from(digits.replaceAll(' ', ''), 'hex')
    if (frame.seen < LONGEST_COMMAND) frame.bytes.push(bytes)
    frame.seen += bytes.length
    if (frame.seen < frame.length) return undefined
    this.#frame = undefined
    return this.#finish(frame)
  }

  #finish({ isCommand, length, bytes }: Frame): PcrEvent | undefined {
    const whole = Buffer.concat(bytes).subarray(0, length)
    if (isCommand) {
      this.#asked = length <= LONGEST_COMMAND ? eventOf(whole) : undefined
      return undefined
    }
    const asked = this.#asked
    this.#asked = undefined
    return asked && outcomeOf(asked, whole)
  }
}

/** What an exchange of a guest with its TPM did, in whole commands and responses. */
export function pcrEventOf(command: Uint8Array, response: Uint8Array): PcrEvent | undefined {
  const asked = eventOf(command)
  return asked && outcomeOf(asked, response)
}

/**
 * What a guest meant by a command that its TPM never saw, or saw another for. A start is none; where the digest is the TPM's
 * to make (TPM2_PCR_Event) it is one of nothing.
 */
export function meantBy(command: Uint8Array): PcrEvent | undefined {
  const asked = eventOf(command)
  if (asked?.kind === 'extend') return asked
  return asked?.kind === 'hash' ? { kind: 'extend', pcr: asked.pcr, digest: UNKNOWN } : undefined
}

/** Undefined for all other commands, and for one that is malformed: the TPM refuses it. */
function eventOf(command: Uint8Array): Asked | undefined {
  return whereWhole(() => {
    const reader = new ByteReader(command, { what: 'TPM command' })
    reader.skip(6, 'tag and size')
    const code = reader.u32be('command code')
    if (code === STARTUP) return reader.u16be('startupType') === 0 ? { kind: 'startup' } : undefined
    if (code === PCR_EVENT || code === EVENT_SEQUENCE_COMPLETE)
      return { kind: 'hash', pcr: reader.u32be('pcrHandle') }
    if (code !== PCR_EXTEND) return undefined
    const pcr = reader.u32be('pcrHandle')
    reader.skip(reader.u32be('authorizationSize'), 'authorization area')
    return extendBy(pcr, reader)
  })
}

function outcomeOf(asked: Asked, response: Uint8Array): PcrEvent | undefined {
  return whereWhole(() => {
    const reader = new ByteReader(response, { what: 'TPM response' })
    const tag = reader.u16be('tag')
    reader.skip(4, 'size')
    if (reader.u32be('response code') !== 0) return undefined
    if (asked.kind !== 'hash') return asked
    if (tag === WITH_SESSIONS) reader.skip(4, 'parameterSize')
    return extendBy(asked.pcr, reader)
  })
}

function whereWhole<Result>(read: () => Result): Result | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}

function extendBy(pcr: number, reader: ByteReader): PcrEvent | undefined {
  const digest = sha384Of(reader)
  return digest && { kind: 'extend', pcr, digest }
}

/** TPML_DIGEST_VALUES. */
function sha384Of(reader: ByteReader): Buffer | undefined {
  let found: Buffer | undefined
  const count = reader.u32be('count')
  for (let index = 0; index < count; index++) {
    const algorithm = reader.u16be('hashAlg')
    const digest = reader.bytes(DIGEST_BYTES[algorithm] ?? Number.POSITIVE_INFINITY, 'digest')
    if (algorithm === SHA384) found = Buffer.from(digest)
  }
  return found
}
