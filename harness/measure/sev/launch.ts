/**
 * The launch digests of SEV and SEV-ES guests: SHA-256 over everything that was encrypted with the guest's key, in
 * order. Secure Encrypted Virtualization API (55766), 6.5. LAUNCH_MEASURE gives an HMAC over it, not the digest.
 */
import { createHash, type Hash } from 'node:crypto'
import { UsageError } from '../../base/errors.ts'
import { type OvmfFirmware, parseOvmf } from '../../formats/ovmf/firmware.ts'
import type { CpuSignature } from './cpu-models.ts'
import { encodeHashesTable, HASHES_TABLE_BYTES, type KernelHashes } from './kernel-hashes.ts'
import { savedAreaPages } from './processors.ts'
import type { VmmFlavour } from './vmsa.ts'

/** SEV_FEATURES bit 5 of SEV-ES: debug register swap is all that KVM offers. */
const DEBUG_SWAP = 1n << 5n

export interface SevRegion {
  readonly gpa: number
  readonly size: number
  readonly type: 'normal' | 'vmsa'
  readonly contents: Uint8Array
}

export interface SevLaunch {
  /** 32 bytes. */
  readonly launchDigest: Buffer
  /** What is measured, in order. */
  readonly regions: readonly SevRegion[]
}

export interface SevEsOptions {
  readonly vcpus: number
  readonly cpu: CpuSignature
  /** SEV_FEATURES: 0 (the default), or 0x20 with debug register swap. */
  readonly guestFeatures?: bigint
  readonly vmm?: VmmFlavour
  readonly kernel?: KernelHashes
}

export interface SevFirmware extends OvmfFirmware {
  /** SHA-256 over the ROM, to be continued on a copy. */
  readonly hashed: () => Hash
}

/** Throws FormatError. The ROM is hashed at the first prediction and remembered: `file` must not change afterwards. */
export function sevFirmware(file: Uint8Array): SevFirmware {
  let hash: Hash | undefined
  return {
    ...parseOvmf(file),
    hashed: () => {
      hash ??= createHash('sha256').update(file)
      return hash
    },
  }
}

/** Throws UsageError for a kernel where the firmware takes no hashes. */
export function predictSev(
  firmware: SevFirmware,
  { kernel }: { readonly kernel?: KernelHashes } = {},
): SevLaunch {
  return launchOf(firmware, hashesRegions(firmware, kernel))
}

/** As `predictSev`; also FormatError for several vCPUs where the firmware does not say where they start. */
export function predictSevEs(firmware: SevFirmware, options: SevEsOptions): SevLaunch {
  const { guestFeatures = 0n, vmm = 'qemu', kernel } = options
  if (guestFeatures !== 0n && guestFeatures !== DEBUG_SWAP)
    throw new UsageError(
      `cannot launch SEV-ES with guest features 0x${guestFeatures.toString(16)}: 0 and 0x20 (debug swap) are possible`,
      { code: 'bad-value' },
    )
  const vmsas = savedAreaPages(firmware, { ...options, guestFeatures, vmm })
  return launchOf(firmware, [
    ...hashesRegions(firmware, kernel),
    // The save areas lie in host memory: the guest has no address for them.
    ...vmsas.map((contents) => ({ gpa: 0, size: contents.length, type: 'vmsa' as const, contents })),
  ])
}

function launchOf({ file, rom, hashed }: SevFirmware, afterRom: readonly SevRegion[]): SevLaunch {
  const sha256 = hashed().copy()
  for (const { contents } of afterRom) sha256.update(contents)
  return {
    launchDigest: sha256.digest(),
    regions: [{ ...rom, type: 'normal', contents: file }, ...afterRom],
  }
}

function hashesRegions(
  { hashesTable }: OvmfFirmware,
  kernel: KernelHashes | undefined,
): readonly SevRegion[] {
  if (kernel === undefined) return []
  if (hashesTable === undefined || hashesTable.size < HASHES_TABLE_BYTES)
    throw new UsageError('cannot hash a kernel: the firmware has no room for the hashes table', {
      code: 'bad-value',
      hint: 'builds for direct boot name an area for it, such as ovmf-amdsev',
    })
  const contents = encodeHashesTable(kernel)
  return [{ gpa: hashesTable.gpa, size: contents.length, type: 'normal', contents }]
}
