import { UsageError } from '../base/errors.ts'
import type { VtpmKind } from './events.ts'
import type { Lab } from './lab.ts'
import type { Budget } from './lab-spec.ts'

/** What an image must offer for a scenario (the capabilities of an image description). */
export type ImageNeed =
  | 'login'
  | 'luks-root'
  | 'recovery-key'
  | 'tpm2-tools'
  | 'own-uki'
  | 'offline-sealing'
  | 'plain-partition'
  | 'ab-slots'
  | 'stub-companions'
  | 'attester'
  | 'verity-root'
  | 'attested-service'

/** Platforms whose guests have evidence of their own. */
export type Tee = 'sev-snp' | 'tdx'

export interface ClaimDeclaration {
  /** One sentence that is true or false. */
  readonly claim: string
  /**
   * Only a real TEE can show it, or only one whose host is ours and can lie (`emulation`): on any other basis the claim is
   * skipped and says so.
   */
  readonly requires?: 'hardware' | 'emulation'
  /** How its truth is established where it is not by the guest that ran: the launch of a platform that this host lacks. */
  readonly basis?: 'rehearsed' | 'predicted'
  /** It is about how the guest was launched: an emulated TEE rests on a rehearsal there, or on a prediction. */
  readonly about?: 'launch'
}

export interface ScenarioNeeds {
  readonly secureBoot: boolean
  /** EFI variables must survive a reset (pflash). */
  readonly persistentVariables: boolean
  /** Only firmware that is loaded so: `bios` keeps no variables over a reset, as SNP and TDX guests have it. */
  readonly firmwareLoad?: 'bios' | 'pflash'
  /** Only firmware that brings these keys, for a VM with shim; absent: ours are enrolled where Secure Boot is asked for. */
  readonly firmwareKeys?: 'microsoft'
  readonly image: readonly ImageNeed[]
}

/** A scenario is data and one async function; its file is `scenarios/<subject>/<id>.ts`. */
export interface ScenarioDefinition<Claim extends string = string> {
  readonly title: string
  /** Image ids it runs on when the user names none. */
  readonly images: readonly string[]
  readonly vtpms: readonly VtpmKind[]
  /** It is about TEEs: it runs on each of them where the host has it, and on an emulated one elsewhere. */
  readonly tees?: readonly Tee[]
  readonly needs: ScenarioNeeds
  readonly budget: Budget
  readonly claims: Readonly<Record<Claim, ClaimDeclaration>>
  readonly run: (lab: Lab<Claim>) => Promise<void>
}

export interface Scenario extends Omit<ScenarioDefinition, 'run'> {
  readonly run: (lab: Lab<string>) => Promise<void>
}

/**
 * Declares a scenario. Claims are checked for being decided: a scenario that ends without having decided
 * one of its claims is an `error`, so a claim cannot pass by being forgotten.
 */
export function defineScenario<Claim extends string>(definition: ScenarioDefinition<Claim>): Scenario {
  if (Object.keys(definition.claims).length === 0)
    throw new UsageError(`scenario "${definition.title}" declares no claim; at least one is required`, {
      code: 'bad-scenario',
    })
  const scenario = { ...definition, run: (lab: Lab<string>) => definition.run(lab as unknown as Lab<Claim>) }
  defined.add(scenario)
  return scenario
}

const defined = new WeakSet<object>()

/** Whether `defineScenario` made it, so that it is what its type says. */
export function isDefinedScenario(scenario: Scenario): boolean {
  return defined.has(scenario)
}
