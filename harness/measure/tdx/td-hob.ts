/**
 * The TD HOB list: how QEMU tells the firmware of a TD its memory. The firmware measures it first of all into RTMR0.
 * UEFI PI specification 1.8, volume 3, chapter 5; QEMU, hw/i386/tdvf-hob.c; TDVF Design Guide (344991), chapter 7.
 */
import { ByteWriter } from '../../base/bytes.ts'
import { UsageError } from '../../base/errors.ts'
import { FOUR_GIB, PAGE_BYTES } from '../../formats/ovmf/pointed.ts'
import type { TdvfSection } from '../../formats/ovmf/tdvf-metadata.ts'

const HANDOFF = { type: 1, bytes: 56, version: 9 } as const
const RESOURCE = { type: 3, bytes: 48 } as const
const END_BYTES = 8

/** EFI_RESOURCE_SYSTEM_MEMORY: the VMM added the pages, and BZ3937_EFI_RESOURCE_MEMORY_UNACCEPTED. */
const ACCEPTED = 0
const UNACCEPTED = 7
/** Present, initialized, tested. */
const ATTRIBUTES = 7

/** Where q35 with more memory than that leaves a hole for devices: only this much lies below 4 GiB then. */
const LOW_MEMORY_LIMIT = 0xb000_0000
const LOW_MEMORY = 0x8000_0000

interface Range {
  readonly start: number
  readonly end: number
}

/**
 * The list as it is measured: without its end marker. `memory` in bytes, whole pages. Throws UsageError where the
 * sections do not lie in that memory.
 */
export function tdHob(sections: readonly TdvfSection[], memory: number): Buffer {
  const hob = sections.find(({ type }) => type === 'td-hob')
  if (hob === undefined)
    throw new UsageError('cannot build a TD HOB: the firmware has no section for it', { code: 'bad-value' })
  if (!Number.isSafeInteger(memory) || memory <= 0 || memory % PAGE_BYTES !== 0)
    throw new UsageError(`cannot build a TD HOB for ${memory} bytes of memory: whole pages are required`, {
      code: 'bad-value',
    })
  const resources = memoryResources(acceptedRanges(sections), ramRanges(memory))
  const listBytes = HANDOFF.bytes + resources.length * RESOURCE.bytes
  const writer = new ByteWriter({ what: 'TD HOB' })
  writer.u16le(HANDOFF.type, 'HobType').u16le(HANDOFF.bytes, 'HobLength').zeros(4)
  // Boot mode and the memory limits stay zero; only the end of the list is told.
  writer.u32le(HANDOFF.version, 'Version').zeros(4 + 4 * 8)
  writer.u64le(BigInt(hob.gpa + listBytes + END_BYTES), 'EfiEndOfHobList')
  for (const { start, end, type } of resources) {
    writer
      .u16le(RESOURCE.type, 'HobType')
      .u16le(RESOURCE.bytes, 'HobLength')
      .zeros(4 + 16)
    writer.u32le(type, 'ResourceType').u32le(ATTRIBUTES, 'ResourceAttribute')
    writer.u64le(BigInt(start), 'PhysicalStart').u64le(BigInt(end - start), 'ResourceLength')
  }
  return writer.finish()
}

/** Bytes of a q35 guest's memory that lie below 4 GiB. */
export function lowMemory(memory: number): number {
  return memory < LOW_MEMORY_LIMIT ? memory : LOW_MEMORY
}

function ramRanges(memory: number): readonly Range[] {
  const low = lowMemory(memory)
  if (low === memory) return [{ start: 0, end: memory }]
  return [
    { start: 0, end: low },
    { start: FOUR_GIB, end: FOUR_GIB + memory - low },
  ]
}

/** What the VMM added to RAM; the firmware volumes lie in ROM. */
function acceptedRanges(sections: readonly TdvfSection[]): readonly Range[] {
  return sections
    .filter(({ type }) => type === 'td-hob' || type === 'temp-mem')
    .map(({ gpa, size }) => ({ start: gpa, end: gpa + size }))
    .sort((a, b) => a.start - b.start)
}

/** RAM in ascending order, cut at the accepted ranges. */
function memoryResources(accepted: readonly Range[], ram: readonly Range[]) {
  const outside = accepted.find(({ start, end }) => !ram.some((r) => r.start <= start && end <= r.end))
  if (outside)
    throw new UsageError(
      `cannot build a TD HOB: the firmware's section at 0x${outside.start.toString(16)} is not in the memory`,
      { code: 'bad-value', hint: 'give the TD more memory' },
    )
  return ram.flatMap(({ start, end }) => {
    const resources: (Range & { readonly type: number })[] = []
    let at = start
    for (const range of accepted.filter((each) => each.start >= start && each.end <= end)) {
      if (range.start > at) resources.push({ start: at, end: range.start, type: UNACCEPTED })
      resources.push({ ...range, type: ACCEPTED })
      at = range.end
    }
    if (at < end) resources.push({ start: at, end, type: UNACCEPTED })
    return resources
  })
}
