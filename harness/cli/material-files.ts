/** Files and numbers that commands about measuring take: read with bounds, named in errors as the user named them. */
import { readFile, stat } from 'node:fs/promises'
import { UsageError } from '../base/errors.ts'

const MIB = 1024 * 1024

/** What a file may be at most; a kernel with a disk image for an initrd is large, nothing is larger. */
export const FILE_LIMITS = { firmware: 64 * MIB, kernel: 1024 * MIB, key: MIB, document: 64 * MIB } as const

/** Throws UsageError where there is no such file, it cannot be read, is no file, or is too large. */
export async function readMaterial(path: string, flag: string, limit: number): Promise<Buffer> {
  const bad = (problem: string, cause?: unknown) =>
    new UsageError(`cannot read ${flag} ${path}: ${problem}`, { code: 'bad-value', cause })
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw bad(error.code === 'ENOENT' ? 'there is no such file' : `${error.code}`, error)
  })
  if (!found.isFile()) throw bad('it is not a file')
  if (found.size > limit) throw bad(`it has ${found.size} bytes, at most ${limit} are supported`)
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw bad(`${error.code}`, error)
  })
}

/** A whole number in decimals or `0x` and hex digits, 0 to 2^64 - 1. Throws UsageError. */
export function wholeNumber(text: string, flag: string): bigint {
  const isNumber = /^(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})$/.test(text)
  const value = isNumber ? BigInt(text) : -1n
  if (value < 0n || value >= 1n << 64n)
    throw new UsageError(`${flag} is "${text}", a whole number of at most 64 bits is required`, {
      code: 'bad-value',
    })
  return value
}

/** Hex digits of exactly `length` bytes. Throws UsageError. */
export function hexBytes(text: string, flag: string, length: number): Buffer {
  if (/^[0-9a-fA-F]*$/.test(text) && text.length === length * 2) return Buffer.from(text, 'hex')
  throw new UsageError(`${flag} is "${text}", ${length} bytes as ${length * 2} hex digits are required`, {
    code: 'bad-value',
  })
}

const UNITS = { M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 } as const

/** `2G`, `512M` as QEMU takes them; without a unit MiB. Throws UsageError. */
export function memoryBytes(text: string): number {
  const [, digits, unit = 'M'] = /^([1-9][0-9]{0,8})([MGT])?$/.exec(text) ?? []
  const bytes = Number(digits) * UNITS[unit as keyof typeof UNITS]
  if (digits !== undefined && Number.isSafeInteger(bytes)) return bytes
  throw new UsageError(`--memory is "${text}", a size such as 512M or 2G is required`, { code: 'bad-value' })
}
