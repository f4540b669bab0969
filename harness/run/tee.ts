/** The TEE of a scenario's VM: what its owner knows of it, and how its host can lie about it where it is emulated. */
import { join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { HostError, UsageError } from '../base/errors.ts'
import type { Basis } from '../platforms/descriptor.ts'
import type {
  EmulatedProcessor,
  EndorsementFault,
  TeeAnswer,
  TeeEndorsements,
  TeeFault,
  TeeLaunch,
} from '../platforms/emulated/processor.ts'
import type { TsmService } from '../platforms/emulated/tsm-port.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import type { LaunchRequest } from '../platforms/rehearsed-launch.ts'
import type { EvidenceText } from './events.ts'
import type { ExpectedRegisters } from './expected-registers.ts'
import type { GuestRegisters } from './guest-registers.ts'
import type { LabSpec } from './lab-spec.ts'
import { TeeHost } from './tee-host.ts'

/** What an emulated processor was asked and what it said. */
export interface TeeRecord {
  /** Hex. */
  readonly reportData: string
  /** SHA-256 of the report or quote, hex. */
  readonly evidence: string
  readonly faults: readonly TeeFault[]
}

interface Emulation {
  readonly processor: EmulatedProcessor
  readonly request: () => LaunchRequest
  readonly directory: string
}

/** Of records, the last ones are kept: a guest may ask for ever. */
const MOST_RECORDS = 1000

/** Nothing but a real TEE's own word: an owner has to bring its endorsements, and a host cannot lie at will. */
const NO_ENDORSEMENTS = { certificates: [], crls: [], collateral: [] } as const

export class VmTee {
  readonly platform: PlatformId
  readonly basis: Basis
  readonly #spec: LabSpec & { readonly name?: string }
  readonly #request: () => LaunchRequest
  readonly #emulation: Emulation | undefined
  readonly #records: TeeRecord[] = []
  readonly #host = new TeeHost()
  #launches = 0

  constructor(
    spec: LabSpec & { readonly name?: string },
    request: () => LaunchRequest,
    emulation?: Emulation,
  ) {
    this.#spec = spec
    this.#request = request
    this.#emulation = emulation
    this.platform = spec.variant.platform
    this.basis = spec.basis
  }

  /** For the record: what somebody made of evidence that is said to be of this VM. */
  showEvidence(page: EvidenceText): void {
    this.#spec.emit({ type: 'evidence', vm: this.#spec.name ?? '', page })
  }

  /** Whether its host is ours, so that it can lie. */
  get isEmulated(): boolean {
    return this.#emulation !== undefined
  }

  /** Hex; as a policy names it: CHIP_ID of 64 bytes, FMSPC of 6. Undefined where it is not ours to know. */
  get chip(): string | undefined {
    return this.#emulation?.processor.chip
  }

  /** What the owner expects, from the materials of the VM as they are now: MEASUREMENT or MRTD, hex. */
  async expectedDigest(): Promise<string> {
    const { predictLaunch } = await import('../platforms/rehearsed-launch.ts')
    const { digest } = await predictLaunch(this.#request(), this.#spec.bench.host)
    return digest.toString('hex')
  }

  /**
   * RTMR1 and RTMR2 as the owner predicts them from the UKI that QEMU brings, hex: RTMR0 has what QEMU makes for the
   * machine. Undefined for a TEE without such registers. Throws UsageError `bad-scenario` for a boot from disk.
   */
  async expectedRegisters(): Promise<ExpectedRegisters | undefined> {
    if (this.platform !== 'tdx') return undefined
    const { predictRegisters } = await import('./expected-registers.ts')
    return predictRegisters(this.#request(), { isEmulated: this.isEmulated })
  }

  /** For whoever verifies its evidence. An emulated TEE's root is in none of the defaults: a policy has to name it. */
  endorsements(
    ...faults: readonly EndorsementFault[]
  ): Omit<TeeEndorsements, 'simulatedRoot'> & { readonly simulatedRoot?: string } {
    return this.#emulation?.processor.endorsements(faults) ?? NO_ENDORSEMENTS
  }

  /** How its host can be made to lie; none on hardware. */
  get faults(): readonly TeeFault[] {
    return this.#emulation?.processor.faults ?? []
  }

  /**
   * From now on the host lies so, and not as before; without a fault it is honest, as that of hardware is anyway. Throws
   * HostError `emulation-required` for a fault on hardware, UsageError `bad-scenario` for one that the TEE cannot have, and
   * for `replayed` where it has not said anything yet.
   */
  fault(...faults: readonly TeeFault[]): void {
    if (!this.#emulation && faults.length > 0)
      throw new HostError(`the host of a real ${this.platform} cannot be made to lie`, {
        ...{ code: 'emulation-required', hint: 'Ask tee.isEmulated before' },
      })
    const impossible = faults.find((fault) => !this.faults.includes(fault))
    if (impossible !== undefined)
      throw new UsageError(
        `${this.platform} cannot have the fault ${impossible}: it has ${this.faults.join(', ')}`,
        {
          code: 'bad-scenario',
        },
      )
    this.#host.lie(faults)
  }

  /** Called whenever a guest asks an emulated processor for evidence that is about something, before it is given. */
  whenAsked(then: (() => void) | undefined): void {
    this.#host.whenAsked(then)
  }

  /** What an emulated processor said so far, oldest first; the last thousand. */
  get records(): readonly TeeRecord[] {
    return this.#records
  }

  /** The processor for one QEMU process, which is about to start. */
  async serviceFor(registers: GuestRegisters | undefined): Promise<TsmService | undefined> {
    const emulation = this.#emulation
    if (emulation === undefined) return undefined
    const { processor } = emulation
    const launch = await this.#measure(emulation)
    return {
      provider: processor.provider,
      report: async (reportData) => {
        const now = await registers?.now()
        return this.#answer(processor, { reportData, launch, registers: now ?? [] })
      },
    }
  }

  async #measure({ request, directory }: Emulation): Promise<TeeLaunch> {
    const { bench, signal, claims } = this.#spec
    const { tools, store, paths, host } = bench
    this.#launches += 1
    const file = join(directory, `launch-${this.#launches}.recording`)
    const { measureEmulatedLaunch } = await import('../platforms/emulated/emulated-launch.ts')
    const launch = await measureEmulatedLaunch(
      { tools, store, checkout: paths.checkout, host, signal },
      request(),
      file,
    )
    claims.launchRestsOn(launch.basis)
    return launch
  }

  #answer(
    processor: EmulatedProcessor,
    question: Omit<Parameters<EmulatedProcessor['answer']>[0], 'faults'>,
  ): TeeAnswer {
    const { faults } = this.#host
    const answer = this.#host.answer(processor, question)
    if (this.#records.length >= MOST_RECORDS) this.#records.shift()
    this.#records.push({
      reportData: Buffer.from(question.reportData).toString('hex'),
      evidence: sha256Hex(answer.outblob),
      faults,
    })
    return answer
  }
}
