/** What a platform's launch is measured as, computed from its materials. */

import { cpuSignature } from '../measure/sev/cpu-models.ts'
import type { KernelHashes } from '../measure/sev/kernel-hashes.ts'
import { predictSev, predictSevEs, sevFirmware } from '../measure/sev/launch.ts'
import { snpFirmware } from '../measure/snp/firmware.ts'
import { predictSnp } from '../measure/snp/launch.ts'
import { predictMrtd } from '../measure/tdx/mrtd.ts'
import type { GuestFeature } from './launch-options.ts'

export interface LaunchMaterials {
  /** The combined file, as given to `-bios`. */
  readonly firmware: Uint8Array
  readonly vcpus: number
  /** QEMU's CPU model, features after a comma included. */
  readonly cpu: string
  readonly guestFeatures?: readonly GuestFeature[]
  /** Given: a direct boot with `kernel-hashes`. */
  readonly kernel?: KernelHashes
}

/** Throws FormatError for firmware that is malformed, UsageError for an unknown CPU model or a kernel it cannot hash. */
export type PredictLaunch = (materials: LaunchMaterials) => Buffer

export const sevDigest: PredictLaunch = ({ firmware, kernel }) =>
  predictSev(sevFirmware(firmware), kernel ? { kernel } : {}).launchDigest

export const sevEsDigest: PredictLaunch = ({ firmware, vcpus, cpu, kernel }) =>
  predictSevEs(sevFirmware(firmware), { vcpus, cpu: signatureOf(cpu), ...(kernel && { kernel }) })
    .launchDigest

export const snpDigest: PredictLaunch = ({ firmware, vcpus, cpu, kernel, guestFeatures = [] }) =>
  predictSnp(snpFirmware(firmware), {
    ...{ vcpus, cpu: signatureOf(cpu) },
    guestFeatures: guestFeatures.reduce((bits, feature) => bits | FEATURE_BITS[feature], SNP_ACTIVE),
    ...(kernel && { kernel }),
  }).launchDigest

export const tdxDigest: PredictLaunch = ({ firmware }) => predictMrtd(firmware).mrtd

/** SEV_FEATURES: AMD64 APM volume 2, table B-4. */
const SNP_ACTIVE = 1n << 0n
const FEATURE_BITS: Readonly<Record<GuestFeature, bigint>> = {
  'debug-swap': 1n << 5n,
  'secure-tsc': 1n << 9n,
}

function signatureOf(cpu: string) {
  return cpuSignature(cpu.split(',')[0] ?? cpu)
}
