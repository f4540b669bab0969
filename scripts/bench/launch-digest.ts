/**
 * Predictions of launch digests, in this process and as a command. The ratio compares with the bare SHA-384 of the ROM's
 * pages, taken turn by turn in the same run. Most of a ROM is erased and repeated pages are hashed once, which is why
 * the worst case stands beside it: the same ROM with no two pages alike.
 */
import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { cpuSignature } from '../../harness/measure/sev/cpu-models.ts'
import { kernelHashes } from '../../harness/measure/sev/kernel-hashes.ts'
import { type SnpFirmware, snpFirmware } from '../../harness/measure/snp/firmware.ts'
import { predictSnp, type SnpOptions } from '../../harness/measure/snp/launch.ts'
import { predictMrtd } from '../../harness/measure/tdx/mrtd.ts'
import { openTools } from '../../harness/system/tools.ts'
import type { Figure, Limit, Measure, MeasureOptions } from './figure.ts'

const REPEAT = 15
const FIRST: Limit = { atMost: 1.4 }
const FURTHER: Limit = { atMost: 3 }
const MRTD: Limit = { atMost: 60 }
const COMMAND: Limit = { atMost: 250 }

const PAGE_BYTES = 0x1000
const LAUNCHER = join(import.meta.dirname, '../attestbed')
const SNP_ROM = 'usr/share/ovmf/OVMF.amdsev.fd'
const TDX_ROM = 'usr/share/ovmf/OVMF.inteltdx.ms.fd'

const LAUNCH: SnpOptions = { vcpus: 64, cpu: cpuSignature('EPYC-v4') }

/** Launches of a matrix over one firmware. */
const VARIANTS: readonly SnpOptions[] = [
  { ...LAUNCH, cpu: cpuSignature('EPYC-Milan') },
  { ...LAUNCH, vcpus: 63 },
  { ...LAUNCH, guestFeatures: 0x21n },
  { ...LAUNCH, kernel: kernelHashes({ kernel: Buffer.from('kernel') }) },
]

export const launchDigest: Measure = {
  id: 'measure',
  title: 'predicted launch digests, 4 MiB of firmware, 64 vCPUs',
  run: async (options) => {
    const tools = await openTools()
    const [snp, tdx] = await Promise.all([readFile(tools.path(SNP_ROM)), readFile(tools.path(TDX_ROM))])
    options.tell('launch digests')
    return {
      figures: [
        ...firstFigures('as shipped', snp, options),
        ...firstFigures('no two pages alike', withoutRepeats(snp), options),
        furtherFigure(snp, options),
        { name: 'MRTD', unit: 'ms', samples: samples(options, () => predictMrtd(tdx)), limit: MRTD },
        await commandFigure(tools.path(SNP_ROM), options),
      ],
    }
  },
}

function firstFigures(title: string, rom: Buffer, options: MeasureOptions): readonly Figure[] {
  const bare: number[] = []
  const first: number[] = []
  // Turn by turn, so that what disturbs the machine disturbs both.
  for (const _ of turns(options)) {
    bare.push(milliseconds(() => hashPages(rom)))
    first.push(milliseconds(() => predictSnp(snpFirmware(rom), LAUNCH)))
  }
  const ratios = first.map((time, index) => time / (bare[index] ?? Number.NaN))
  return [
    { name: `SNP, first, ${title}, against bare SHA-384`, unit: 'ratio', samples: ratios, limit: FIRST },
    { name: `SNP, first, ${title}`, unit: 'ms', samples: first },
    { name: `bare SHA-384 of its pages, ${title}`, unit: 'ms', samples: bare },
  ]
}

function hashPages(rom: Buffer): void {
  for (let at = 0; at < rom.length; at += PAGE_BYTES)
    hash('sha384', rom.subarray(at, at + PAGE_BYTES), 'buffer')
}

function furtherFigure(rom: Buffer, options: MeasureOptions): Figure {
  const firmware: SnpFirmware = snpFirmware(rom)
  predictSnp(firmware, LAUNCH)
  const taken = VARIANTS.flatMap((variant) => samples(options, () => predictSnp(firmware, variant)))
  return { name: 'SNP, further ones over the same firmware', unit: 'ms', samples: taken, limit: FURTHER }
}

/** As a user calls it, Node's start included. */
async function commandFigure(rom: string, options: MeasureOptions): Promise<Figure> {
  const args = ['predict', 'sev-snp', '--firmware', rom, '--vcpus', '64', '--json']
  const call = async (): Promise<number> => {
    const startedAt = performance.now()
    await promisify(execFile)(LAUNCHER, args, { signal: options.signal })
    return performance.now() - startedAt
  }
  // The first fills Node's cache of compiled programs.
  await call()
  const taken: number[] = []
  for (const _ of turns(options)) taken.push(await call())
  return { name: 'attestbed predict sev-snp', unit: 'ms', samples: taken, limit: COMMAND }
}

function samples(options: MeasureOptions, work: () => unknown): readonly number[] {
  work()
  return turns(options).map(() => milliseconds(work))
}

function turns({ repeat = REPEAT, signal }: MeasureOptions): readonly number[] {
  signal.throwIfAborted()
  return Array.from({ length: repeat }, (_, index) => index)
}

function milliseconds(work: () => unknown): number {
  const startedAt = performance.now()
  work()
  return performance.now() - startedAt
}

/** The ROM with every page that repeats the one before it replaced by one that is like no other. */
function withoutRepeats(rom: Buffer): Buffer {
  const copy = Buffer.from(rom)
  for (let at = PAGE_BYTES; at < rom.length; at += PAGE_BYTES) {
    const repeats = rom.compare(rom, at - PAGE_BYTES, at, at, at + PAGE_BYTES) === 0
    if (repeats) copy.fill(`page ${at} `, at, at + PAGE_BYTES)
  }
  return copy
}
