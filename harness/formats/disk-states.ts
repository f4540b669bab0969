/** The states that a power cut can leave a disk in: what is there after each of its writes, in order. */
import { createHash } from 'node:crypto'
import { FormatError } from '../base/errors.ts'
import type { LoggedWrite } from './write-log.ts'

const SECTOR_BYTES = 512
const KEY_BYTES = 32

/** A state that a power cut can leave behind: every write up to a point, and no other. */
export interface DiskState {
  /** Writes, from the first, that have reached the disk. */
  readonly after: number
  /** Equal for equal content: 64 hexadecimal digits. */
  readonly key: string
}

/**
 * The first state of each content, beginning with the disk as it was. Flushes, marks and discards change nothing: what
 * a discarded block reads as is not defined, and an old content is one of the answers. Throws FormatError `too-large`
 * for a write that leads outside.
 */
export function distinctStates(before: Uint8Array, writes: readonly LoggedWrite[]): readonly DiskState[] {
  const disk = new RunningDisk(before)
  const states = [{ after: 0, key: disk.key }]
  const seen = new Set(states.map(({ key }) => key))
  for (const [index, write] of writes.entries()) {
    if (write.kind !== 'write') continue
    checkPlace(before, write, index)
    disk.write(write.offset, write.data)
    if (seen.has(disk.key)) continue
    seen.add(disk.key)
    states.push({ after: index + 1, key: disk.key })
  }
  return states
}

/** A disk that is written to, and whose content has a key at any time. Offsets and lengths in bytes. */
export class RunningDisk {
  readonly bytes: Buffer
  readonly #before: Uint8Array
  // A sum of digests, one for each sector that differs from `before`: it changes with the sectors of a write alone.
  readonly #sum = new Uint8Array(KEY_BYTES)

  constructor(before: Uint8Array) {
    this.#before = before
    this.bytes = Buffer.from(before)
  }

  /** Equal for equal content: 64 hexadecimal digits. */
  get key(): string {
    return Buffer.from(this.#sum).toString('hex')
  }

  /** `data` must end within the disk. */
  write(offset: number, data: Uint8Array): void {
    const sectors = sectorsOf(offset, data.length)
    for (const sector of sectors) this.#toggle(sector)
    this.bytes.set(data, offset)
    for (const sector of sectors) this.#toggle(sector)
  }

  /** Adds a sector's digest to the sum, or takes it out again: XOR is its own inverse. */
  #toggle(sector: number): void {
    const [from, to] = [sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES]
    const content = this.bytes.subarray(from, to)
    if (content.equals(this.#before.subarray(from, to))) return
    const digest = createHash('sha256').update(`${sector}:`).update(content).digest()
    for (const [index, byte] of digest.entries()) this.#sum[index] = (this.#sum[index] ?? 0) ^ byte
  }
}

/** The disk after the first `count` entries of the log. Throws as `distinctStates`. */
export function stateAfter(before: Uint8Array, writes: readonly LoggedWrite[], count: number): Buffer {
  const disk = Buffer.from(before)
  for (const [index, write] of writes.slice(0, count).entries()) {
    if (write.kind !== 'write') continue
    checkPlace(disk, write, index)
    disk.set(write.data, write.offset)
  }
  return disk
}

function checkPlace(disk: Uint8Array, { offset, size }: LoggedWrite, index: number): void {
  if (offset + size <= disk.length) return
  throw new FormatError(
    `cannot replay write ${index} of the log: it ends at ${offset + size}, the disk has ${disk.length} bytes`,
    { code: 'too-large', field: 'sector', offset },
  )
}

function sectorsOf(offset: number, size: number): readonly number[] {
  const [first, end] = [Math.floor(offset / SECTOR_BYTES), Math.ceil((offset + size) / SECTOR_BYTES)]
  return Array.from({ length: end - first }, (_, index) => first + index)
}
