/** Changes to bytes that parsers trip over. */
import type { Random } from './random.ts'

type Mutation = (bytes: Buffer, random: Random, other: Uint8Array) => Buffer

const INTERESTING = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff]

/** One to four changes one after the other; `other` is another input, to take pieces from. At most `maxBytes` long. */
export function mutate(
  input: Uint8Array,
  {
    random,
    other,
    maxBytes,
  }: { readonly random: Random; readonly other: Uint8Array; readonly maxBytes: number },
): Buffer {
  let bytes: Buffer = Buffer.from(input)
  const changes = 1 + random.below(4)
  for (let index = 0; index < changes; index++) bytes = random.pick(MUTATIONS)(bytes, random, other)
  return bytes.subarray(0, maxBytes)
}

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  flipBit,
  setByte,
  setByte,
  setNumber,
  setNumber,
  addToNumber,
  truncate,
  remove,
  duplicate,
  insertRandom,
  splice,
  overwrite,
  digits,
]

function flipBit(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length)
  if (bytes.length > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8))
  return bytes
}

function setByte(bytes: Buffer, random: Random): Buffer {
  const value = random.below(2) === 0 ? random.pick(INTERESTING) : random.below(256)
  if (bytes.length > 0) bytes[random.below(bytes.length)] = value
  return bytes
}

/** Every length field at 0, 1 and max, among others: 2, 4 or 8 bytes in either order. */
function setNumber(bytes: Buffer, random: Random): Buffer {
  const size = random.pick([2, 4, 8])
  if (bytes.length < size) return bytes
  const values = [0n, 1n, 2n, BigInt(bytes.length), BigInt(bytes.length) + 1n, (1n << BigInt(size * 8)) - 1n]
  return writeNumber(bytes, random, {
    size,
    value: random.pick(values),
    at: random.below(bytes.length - size + 1),
  })
}

/** A length that is off by a little. */
function addToNumber(bytes: Buffer, random: Random): Buffer {
  if (bytes.length < 2) return bytes
  const at = random.below(bytes.length - 1)
  const bigEndian = random.below(2) === 0
  const old = bigEndian ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at)
  const value = (old + random.below(64) - 32) & 0xffff
  if (bigEndian) bytes.writeUInt16BE(value, at)
  else bytes.writeUInt16LE(value, at)
  return bytes
}

function writeNumber(
  bytes: Buffer,
  random: Random,
  { size, value, at }: { readonly size: number; readonly value: bigint; readonly at: number },
): Buffer {
  const bigEndian = random.below(2) === 0
  for (let index = 0; index < size; index++) {
    const shift = BigInt(8 * (bigEndian ? size - 1 - index : index))
    bytes[at + index] = Number((value >> shift) & 0xffn)
  }
  return bytes
}

function truncate(bytes: Buffer, random: Random): Buffer {
  return bytes.subarray(0, random.below(bytes.length))
}

interface Piece {
  readonly start: number
  readonly end: number
}

function piece(bytes: Uint8Array, random: Random): Piece {
  const start = random.below(bytes.length)
  return { start, end: start + 1 + random.below(Math.min(bytes.length - start, random.pick([4, 32, 512]))) }
}

function remove(bytes: Buffer, random: Random): Buffer {
  const { start, end } = piece(bytes, random)
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)])
}

function duplicate(bytes: Buffer, random: Random): Buffer {
  const { start, end } = piece(bytes, random)
  return Buffer.concat([bytes.subarray(0, end), bytes.subarray(start, end), bytes.subarray(end)])
}

function insertRandom(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1)
  const inserted = Buffer.alloc(1 + random.below(16), random.below(256))
  return Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)])
}

/** The beginning of one and the end of another. */
function splice(bytes: Buffer, random: Random, other: Uint8Array): Buffer {
  return Buffer.concat([
    bytes.subarray(0, random.below(bytes.length + 1)),
    other.subarray(random.below(other.length + 1)),
  ])
}

function overwrite(bytes: Buffer, random: Random, other: Uint8Array): Buffer {
  const { start, end } = piece(other, random)
  const at = random.below(bytes.length)
  bytes.set(other.subarray(start, Math.min(end, start + bytes.length - at)), at)
  return bytes
}

const TOKENS = [
  '-1',
  '0',
  '1e309',
  '99999999999999999999',
  'null',
  '""',
  '{}',
  '[]',
  '\\u0000',
  '%00',
  ':',
  ',',
  '\n',
]

/** For JSON, PEM and other text. */
function digits(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1)
  const token = Buffer.from(random.pick(TOKENS))
  return Buffer.concat([bytes.subarray(0, at), token, bytes.subarray(at + random.below(2) * token.length)])
}
