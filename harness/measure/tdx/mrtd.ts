/**
 * MRTD, the digest of a TD's first memory: Intel TDX Module specification (348549), chapter 12.1. SHA-384 over a buffer
 * for every page added (TDH.MEM.PAGE.ADD) and, where the contents count, for every 256 bytes of it (TDH.MR.EXTEND).
 */
import { createHash, type Hash } from 'node:crypto'
import type { OvmfFirmware } from '../../formats/ovmf/firmware.ts'
import { parseOvmf } from '../../formats/ovmf/firmware.ts'
import type { TdvfSection } from '../../formats/ovmf/tdvf-metadata.ts'

const PAGE_BYTES = 0x1000
const CHUNK_BYTES = 256
const CHUNKS_A_PAGE = PAGE_BYTES / CHUNK_BYTES
const HEADER_BYTES = 128
const GPA_AT = 16
const EXTEND_BYTES = HEADER_BYTES + CHUNK_BYTES

/**
 * `single`: each page is added and extended before the next, as QEMU with upstream's KVM does. `two`: a section's pages
 * are all added first, as older stacks did.
 */
export type MrtdPasses = 'single' | 'two'

export interface TdxRegion {
  readonly gpa: number
  readonly size: number
  readonly type: 'extended' | 'added'
  /** The section's bytes in the file, zero-padded to `size` when measured; none for memory that starts as zeros. */
  readonly contents: Uint8Array
  readonly section: TdvfSection['type']
}

export interface TdxLaunch {
  /** 48 bytes. */
  readonly mrtd: Buffer
  /** What is measured, in order. */
  readonly regions: readonly TdxRegion[]
}

/** Throws FormatError where the file is malformed or not made for TDX. */
export function predictMrtd(file: Uint8Array, passes: MrtdPasses = 'single'): TdxLaunch {
  const firmware = parseOvmf(file)
  const regions = firmware
    .tdvfSections()
    .filter(({ augmented }) => !augmented)
    .map((section) => regionOf(firmware, section))
  return { mrtd: measureTdxRegions(regions, passes), regions }
}

/** The digest of regions, in their order; those of a rehearsal, too. */
function measureTdxRegions(regions: readonly TdxRegion[], passes: MrtdPasses = 'single'): Buffer {
  const sha384 = createHash('sha384')
  const buffers = { add: pageBuffer(), page: pageWithExtends() }
  for (const region of regions) {
    if (region.type === 'added') addPages(sha384, region, buffers.add)
    else if (passes === 'single') extendPages(sha384, region, buffers.page, 0)
    else {
      addPages(sha384, region, buffers.add)
      extendPages(sha384, region, buffers.page, HEADER_BYTES)
    }
  }
  return sha384.digest()
}

function regionOf({ file }: OvmfFirmware, section: TdvfSection): TdxRegion {
  const { gpa, size, dataOffset, dataSize, extended, type } = section
  return {
    ...{ gpa, size, section: type },
    type: extended ? 'extended' : 'added',
    contents: file.subarray(dataOffset, dataOffset + dataSize),
  }
}

function pageBuffer(): Buffer {
  const buffer = Buffer.alloc(HEADER_BYTES)
  buffer.write('MEM.PAGE.ADD', 'ascii')
  return buffer
}

/** A page's PAGE.ADD and its sixteen MR.EXTENDs with their data: one call of the hash a page, not 33. */
function pageWithExtends(): Buffer {
  const buffer = Buffer.alloc(HEADER_BYTES + CHUNKS_A_PAGE * EXTEND_BYTES)
  buffer.set(pageBuffer())
  for (let chunk = 0; chunk < CHUNKS_A_PAGE; chunk++)
    buffer.write('MR.EXTEND', HEADER_BYTES + chunk * EXTEND_BYTES, 'ascii')
  return buffer
}

function addPages(sha384: Hash, { gpa, size }: TdxRegion, buffer: Buffer): void {
  for (let offset = 0; offset < size; offset += PAGE_BYTES) {
    buffer.writeUIntLE(gpa + offset, GPA_AT, 6)
    sha384.update(buffer)
  }
}

/** `from` leaves the PAGE.ADD out. */
function extendPages(sha384: Hash, { gpa, size, contents }: TdxRegion, buffer: Buffer, from: number): void {
  const measured = buffer.subarray(from)
  for (let offset = 0; offset < size; offset += PAGE_BYTES) {
    buffer.writeUIntLE(gpa + offset, GPA_AT, 6)
    for (let chunk = 0; chunk < CHUNKS_A_PAGE; chunk++) {
      const at = HEADER_BYTES + chunk * EXTEND_BYTES
      const start = offset + chunk * CHUNK_BYTES
      const data = contents.subarray(start, start + CHUNK_BYTES)
      buffer.writeUIntLE(gpa + start, at + GPA_AT, 6)
      buffer.set(data, at + HEADER_BYTES)
      if (data.length < CHUNK_BYTES) buffer.fill(0, at + HEADER_BYTES + data.length, at + EXTEND_BYTES)
    }
    sha384.update(measured)
  }
}
