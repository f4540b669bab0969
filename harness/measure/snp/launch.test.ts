import t from 'tap'
import { digest } from '../../base/digest.ts'
import { FormatError, UsageError } from '../../base/errors.ts'
import { SYNTHETIC_SEV, syntheticOvmf } from '../../formats/testing/synthetic-ovmf.ts'
import { CPU_MODEL_NAMES, cpuidSignature, cpuSignature } from '../sev/cpu-models.ts'
import { encodeHashesTable, HASHES_TABLE_BYTES, kernelHashes } from '../sev/kernel-hashes.ts'
import { predictSev, predictSevEs, sevFirmware } from '../sev/launch.ts'
import { snpFirmware, withFirmwareDigest } from './firmware.ts'
import { predictSnp } from './launch.ts'
import { LaunchDigest, PAGE_TYPES, type Region } from './page-info.ts'

const rom = syntheticOvmf({ size: 0x10000, content: 'varied' })
const firmware = snpFirmware(rom)
const cpu = cpuSignature('EPYC-v4')
const kernel = kernelHashes({ kernel: Buffer.from('kernel'), append: 'quiet' })

/** PAGE_INFO written out as the specification's table has it, one hash a page. */
function byTheBook(regions: readonly Region[]): Buffer {
  let current: Buffer = Buffer.alloc(48)
  for (const { gpa, size, type, contents } of regions)
    for (let offset = 0; offset < size; offset += 0x1000) {
      const page = contents?.subarray(offset, offset + 0x1000)
      const info = Buffer.alloc(0x70)
      info.set(current, 0)
      if (page) info.set(digest('sha384', page), 0x30)
      info.writeUInt16LE(0x70, 0x60)
      info.writeUInt8(PAGE_TYPES[type], 0x62)
      info.writeBigUInt64LE(BigInt(gpa + offset), 0x68)
      current = digest('sha384', info)
    }
  return current
}

t.test('the digest is that of the regions it names, page by page', async (t) => {
  for (const vmm of ['qemu', 'ec2', 'gce'] as const)
    for (const options of [{ vcpus: 1 }, { vcpus: 3, kernel, guestFeatures: 0x21n }]) {
      const { launchDigest, regions } = predictSnp(firmware, { cpu, vmm, ...options })
      t.equal(launchDigest.toString('hex'), byTheBook(regions).toString('hex'), vmm)
    }
})

/** Of the synthetic ROM, computed by virtee/sev-snp-measure 0.0.13 (8f2b337e). */
t.test('digests of an independent implementation', async (t) => {
  const both = kernelHashes({
    kernel: Buffer.from('kernel'),
    initrd: Buffer.from('initrd'),
    append: 'quiet',
  })
  const alone = kernelHashes({ kernel: Buffer.from('kernel') })
  const [sev, milan, genoa] = [sevFirmware(rom), cpuSignature('EPYC-Milan'), cpuSignature('EPYC-Genoa')]
  const found = {
    sev: predictSev(sev),
    'sev, kernel': predictSev(sev, { kernel: both }),
    'sev-es, kernel': predictSevEs(sev, { vcpus: 3, cpu: milan, kernel: alone }),
    snp: predictSnp(firmware, { vcpus: 2, cpu }),
    'snp, kernel': predictSnp(firmware, { vcpus: 3, cpu: genoa, guestFeatures: 0x21n, kernel: both }),
    'snp, ec2': predictSnp(firmware, { vcpus: 2, cpu, vmm: 'ec2' }),
    'snp, gce': predictSnp(firmware, { vcpus: 2, cpu, vmm: 'gce' }),
  }
  const digests = Object.entries(found).map(([name, launch]) => [name, launch.launchDigest.toString('hex')])
  t.same(Object.fromEntries(digests), {
    sev: '36ef5ee87e98fcdc53053e2ce4926c6794004cea68ab821f99788b1dbe8fdbd3',
    'sev, kernel': '0b17970da5f7e524011ea435569819d60595b9bfab8938014b8e4aeaaa64babd',
    'sev-es, kernel': '1f79ffa5613230dc59287ba34aa076b8f8359eb1b155b9c4561f956b99f3b382',
    snp: '96d0a106e280f96cb4fe21a680402a195b78e780ce6e9c4257de48ddf906669b59bc2a2fa552f4d843f1f3a595fa14e8',
    'snp, kernel':
      '8efa47619c54e98f1b9d4a7d89cd773bfbcc9e10f7daffbae0ed3c00f9f7f2907d114fe8cf77f0ec2d8ea0798eef91d9',
    'snp, ec2':
      'affde1366ede7aaf14c911e33f211b0af5cac45ef7837cefab95da82b54e41fe8dfa498f4a7577272f7c100cdf991025',
    'snp, gce':
      'ed122f535fcbd667cb27a286ba8ca7969ac7ad183a95b9c4f3b9d7f801b58e6da8477dd9ca4cd06c03b7653a8b6f29a2',
  })
})

t.test('repeated pages are measured like any other', async (t) => {
  const erased = syntheticOvmf({ size: 0x10000 })
  const { launchDigest, regions } = predictSnp(snpFirmware(erased), { vcpus: 1, cpu })
  t.equal(launchDigest.toString('hex'), byTheBook(regions).toString('hex'))
})

t.test('one firmware serves many launches, each with its own digest', async (t) => {
  const variants = [
    { vcpus: 1, cpu },
    { vcpus: 2, cpu },
    { vcpus: 1, cpu: cpuSignature('EPYC-Milan') },
    { vcpus: 1, cpu, guestFeatures: 0x21n },
    { vcpus: 1, cpu, kernel },
    { vcpus: 1, cpu, vmm: 'gce' as const },
  ]
  const digests = variants.map((options) => predictSnp(firmware, options).launchDigest.toString('hex'))
  t.equal(new Set(digests).size, variants.length)
  const again = variants.map((options) => predictSnp(snpFirmware(rom), options).launchDigest.toString('hex'))
  t.same(digests, again)
  const known = withFirmwareDigest(firmware, firmware.digest())
  t.equal(predictSnp(known, { vcpus: 1, cpu }).launchDigest.toString('hex'), digests[0])
})

t.test('sections are measured in the order of the file', async (t) => {
  const reversed = snpFirmware(syntheticOvmf({ size: 0x10000, sev: SYNTHETIC_SEV.toReversed() }))
  const { regions } = predictSnp(reversed, { vcpus: 1, cpu })
  t.same(
    regions.slice(1, -1).map(({ gpa }) => gpa),
    SYNTHETIC_SEV.map(({ gpa }) => gpa).reverse(),
  )
})

t.test('the hashes table lies in its page where the firmware looks for it', async (t) => {
  const page = predictSnp(firmware, { vcpus: 1, cpu, kernel }).regions.find(({ gpa }) => gpa === 0x810000)
  t.equal(page?.type, 'normal')
  const table = Buffer.from(page?.contents ?? []).subarray(0xc00, 0xc00 + HASHES_TABLE_BYTES)
  t.ok(table.equals(encodeHashesTable(kernel)))
  const elsewhere = syntheticOvmf({ size: 0x10000, hashesTable: { gpa: 0x820c00, size: 0x400 } })
  t.throws(() => predictSnp(snpFirmware(elsewhere), { vcpus: 1, cpu, kernel }), FormatError)
  const across = syntheticOvmf({ size: 0x10000, hashesTable: { gpa: 0x810f80, size: 0x80 } })
  t.throws(() => predictSnp(snpFirmware(across), { vcpus: 1, cpu, kernel }), UsageError)
  const without = syntheticOvmf({ size: 0x10000, hashesTable: { gpa: 0, size: 0 } })
  t.throws(() => predictSnp(snpFirmware(without), { vcpus: 1, cpu, kernel }), UsageError)
})

t.test('what no launch can have is refused', async (t) => {
  for (const vcpus of [0, -1, 1.5, 4097, Number.NaN])
    t.throws(() => predictSnp(firmware, { vcpus, cpu }), { name: 'UsageError' }, `${vcpus} vCPUs`)
  for (const guestFeatures of [0n, 0x20n, 1n | (1n << 64n)])
    t.throws(() => predictSnp(firmware, { vcpus: 1, cpu, guestFeatures }), { name: 'UsageError' })
  t.throws(() => predictSevEs(sevFirmware(rom), { vcpus: 1, cpu, guestFeatures: 1n }), { name: 'UsageError' })
  const noReset = snpFirmware(syntheticOvmf({ size: 0x10000, resetAddress: 0 }))
  t.ok(predictSnp(noReset, { vcpus: 1, cpu }))
  t.throws(() => predictSnp(noReset, { vcpus: 2, cpu }), { name: 'FormatError' })
  t.throws(() => withFirmwareDigest(firmware, Buffer.alloc(32)), FormatError)
  t.throws(() => kernelHashes({ kernel: rom, append: 'a\0b' }), { name: 'UsageError' })
})

t.test('regions that are no whole pages, or have the wrong contents, are refused', async (t) => {
  const page = Buffer.alloc(0x1000)
  const wrong: readonly Region[] = [
    { gpa: 1, size: 0x1000, type: 'zero' },
    { gpa: 0, size: 0, type: 'zero' },
    { gpa: 0, size: 0x800, type: 'zero' },
    { gpa: 2 ** 48, size: 0x1000, type: 'zero' },
    { gpa: 0, size: 0x1000, type: 'normal' },
    { gpa: 0, size: 0x1000, type: 'zero', contents: page },
    { gpa: 0, size: 0x2000, type: 'normal', contents: page },
  ]
  for (const region of wrong) t.throws(() => new LaunchDigest().add(region), FormatError)
})

t.test('CPU models by name and by numbers', async (t) => {
  t.equal(cpuidSignature(cpuSignature('EPYC-v4')), 0x800f12)
  t.equal(cpuidSignature(cpuSignature('EPYC-Turin')), 0xb00f00)
  t.same(cpuSignature('25/1/1'), cpuSignature('EPYC-Milan-v2'))
  t.same(cpuSignature('Icelake-Server-v4'), { family: 6, model: 106, stepping: 0 })
  t.equal(new Set(CPU_MODEL_NAMES).size, CPU_MODEL_NAMES.length)
  for (const name of [
    'host',
    'max',
    '',
    'epyc',
    'EPYC-v6',
    '25/1',
    '25/256/1',
    '25/1/16',
    '999/0/0',
    '__proto__',
  ])
    t.throws(() => cpuSignature(name), { name: 'UsageError', code: 'bad-value' }, name)
})
