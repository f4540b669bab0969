/** What a platform's launch is measured as, computed from its materials. */
import type { MeasuredDocument, MeasuredPages } from '../measure/documents/document.ts'
import { sevDocument, snpDocument, tdxDocument } from '../measure/documents/prediction.ts'
import { type CpuSignature, cpuSignature } from '../measure/sev/cpu-models.ts'
import type { KernelHashes } from '../measure/sev/kernel-hashes.ts'
import { predictSev, predictSevEs, sevFirmware } from '../measure/sev/launch.ts'
import { snpFirmware } from '../measure/snp/firmware.ts'
import { predictSnp } from '../measure/snp/launch.ts'
import { predictMrtd } from '../measure/tdx/mrtd.ts'
import { GUEST_FEATURE_BITS, type GuestFeature, SNP_ACTIVE } from './launch-options.ts'

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

export interface LaunchPrediction {
  /** Launch digest, MRTD. */
  readonly digest: Buffer
  /** What it is of, in order. */
  readonly pages: readonly MeasuredPages[]
}

/** Throws FormatError for firmware that is malformed, UsageError for an unknown CPU model or a kernel it cannot hash. */
export type PredictLaunch = (materials: LaunchMaterials) => LaunchPrediction

export const sevPrediction: PredictLaunch = ({ firmware, kernel }) => {
  const launch = predictSev(sevFirmware(firmware), kernel ? { kernel } : {})
  return predictionOf(launch.launchDigest, () => sevDocument(launch, { platform: 'sev', inputs: {} }))
}

export const sevEsPrediction: PredictLaunch = ({ firmware, vcpus, cpu, kernel }) => {
  const processors = { vcpus, cpu: signatureOf(cpu), ...(kernel && { kernel }) }
  const launch = predictSevEs(sevFirmware(firmware), processors)
  return predictionOf(launch.launchDigest, () => sevDocument(launch, { platform: 'sev-es', inputs: {} }))
}

export const snpPrediction: PredictLaunch = ({ firmware, vcpus, cpu, kernel, guestFeatures = [] }) => {
  const parsed = snpFirmware(firmware)
  const launch = predictSnp(parsed, {
    ...{ vcpus, cpu: signatureOf(cpu) },
    guestFeatures: guestFeatures.reduce((bits, feature) => bits | GUEST_FEATURE_BITS[feature], SNP_ACTIVE),
    ...(kernel && { kernel }),
  })
  return predictionOf(launch.launchDigest, () =>
    snpDocument(launch, parsed, { platform: 'sev-snp', inputs: {} }),
  )
}

export const tdxPrediction: PredictLaunch = ({ firmware }) => {
  const launch = predictMrtd(firmware)
  return predictionOf(launch.mrtd, () => tdxDocument(launch, { platform: 'tdx', inputs: {} }))
}

/** The pages are hashed when they are asked for: whoever compares digests alone does not. */
function predictionOf(digest: Buffer, documentOf: () => MeasuredDocument): LaunchPrediction {
  let pages: readonly MeasuredPages[] | undefined
  return {
    digest,
    get pages() {
      pages ??= documentOf().pages ?? []
      return pages
    },
  }
}

function signatureOf(cpu: string): CpuSignature {
  return cpuSignature(cpu.split(',')[0] ?? cpu)
}
