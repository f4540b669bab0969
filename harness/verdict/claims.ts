/**
 * Where expected meets observed. A claim is decided exactly once; what was never decided is not a pass, and a
 * claim that needs hardware never passes on any other basis.
 */
import { isDeepStrictEqual } from 'node:util'
import { UsageError } from '../base/errors.ts'

export type ClaimBasis = 'hardware' | 'rehearsed' | 'emulated' | 'predicted'

export interface DeclaredClaim {
  readonly claim: string
  /** `emulation`: a host that lies at will, which that of real hardware does not. */
  readonly requires?: 'hardware' | 'emulation'
  /** How its truth is established where it is not by the guest that ran. */
  readonly basis?: 'rehearsed' | 'predicted'
  /** It is about how the guest was launched: an emulated TEE rests on a rehearsal there, or on a prediction. */
  readonly about?: 'launch'
}

export interface Observation {
  /** What must be seen for the claim to hold; compared strictly with `got` unless `holds` is given. */
  readonly expected: unknown
  readonly got: unknown
  /** For comparisons that are not equality; `expected` then says in words what was required. */
  readonly holds?: boolean
}

export interface DecidedClaim {
  readonly id: string
  readonly claim: string
  readonly basis: ClaimBasis
  readonly outcome: 'pass' | 'fail' | 'skip'
  readonly expected: string
  readonly got: string
}

/** Longest rendering of an observed value that is kept, in characters. */
const MAX_RENDERED = 2000

function render(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
  return text.length > MAX_RENDERED ? `${text.slice(0, MAX_RENDERED)}…` : text
}

/** The claims of one scenario on one point of the matrix. */
export class ClaimBook {
  readonly #declared: ReadonlyMap<string, DeclaredClaim>
  readonly #basis: ClaimBasis
  readonly #decided = new Map<string, DecidedClaim>()
  #launchBasis: 'rehearsed' | 'predicted' | undefined
  #closed = false

  constructor(declared: Readonly<Record<string, DeclaredClaim>>, basis: ClaimBasis) {
    this.#declared = new Map(Object.entries(declared))
    this.#basis = basis
  }

  /** From now on nothing is decided: what is observed while things are torn down is no observation. */
  close(): void {
    this.#closed = true
  }

  /** What an emulated TEE says of launches; of several the weakest counts. */
  launchRestsOn(basis: 'rehearsed' | 'predicted'): void {
    if (this.#launchBasis !== 'predicted') this.#launchBasis = basis
  }

  /**
   * Decides claim `id`. Throws UsageError `bad-scenario` for an undeclared or already decided claim, and once the
   * book is closed.
   */
  decide(id: string, observation: Observation): DecidedClaim {
    if (this.#closed) throw badScenario(`decides claim "${id}" after it was ended`)
    const declared = this.#declared.get(id)
    if (!declared) throw badScenario(`decides claim "${id}", which it does not declare`)
    if (this.#decided.has(id)) throw badScenario(`decides claim "${id}" twice; a claim is decided once`)
    const decided = this.#judge(id, declared, observation)
    this.#decided.set(id, decided)
    return decided
  }

  /**
   * Decides that a claim that needs hardware cannot be decided here, or one that needs emulation on hardware. Throws
   * UsageError `bad-scenario` for any other.
   */
  skip(id: string, reason: string): DecidedClaim {
    const requires = this.#declared.get(id)?.requires
    if (requires === undefined)
      throw badScenario(`skips claim "${id}"; only claims that require hardware may be skipped`)
    if (requires === 'emulation' && this.#basis !== 'hardware')
      throw badScenario(`skips claim "${id}", which needs emulation, where there is one`)
    const decided = this.decide(id, { expected: '', got: '', holds: false })
    const skipped: DecidedClaim = { ...decided, outcome: 'skip', got: reason }
    this.#decided.set(id, skipped)
    return skipped
  }

  #judge(id: string, declared: DeclaredClaim, { expected, got, holds }: Observation): DecidedClaim {
    const isHardware = this.#basis === 'hardware'
    const lacks = declared.requires !== undefined && isHardware !== (declared.requires === 'hardware')
    const equal = holds ?? isDeepStrictEqual(expected, got)
    return {
      id,
      claim: declared.claim,
      basis: declared.requires === 'hardware' ? this.#basis : this.#basisOf(declared),
      outcome: lacks ? 'skip' : equal ? 'pass' : 'fail',
      expected: render(expected),
      got: lacks
        ? `${render(got)} (needs ${declared.requires}; this platform is ${this.#basis})`
        : render(got),
    }
  }

  #basisOf({ basis, about }: DeclaredClaim): ClaimBasis {
    const launch = about === 'launch' && this.#basis === 'emulated' ? this.#launchBasis : undefined
    return basis ?? launch ?? this.#basis
  }

  get decided(): readonly DecidedClaim[] {
    return [...this.#decided.values()]
  }

  /** Claims that were declared and never decided. */
  get undecided(): readonly string[] {
    return [...this.#declared.keys()].filter((id) => !this.#decided.has(id))
  }
}

function badScenario(what: string): UsageError {
  return new UsageError(`the scenario ${what}`, { code: 'bad-scenario' })
}
