/**
 * What a control changes in a recording: a comparison that still agreed afterwards would prove nothing. Each stands for a
 * mistake that a recorder or a QEMU could make.
 */
import type { LaunchStep, Recording } from './recording.ts'

const SET_REGS = 0x4090ae82
/** Of RIP in `struct kvm_regs`. */
const RIP_AT = 16 * 8

export type Mutation =
  /** The last page of memory was not measured. */
  | 'page-dropped'
  /** One bit of the first page of memory, the firmware's, is another. */
  | 'contents-changed'
  /** The first vCPU would start at another address. */
  | 'register-changed'

const MUTATIONS: Readonly<Record<Mutation, (steps: readonly LaunchStep[]) => readonly LaunchStep[]>> = {
  'page-dropped': (steps) => {
    const index = steps.findLastIndex(isPage)
    return steps.filter((_, each) => each !== index)
  },
  'contents-changed': (steps) => {
    const index = steps.findIndex(isPage)
    return steps.map((step, each) =>
      each === index && step.kind === 'memory'
        ? { ...step, contents: withBitFlipped(step.contents, 0) }
        : step,
    )
  },
  'register-changed': (steps) => {
    const index = steps.findLastIndex(
      (step) => step.kind === 'state' && step.vcpu === 0 && step.request === SET_REGS,
    )
    return steps.map((step, each) =>
      each === index && step.kind === 'state' ? { ...step, bytes: withBitFlipped(step.bytes, RIP_AT) } : step,
    )
  },
}

/** The recording with one mistake in it. */
export function mutated(recording: Recording, mutation: Mutation): Recording {
  return { ...recording, steps: MUTATIONS[mutation](recording.steps) }
}

/** Memory of the guest: what has no address is an ID block. */
function isPage(step: LaunchStep): boolean {
  return step.kind === 'memory' && step.gpa !== undefined
}

function withBitFlipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}
