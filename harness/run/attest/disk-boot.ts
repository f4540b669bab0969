/** What a boot from a VM's disk measures, as its owner expects it: the UKI, and the addons that the stub takes. */
import { UsageError } from '../../base/errors.ts'
import type { ResolvedPolicy, ResolvedTdxPolicy } from '../../evidence/policy/resolve.ts'
import { foldRtmrs } from '../../measure/tdx/rtmr.ts'
import type { TpmPrediction } from '../../measure/tpm/boot.ts'
import { eventDigest, type PredictedEvent } from '../../measure/tpm/event.ts'
import type { RegisterPrediction } from '../../measure/tpm/registers.ts'
import { predictBoot } from '../boot-prediction.ts'
import type { ScenarioVm } from '../vm.ts'

export interface ExpectedDiskBoot {
  /** By index, SHA-256 in hex: keys and state of Secure Boot, the UKI in its initrd, what was put beside it. */
  readonly pcrs: Readonly<Record<'7' | '11' | '12', readonly [string]>>
  /** Of an emulated TD: what was loaded. RTMR2 has the boot secret that the stub makes anew. */
  readonly rtmrs: Required<Pick<ResolvedTdxPolicy, 'rtmr1'>>
  readonly log: NonNullable<ResolvedPolicy['eventLog']>
}

const PHASES = ['enter-initrd']

/** The VM must be off, its disk as its owner made it. Throws UsageError `bad-scenario`, and FormatError. */
export async function expectDiskBoot(vm: ScenarioVm): Promise<ExpectedDiskBoot> {
  return expectedOf(await predictBoot(vm, { phases: PHASES }))
}

/** Of a boot that reaches the initrd. Throws UsageError `bad-scenario` where the prediction leaves something open. Pure. */
export function expectedOf(prediction: TpmPrediction): ExpectedDiskBoot {
  const { events, secureBoot } = prediction
  const registers = prediction.registers('sha256')
  const pcr = (index: number) => [registerValue(`PCR ${index}`, registers[index])] as const
  const lines = events.filter(({ pcr: index, type }) => index === 12 && type === 'EV_IPL').map(lineOf)
  return {
    pcrs: { 7: pcr(7), 11: pcr(11), 12: pcr(12) },
    rtmrs: { rtmr1: [registerValue('RTMR1', foldRtmrs(events).registers[1])] },
    log: {
      secureBoot: secureBoot ? 'on' : 'off',
      images: events.filter(({ type }) => type === 'EV_EFI_BOOT_SERVICES_APPLICATION').map(imageDigest),
      ...(lines.length > 0 ? { commandLines: lines } : { addons: 'forbidden' }),
      ...{ phases: PHASES, exitBootServices: 'required' },
    },
  }
}

/** What is hashed of an image is its Authenticode digest. */
function imageDigest(event: PredictedEvent): string {
  const found = eventDigest(event, 'sha256')
  if (found) return found.toString('hex')
  throw open(event.what, event.content.known ? [] : [event.content.reason])
}

/** UTF-16 with its NUL. */
function lineOf({ what, content }: PredictedEvent): string {
  if (!content.known) throw open(what, [content.reason])
  return Buffer.concat(content.parts).toString('utf16le').replace(/\0$/, '')
}

function registerValue(name: string, register: RegisterPrediction | undefined): string {
  if (register?.known) return register.value.toString('hex')
  throw open(name, register?.reasons ?? [])
}

function open(what: string, reasons: readonly string[]): UsageError {
  return new UsageError(`${what} cannot be predicted: ${reasons.join(', ')}`, { code: 'bad-scenario' })
}
