/** A launch on the hardware itself: what the guest's own evidence says was measured, beside the prediction. */
import { HostError, VerifyError } from '../base/errors.ts'
import { parseSnpEvidence } from '../evidence/snp/parse.ts'
import { verifySnpReport } from '../evidence/snp/verify.ts'
import { verifyTdxQuote } from '../evidence/tdx/verify.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import { platform } from '../platforms/platforms.ts'
import { predictLaunch } from '../platforms/rehearsed-launch.ts'
import { collectEvidence, freshNonce, type TsmReport } from './collect-evidence.ts'
import type { LabSpec } from './lab-spec.ts'
import type { ScenarioVm } from './vm.ts'
import type { VmOptions } from './vm-options.ts'

export type HardwareLaunch =
  | { readonly measured: string; readonly predicted: string }
  /** Why there is nothing to compare. */
  | { readonly skipped: string }

export interface HardwareRequest {
  readonly platform: PlatformId
  readonly vm: (name: string, options: VmOptions) => Promise<ScenarioVm>
}

/** Reads the launch digest out of evidence whose signatures hold. Throws FormatError and VerifyError. */
type ReadDigest = (report: TsmReport, at: Date) => Uint8Array

const READERS: Partial<Record<PlatformId, ReadDigest>> = {
  'sev-snp': ({ outblob, auxblob }, at) => {
    const { report, certificates, crls } = parseSnpEvidence(outblob, auxblob)
    return verifySnpReport(report, { certificates, crls }, { at }).report.measurement
  },
  tdx: ({ outblob }, at) => verifyTdxQuote(outblob, undefined, { at }).quote.body.mrTd,
}

/** Boots the image's UKI, brought by QEMU where that is measured, and asks the guest for a report. */
export async function launchOnHardware(
  spec: LabSpec,
  { platform: id, vm: prepare }: HardwareRequest,
): Promise<HardwareLaunch> {
  const { bench, variant, budget } = spec
  if (variant.platform !== id || spec.basis !== 'hardware')
    return { skipped: `hardware-required: this ran on ${bench.platform.title}, not on ${id}` }
  const vm = await prepare('launched', { kernel: 'direct' })
  const boot = await vm.boot()
  const report = await collectEvidence(await boot.login(), freshNonce())
  await boot.cut()
  const digest = launchDigestIn(report, id, new Date())
  if (typeof digest === 'string') return { skipped: digest }
  if (vm.firmware.kind !== 'bios')
    throw new HostError(`cannot predict the launch: ${id} has no combined firmware`, {
      code: 'platform-unusable',
    })
  const kernel = await bench.image.uki?.(bench.keys)
  const { digest: predicted } = await predictLaunch(
    {
      ...{ platform: platform(id), firmware: vm.firmware.file, vcpus: budget.vcpus },
      ...(kernel !== undefined && { directBoot: { kernel } }),
    },
    bench.host,
  )
  return { measured: Buffer.from(digest).toString('hex'), predicted: predicted.toString('hex') }
}

/**
 * The launch digest that verified evidence holds, or why it cannot be verified for want of certificates. Throws
 * FormatError, and VerifyError for evidence that is not authentic at `at`.
 */
export function launchDigestIn(report: TsmReport, id: PlatformId, at: Date): Uint8Array | string {
  const read = READERS[id]
  if (read === undefined) return `${id} gives its guests no report of their launch`
  try {
    return read(report, at)
  } catch (error) {
    if (error instanceof VerifyError && error.code === 'endorsement-missing')
      return `${error.code}: the host hands its guests no certificates, so nothing says that the report is genuine`
    throw error
  }
}
