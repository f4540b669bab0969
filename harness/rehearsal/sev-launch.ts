/**
 * SEV and SEV-ES: the digest of recorded memory (SEV API 6.2 to 6.6: GCTX.LD is the SHA-256 of everything that was
 * encrypted at launch, in its order). Written apart from harness/measure, and to stay so.
 */
import { createHash } from 'node:crypto'
import { ByteReader } from '../base/bytes.ts'
import { badLaunch } from './bad-launch.ts'
import { hexadecimal, type Launch, type RecordedPages } from './launch.ts'
import type { LaunchCommand, LaunchStep, Recording } from './recording.ts'
import type { VcpuState } from './vcpu-state.ts'
import { Vcpus } from './vcpus.ts'
import { buildVmsa } from './vmsa.ts'

const COMMAND = { init: 0, esInit: 1, start: 2, updateData: 3, updateVmsa: 4, finish: 7, init2: 22 } as const

/** KVM_X86_SEV_ES_VM. */
const SEV_ES_VM = 3

interface SevInit {
  readonly encryptedState: boolean
  /** By KVM_SEV_INIT2, whose VMSAs hold the floating-point state, too. */
  readonly floatingPoint: boolean
  readonly features: bigint
}

/** Throws FormatError for a stream that is no whole launch. */
export function sevLaunch(recording: Recording): Launch {
  const vcpus = new Vcpus(recording.vcpus)
  const digest = createHash('sha256')
  const pages: RecordedPages[] = []
  const measured = (range: RecordedPages): void => {
    digest.update(range.contents)
    pages.push(range)
  }
  let init: SevInit | undefined
  let fields: Record<string, string> = {}
  for (const step of recording.steps) {
    if (step.kind === 'state') {
      vcpus.set(step)
      continue
    }
    init ??= readInit(step, recording)
    if (isCommand(step, COMMAND.start)) fields = { ...fields, POLICY: policyOf(step) }
    else if (isCommand(step, COMMAND.updateVmsa)) vmsas(vcpus.states, init).forEach(measured)
    else if (isCommand(step, COMMAND.finish)) {
      const technology = init?.encryptedState ? 'sev-es' : 'sev'
      return { technology, digest: digest.digest(), pages, fields }
    } else if (step.kind === 'memory' && step.command === COMMAND.updateData)
      measured({ gpa: step.gpa, type: 'normal', contents: step.contents })
    else if (readInit(step, recording) === undefined) throw badLaunch('command', "is none of SEV's")
  }
  throw badLaunch('LAUNCH_FINISH', 'is missing: the digest is not final')
}

function isCommand(step: LaunchStep, id: number): step is LaunchCommand {
  return step.kind === 'command' && step.id === id
}

function readInit(step: LaunchStep, { vmType }: Recording): SevInit | undefined {
  if (step.kind !== 'command') return undefined
  switch (step.id) {
    case COMMAND.init:
      return { encryptedState: false, floatingPoint: false, features: 0n }
    case COMMAND.esInit:
      return { encryptedState: true, floatingPoint: false, features: 0n }
    case COMMAND.init2: {
      const features = new ByteReader(step.fields, { what: 'KVM_SEV_INIT2' }).u64le('vmsa_features')
      return { encryptedState: vmType === SEV_ES_VM, floatingPoint: true, features }
    }
    default:
      return undefined
  }
}

function vmsas(states: readonly VcpuState[], init: SevInit | undefined): readonly RecordedPages[] {
  if (!init?.encryptedState) throw badLaunch('LAUNCH_UPDATE_VMSA', 'comes in a launch without SEV-ES')
  return states.map((state) => ({ gpa: undefined, type: 'vmsa', contents: buildVmsa(state, init) }))
}

function policyOf({ fields }: LaunchCommand): string {
  return hexadecimal(new ByteReader(fields, { what: 'KVM_SEV_LAUNCH_START' }).u32le('policy'))
}
