import t, { type Test } from 'tap'
import { FormatError, UsageError } from '../base/errors.ts'
import { vector, vectorsMissing, vectorText } from '../base/testing/vectors.ts'
import { cpuSignature } from './sev/cpu-models.ts'
import { type KernelHashes, kernelHashes } from './sev/kernel-hashes.ts'
import { predictSev, predictSevEs, sevFirmware } from './sev/launch.ts'
import type { VmmFlavour } from './sev/vmsa.ts'
import { type SnpFirmware, snpFirmware, withFirmwareDigest } from './snp/firmware.ts'
import { predictSnp } from './snp/launch.ts'
import { LaunchDigest } from './snp/page-info.ts'
import { firmwareBuild } from './testing/firmware-builds.ts'

/** Computed by virtee/sev-snp-measure, an independent implementation. */
interface Case {
  readonly mode: 'sev' | 'seves' | 'snp'
  readonly firmware: string
  readonly vmm: string
  readonly direct_boot: 'none' | 'k+i+a' | 'k-only' | 'k+a' | 'k+i'
  readonly vcpus?: number
  readonly vcpu_type?: string
  readonly guest_features?: string
  readonly snp_ovmf_hash?: string
  readonly digest?: string
  readonly error?: string
}

interface Vectors {
  readonly firmware: Readonly<Record<string, { readonly sha256: string; readonly size: number }>>
  readonly inputs: { readonly append: string }
  readonly snp_ovmf_hash: Readonly<Record<string, string>>
  readonly cases: readonly Case[]
}

const bytes = (length: number, rule: (index: number) => number) =>
  Uint8Array.from({ length }, (_, i) => rule(i))
const kernel = bytes(1_048_699, (i) => (i * i + 7 * i + 11) % 251)
const initrd = bytes(300_000, (i) => (31 * i + 5) % 256)

/**
 * Files that the vectors' tool measures without a question, and that nobody can launch: SNP takes one whole ROM, and
 * the TDX build's SEV sections are empty.
 */
const REFUSED_FOR_SNP = /_CODE|inteltdx/

/** Parsed once a build, as a matrix does it: cases after the first take the ROM's digest from the first. */
function remembering<Firmware>(parse: (file: Buffer) => Firmware): (file: Buffer) => Firmware {
  const parsed = new WeakMap<Buffer, { readonly firmware: Firmware }>()
  return (file) => {
    const { firmware } = parsed.get(file) ?? { firmware: parse(file) }
    parsed.set(file, { firmware })
    return firmware
  }
}

const hashed = new Map<string, KernelHashes>()
const snp = remembering(snpFirmware)
const sev = remembering(sevFirmware)

t.test('launch digests of the vectors', { skip: vectorsMissing }, async (t) => {
  const vectors: Vectors = JSON.parse(vectorText('measure/debian_ovmf_sev_cases.json'))
  t.equal(vectors.cases.length, 356)
  for (const [name, { sha256, size }] of Object.entries(vectors.firmware)) {
    const file = firmwareBuild(sha256)
    const cases = vectors.cases.filter((each) => each.firmware === name)
    const skip =
      file === undefined && `${name} with SHA-256 ${sha256} is not at hand (see ATTESTBED_FIRMWARE)`
    t.test(`${name}: ${cases.length} cases`, { skip }, async (t) => {
      if (file === undefined) return
      t.equal(file.length, size)
      for (const each of cases) check(t, each, file, vectors.inputs.append)
    })
    t.test(`${name}: digest of the ROM alone`, { skip }, async (t) => {
      if (file === undefined) return
      const rom = { gpa: 2 ** 32 - file.length, size: file.length, type: 'normal', contents: file } as const
      t.equal(new LaunchDigest().add(rom).digest().toString('hex'), vectors.snp_ovmf_hash[name])
    })
  }
})

function check(t: Test, each: Case, file: Buffer, append: string): void {
  const { mode, firmware, direct_boot: boot } = each
  const title = [mode, each.vmm, boot, each.vcpus, each.vcpu_type, each.guest_features].join(' ')
  if (each.error !== undefined)
    t.throws(() => predict(each, file, append), { name: UsageError.name, code: 'bad-value' }, title)
  else if (mode === 'snp' && REFUSED_FOR_SNP.test(firmware))
    t.throws(() => predict(each, file, append), FormatError, `${title}: refused`)
  else t.equal(predict(each, file, append).toString('hex'), each.digest, title)
}

function predict(each: Case, file: Buffer, append: string): Buffer {
  const hashes = hashesFor(each.direct_boot, append)
  const options = {
    vcpus: each.vcpus ?? 1,
    cpu: cpuSignature(each.vcpu_type ?? 'EPYC'),
    vmm: each.vmm.toLowerCase() as VmmFlavour,
    ...(hashes && { kernel: hashes }),
  }
  if (each.mode === 'sev') return predictSev(sev(file), options).launchDigest
  if (each.mode === 'seves') return predictSevEs(sev(file), options).launchDigest
  const given = each.snp_ovmf_hash
  const firmware = given ? withFirmwareDigest(snp(file), Buffer.from(given, 'hex')) : snp(file)
  return predictSnp(firmware, { ...options, guestFeatures: BigInt(each.guest_features ?? '1') }).launchDigest
}

function hashesFor(boot: Case['direct_boot'], append: string): KernelHashes | undefined {
  if (boot === 'none') return undefined
  const hashes =
    hashed.get(boot) ??
    kernelHashes({
      kernel,
      ...(boot.includes('+i') && { initrd }),
      ...(boot.includes('+a') && { append }),
    })
  hashed.set(boot, hashes)
  return hashes
}

t.test('a digest that a processor signed: a dstack guest on Milan', { skip: vectorsMissing }, async (t) => {
  const inputs = JSON.parse(vectorText('measure/snp_dstack_live.json'))
  const types = { 1: 'sec-mem', 2: 'secrets', 3: 'cpuid', 4: 'svsm-caa', 16: 'kernel-hashes' } as const
  const firmware: SnpFirmware = {
    digest: () => Buffer.from(inputs.ovmf_hash, 'hex'),
    resetAddress: inputs.sev_es_reset_eip,
    hashesTable: { gpa: inputs.sev_hashes_table_gpa, size: 0x400 },
    sections: inputs.ovmf_sections.map(
      (section: { gpa: number; size: number; section_type: keyof typeof types }) => ({
        ...section,
        type: types[section.section_type],
      }),
    ),
  }
  const { cmdline } = kernelHashes({ kernel: new Uint8Array(), append: inputs.base_cmdline })
  const { launchDigest } = predictSnp(firmware, {
    vcpus: inputs.vcpus,
    cpu: cpuSignature(inputs.vcpu_type),
    guestFeatures: BigInt(inputs.guest_features),
    kernel: {
      kernel: Buffer.from(inputs.kernel_hash, 'hex'),
      initrd: Buffer.from(inputs.initrd_hash, 'hex'),
      cmdline,
    },
  })
  // MEASUREMENT, 48 bytes at 0x90 of the report.
  const report = vector('snp/milan_v3_dstack.report.bin')
  t.equal(launchDigest.toString('hex'), report.subarray(0x90, 0xc0).toString('hex'))
})
