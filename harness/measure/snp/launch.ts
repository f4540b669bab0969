/** The launch digest of an SNP guest (report field MEASUREMENT), from the materials of its launch. */
import { UsageError } from '../../base/errors.ts'
import type { SevSection } from '../../formats/ovmf/sev-metadata.ts'
import type { CpuSignature } from '../sev/cpu-models.ts'
import { encodeHashesTable, HASHES_TABLE_BYTES, type KernelHashes } from '../sev/kernel-hashes.ts'
import { savedAreaPages } from '../sev/processors.ts'
import { VMSA_BYTES, type VmmFlavour } from '../sev/vmsa.ts'
import { hashesPage, type SnpFirmware } from './firmware.ts'
import { LaunchDigest, type PageType, type Region, VMSA_GPA } from './page-info.ts'

/** SEV_FEATURES bit 0: without it a guest is not an SNP one. */
const SNP_ACTIVE = 1n

export interface SnpOptions {
  readonly vcpus: number
  readonly cpu: CpuSignature
  /** SEV_FEATURES, default 1; 0x21 with debug register swap. */
  readonly guestFeatures?: bigint
  readonly vmm?: VmmFlavour
  /** Given: what `kernel-hashes=on` measures. */
  readonly kernel?: KernelHashes
}

export interface SnpLaunch {
  /** 48 bytes. */
  readonly launchDigest: Buffer
  /** What is measured, in order; the ROM is absent where the firmware's digest was given. */
  readonly regions: readonly Region[]
}

/**
 * Throws FormatError where the firmware cannot be launched like this, UsageError for options that cannot be and for a
 * kernel where the firmware takes no hashes: its check would have nothing to compare with.
 */
export function predictSnp(firmware: SnpFirmware, options: SnpOptions): SnpLaunch {
  const { guestFeatures = SNP_ACTIVE, vmm = 'qemu' } = options
  if ((guestFeatures & SNP_ACTIVE) === 0n || guestFeatures >> 64n !== 0n)
    throw new UsageError(
      `cannot launch with guest features 0x${guestFeatures.toString(16)}: bit 0 (SNP active) is required, 64 bits at most`,
      { code: 'bad-value' },
    )
  const vmsas = savedAreaPages(firmware, { ...options, guestFeatures, vmm })
  const afterRom = [
    ...sectionRegions(firmware, vmm, hashesContents(firmware, options.kernel)),
    ...vmsas.map(vmsaRegion),
  ]
  const measured = new LaunchDigest(firmware.digest())
  for (const region of afterRom) measured.add(region)
  return {
    launchDigest: measured.digest(),
    regions: firmware.rom ? [firmware.rom, ...afterRom] : afterRom,
  }
}

function vmsaRegion(contents: Buffer): Region {
  return { gpa: VMSA_GPA, size: VMSA_BYTES, type: 'vmsa', contents }
}

/** The page with the hashes table; undefined where no kernel was given. */
function hashesContents(firmware: SnpFirmware, kernel: KernelHashes | undefined): Buffer | undefined {
  if (kernel === undefined) return undefined
  const place = hashesPage(firmware)
  if (place === undefined)
    throw new UsageError('cannot hash a kernel: the firmware has no page for the hashes', {
      code: 'bad-value',
      hint: 'builds for direct boot have an SEV section of type kernel-hashes, such as ovmf-amdsev',
    })
  const page = Buffer.alloc(VMSA_BYTES)
  const table = encodeHashesTable(kernel)
  if (place.offset + HASHES_TABLE_BYTES > page.length)
    throw new UsageError('cannot hash a kernel: the hashes table does not fit into its page', {
      code: 'bad-value',
    })
  page.set(table, place.offset)
  return page
}

function sectionRegions(
  { sections }: SnpFirmware,
  vmm: VmmFlavour,
  hashes: Buffer | undefined,
): readonly Region[] {
  const regions = sections.map((section) => sectionRegion(section, vmm, hashes))
  // EC2 adds the CPUID page after everything else.
  if (vmm !== 'ec2') return regions
  return [
    ...regions.filter(({ type }) => type !== 'cpuid'),
    ...regions.filter(({ type }) => type === 'cpuid'),
  ]
}

function sectionRegion({ gpa, size, type }: SevSection, vmm: VmmFlavour, hashes?: Buffer): Region {
  if (type === 'kernel-hashes' && hashes !== undefined) return { gpa, size, type: 'normal', contents: hashes }
  return { gpa, size, type: pageTypeOf(type, vmm) }
}

function pageTypeOf(type: SevSection['type'], vmm: VmmFlavour): PageType {
  switch (type) {
    case 'sec-mem':
      return vmm === 'gce' ? 'unmeasured' : 'zero'
    case 'secrets':
    case 'cpuid':
      return type
    case 'svsm-caa':
    case 'kernel-hashes':
      return 'zero'
  }
}
