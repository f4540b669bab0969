/** Predictions of launch digests and MRTD as documents. */
import { sha256Hex } from '../../base/digest.ts'
import type { SevSection } from '../../formats/ovmf/sev-metadata.ts'
import type { SevLaunch } from '../sev/launch.ts'
import { namedRegisters } from '../sev/vmsa.ts'
import type { SnpFirmware } from '../snp/firmware.ts'
import type { SnpLaunch } from '../snp/launch.ts'
import type { TdxLaunch } from '../tdx/mrtd.ts'
import type { InputName, MeasuredDocument, MeasuredPages } from './document.ts'

const PAGE_BYTES = 0x1000

export interface PredictionOptions {
  readonly platform: string
  readonly inputs: Readonly<Partial<Record<InputName, string>>>
  /** SHA-256 of a file that is measured as a whole: it is not hashed again. */
  readonly known?: { readonly contents: Uint8Array; readonly sha256: string }
  /** `each`: every page with contents on its own, so that `diff` can name it; a ROM of 4 MiB makes 1024. */
  readonly pages?: 'regions' | 'each'
}

interface Measured {
  readonly gpa: number
  readonly size: number
  readonly type: string
  readonly contents?: Uint8Array
  readonly what?: string
}

export function sevDocument(
  { launchDigest, regions }: SevLaunch,
  options: PredictionOptions,
): MeasuredDocument {
  const named = regions.map((region, index) => ({
    ...region,
    ...(region.type === 'normal' && { what: index === 0 ? 'rom' : 'kernel-hashes' }),
  }))
  return { launchDigest: launchDigest.toString('hex'), ...documentOf(named, options) }
}

export function snpDocument(
  { launchDigest, regions }: SnpLaunch,
  { sections, rom }: SnpFirmware,
  options: PredictionOptions,
): MeasuredDocument {
  const types = new Map<number, SevSection['type'] | 'rom'>(sections.map(({ gpa, type }) => [gpa, type]))
  if (rom) types.set(rom.gpa, 'rom')
  const named = regions.map((region) => {
    const what = types.get(region.gpa)
    return { ...region, ...(what !== undefined && { what }) }
  })
  return { launchDigest: launchDigest.toString('hex'), ...documentOf(named, options) }
}

export function tdxDocument({ mrtd, regions }: TdxLaunch, options: PredictionOptions): MeasuredDocument {
  const named = regions.map(({ gpa, size, type, contents, section: what }) => ({
    ...{ gpa, size, type, what },
    ...(type === 'extended' && { contents }),
  }))
  return { mrtd: mrtd.toString('hex'), ...documentOf(named, options) }
}

function documentOf(measured: readonly Measured[], options: PredictionOptions): MeasuredDocument {
  const { platform, inputs, pages = 'regions' } = options
  const listed = pages === 'each' ? measured.flatMap(eachPage) : measured
  return { kind: 'prediction', platform, inputs, pages: withCounts(listed, options.known) }
}

function eachPage(region: Measured): readonly Measured[] {
  const { gpa, size, contents } = region
  if (contents === undefined || size <= PAGE_BYTES) return [region]
  return Array.from({ length: size / PAGE_BYTES }, (_, index) => ({
    ...region,
    gpa: gpa + index * PAGE_BYTES,
    size: PAGE_BYTES,
    contents: contents.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES),
  }))
}

/** Equal VMSAs are one object each: they become one entry with a count. */
function withCounts(
  measured: readonly Measured[],
  known: PredictionOptions['known'],
): readonly MeasuredPages[] {
  const runs: { readonly first: Measured; count: number }[] = []
  for (const each of measured) {
    const last = runs.at(-1)
    const repeats = last && each.type === 'vmsa' && last.first.contents === each.contents
    if (last && repeats) last.count += 1
    else runs.push({ first: each, count: 1 })
  }
  return runs.map(({ first, count }) => {
    const { gpa, size, type, contents, what } = first
    return {
      ...{ gpa: `0x${gpa.toString(16)}`, size, type },
      ...(what !== undefined && { what }),
      ...(contents && { sha256: contents === known?.contents ? known.sha256 : sha256Hex(contents) }),
      ...(count > 1 && { count }),
      ...(type === 'vmsa' && contents && { registers: namedRegisters(contents) }),
    }
  })
}
