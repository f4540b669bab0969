import fc from 'fast-check'
import t from 'tap'
import { FormatError } from '../base/errors.ts'
import { syntheticOvmf } from '../formats/testing/synthetic-ovmf.ts'
import { cpuSignature } from './sev/cpu-models.ts'
import { kernelHashes } from './sev/kernel-hashes.ts'
import { predictSev, predictSevEs, sevFirmware } from './sev/launch.ts'
import { snpFirmware } from './snp/firmware.ts'
import { predictSnp } from './snp/launch.ts'
import { predictMrtd } from './tdx/mrtd.ts'

const cpu = cpuSignature('EPYC-v4')
const kernel = kernelHashes({ kernel: Buffer.from('kernel') })
const SIZE = 0x10000
const rom = syntheticOvmf({ size: SIZE, content: 'varied' })

const PREDICT = {
  sev: (file: Uint8Array) => predictSev(sevFirmware(file), { kernel }).launchDigest,
  'sev-es': (file: Uint8Array) => predictSevEs(sevFirmware(file), { vcpus: 2, cpu, kernel }).launchDigest,
  'sev-snp': (file: Uint8Array) => predictSnp(snpFirmware(file), { vcpus: 2, cpu, kernel }).launchDigest,
  tdx: (file: Uint8Array) => predictMrtd(file).mrtd,
} as const

type Platform = keyof typeof PREDICT

const platforms = Object.keys(PREDICT) as readonly Platform[]

/** A digest in hex, or what refused the file. Anything but FormatError and UsageError is a crash. */
function outcome(platform: Platform, file: Uint8Array): string {
  try {
    return PREDICT[platform](file).toString('hex')
  } catch (error) {
    if (error instanceof FormatError) return `refused: ${error.field}`
    // A build that is left without a hashes table takes no kernel.
    if (error instanceof Error && /cannot hash a kernel/.test(error.message)) return 'refused: kernel'
    throw error
  }
}

const isDigest = (text: string): boolean => /^[0-9a-f]{64,96}$/.test(text)

t.test('the ROM itself has a digest on every platform', async (t) => {
  for (const platform of platforms) t.ok(isDigest(outcome(platform, rom)), platform)
})

t.test('a ROM that is cut anywhere has none', async (t) => {
  const cut = fc.tuple(fc.integer({ min: 0, max: SIZE }), fc.integer({ min: 1, max: SIZE }))
  fc.assert(
    fc.property(cut, fc.constantFrom('sev-snp' as const, 'tdx' as const), ([start, length], platform) => {
      const end = Math.min(start + length, SIZE)
      const file = Buffer.concat([rom.subarray(0, start), rom.subarray(end)])
      return file.length === SIZE || !isDigest(outcome(platform, file))
    }),
    { numRuns: 400 },
  )
  t.pass()
})

t.test('a byte changed in what is measured changes the digest or is refused', async (t) => {
  const [variables, tables] = [0x2000, SIZE - 0x800]
  const known = new Map(platforms.map((platform) => [platform, outcome(platform, rom)]))
  const at = fc.oneof(
    fc.integer({ min: variables, max: SIZE - 1 }),
    fc.integer({ min: tables, max: SIZE - 1 }),
  )
  fc.assert(
    fc.property(
      at,
      fc.integer({ min: 1, max: 255 }),
      fc.constantFrom(...platforms),
      (offset, change, platform) => {
        const file = Buffer.from(rom)
        file[offset] = (file[offset] ?? 0) ^ change
        return outcome(platform, file) !== known.get(platform)
      },
    ),
    { numRuns: 600 },
  )
  t.pass()
})

t.test('arbitrary damage neither crashes nor hangs, and is never measured as if it were whole', async (t) => {
  const known = new Set(platforms.map((platform) => outcome(platform, rom)))
  const damage = fc.array(
    fc.record({
      at: fc.oneof(fc.nat(SIZE - 1), fc.integer({ min: SIZE - 0x800, max: SIZE - 1 })),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }),
    }),
    { minLength: 1, maxLength: 8 },
  )
  fc.assert(
    fc.property(damage, fc.constantFrom(...platforms), (changes, platform) => {
      const file = Buffer.from(rom)
      for (const { at, bytes } of changes) file.set(bytes.subarray(0, SIZE - at), at)
      // What TDX does not measure, the variable store, may be anything.
      const measured = platform === 'tdx' ? [file, rom].map((each) => each.subarray(0x2000)) : [file, rom]
      const equal = measured[0] !== undefined && measured[1] !== undefined && measured[0].equals(measured[1])
      return equal || !known.has(outcome(platform, file))
    }),
    { numRuns: 600 },
  )
  t.pass()
})
