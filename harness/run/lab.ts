/** What a scenario is handed: its point of the matrix, its claims, and the VMs that it builds and attacks. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Attack } from '../attacks/attack.ts'
import type { Basis } from '../platforms/descriptor.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import type { Observation } from '../verdict/claims.ts'
import type { BrokerRequest, LabBroker } from './attest/lab-broker.ts'
import type { SearchedPlace } from './attest/secret-search.ts'
import type { Variant } from './events.ts'
import type { HardwareLaunch } from './hardware-launch.ts'
import type { LabSpec } from './lab-spec.ts'
import type { LaunchAxes, LaunchMatrix } from './launch-matrix.ts'
import { StoppedAtFailure } from './stopped.ts'
import { ScenarioVm } from './vm.ts'
import type { VmOptions } from './vm-options.ts'

export class Lab<Claim extends string> {
  readonly variant: Variant
  /** What claims rest on here. */
  readonly basis: Basis
  /** Run directory of this point of the matrix. */
  readonly directory: string
  readonly #spec: LabSpec

  constructor(spec: LabSpec) {
    this.variant = spec.variant
    this.basis = spec.basis
    this.directory = spec.directory
    this.#spec = spec
  }

  /** Decides a claim; a false one does not end the scenario. Returns whether it held. */
  claim(id: Claim, observation: Observation): boolean {
    const result = this.#spec.claims.decide(id, observation)
    this.#spec.emit({ type: 'claim', result })
    if (result.outcome === 'fail' && this.#spec.stopAtFailure) throw new StoppedAtFailure(id)
    return result.outcome !== 'fail'
  }

  /** Says why a claim that requires hardware, or emulation, cannot be decided here. */
  skip(id: Claim, reason: string): void {
    this.#spec.emit({ type: 'claim', result: this.#spec.claims.skip(id, reason) })
  }

  /** A line for the record and for who is watching. */
  note(text: string): void {
    this.#spec.emit({ type: 'note', text })
  }

  /** Prepares the materials of a VM; `name`: letters, digits, `-`, its own within the scenario. */
  async vm(name: string, options: VmOptions = {}): Promise<ScenarioVm> {
    const directory = join(this.directory, name)
    await mkdir(directory, { mode: 0o700 })
    this.#spec.emit({ type: 'phase', vm: name, phase: 'preparing' })
    return ScenarioVm.prepare({ ...this.#spec, name, directory }, options)
  }

  /**
   * Launches every point of a matrix in two ways that know nothing of each other: predicted from its materials, and by
   * QEMU's own launch code without the hardware. `platform` need not be the one that this runs on. Throws HostError where
   * the host has no /dev/kvm.
   */
  async launches(platform: PlatformId, axes: LaunchAxes): Promise<LaunchMatrix> {
    const { rehearseMatrix } = await import('./launch-matrix.ts')
    return rehearseMatrix(this.#spec, { platform, axes })
  }

  /** Launches the guest on the hardware and asks it for its evidence; where that is impossible, says why. */
  async launchHere(platform: PlatformId): Promise<HardwareLaunch> {
    const { launchOnHardware } = await import('./hardware-launch.ts')
    return launchOnHardware(this.#spec, { platform, vm: (name, options) => this.vm(name, options) })
  }

  /** A key broker of the VMs' owner; it releases nothing until it is told what, and to whom. */
  async broker(request: BrokerRequest = {}): Promise<LabBroker> {
    const { LabBroker } = await import('./attest/lab-broker.ts')
    return LabBroker.open(this.#spec, request)
  }

  /**
   * Files of the run directory that hold a secret, as text, in hex or in base64: consoles, logs of broker and vTPM, disks.
   * In hex also as a dump has it. Relative to the run directory, sorted.
   */
  async findInRun(secret: string): Promise<readonly string[]> {
    const { filesWithSecret } = await import('./attest/secret-search.ts')
    return filesWithSecret(this.directory, secret)
  }

  /** Of which kinds the files are that `findInRun` finds; sorted. */
  async placesInRun(text: string): Promise<readonly SearchedPlace[]> {
    const { placesAmong } = await import('./attest/secret-search.ts')
    return placesAmong(await this.findInRun(text))
  }

  /** Plays the hostile host on a VM that is switched off. */
  async interfere(attack: Attack, vm: ScenarioVm): Promise<void> {
    this.note(`${attack.seam}: ${attack.interference}; to be noticed by ${attack.detectedBy}`)
    await vm.suffer(attack)
  }
}
