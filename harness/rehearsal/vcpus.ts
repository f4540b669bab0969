/** The vCPUs of a launch, with what was set in them so far. */
import type { StateSet } from './recording.ts'
import { AT_RESET, type VcpuState, withState } from './vcpu-state.ts'

export class Vcpus {
  readonly #states: VcpuState[]

  constructor(count: number) {
    this.#states = Array.from({ length: count }, () => AT_RESET)
  }

  /** `step.vcpu` was checked when the recording was parsed. */
  set(step: StateSet): void {
    this.#states[step.vcpu] = withState(this.#states[step.vcpu] ?? AT_RESET, step)
  }

  get states(): readonly VcpuState[] {
    return this.#states
  }
}
