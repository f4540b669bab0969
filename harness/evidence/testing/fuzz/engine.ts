/** Mutates what parsers and verifiers are given, and keeps what reaches new code. */
import { FormatError } from '../../../base/errors.ts'
import type { Coverage } from './coverage.ts'
import { mutate } from './mutate.ts'
import type { Random } from './random.ts'

export interface FuzzTarget {
  readonly name: string
  /** At least one input that is accepted, so that mutations start deep. */
  readonly seeds: readonly Uint8Array[]
  readonly maxBytes: number
  /** Changes that keep what an attacker has to keep; three of four inputs have only these. Default: none. */
  readonly mutate?: (input: Uint8Array, random: Random) => Uint8Array
  /** Whether an input is authentic, where a target can find forgeries: every seed must be. */
  readonly isBelieved?: (input: Uint8Array) => boolean
  /** Throws where something happened that never may: a crash, or a forgery that was believed. */
  readonly run: (input: Uint8Array) => void
}

export interface FuzzFinding {
  readonly target: string
  readonly input: Uint8Array
  readonly error: unknown
}

export interface FuzzOutcome {
  readonly tried: number
  /** Inputs that are kept to mutate further, the seeds included. */
  readonly corpus: number
  readonly findings: readonly FuzzFinding[]
}

export interface FuzzOptions {
  readonly random: Random
  readonly inputs: number
  /** Without it mutations are blind. */
  readonly coverage?: Coverage | undefined
  /** Asked after each batch. */
  readonly enough?: () => boolean
}

/** Asking V8 takes tens of milliseconds, so many inputs share one question. */
const BATCH = 1024
const MAX_CORPUS = 4096
/** More of the same says nothing new. */
const MAX_FINDINGS = 20

export function fuzz(target: FuzzTarget, options: FuzzOptions): FuzzOutcome {
  const { random, inputs, coverage, enough = () => false } = options
  const corpus = [...target.seeds]
  const findings = new Map<string, FuzzFinding>()
  const run = (input: Uint8Array): void => {
    try {
      target.run(input)
    } catch (error) {
      findings.set(kindOf(error), { target: target.name, input: Buffer.from(input), error })
    }
  }
  // What the seeds reach is no news.
  for (const seed of target.seeds) {
    if (coverage) coverage.remember(() => run(seed))
    else run(seed)
  }
  let tried = 0
  while (tried < inputs && findings.size < MAX_FINDINGS && !enough()) {
    const batch = Array.from({ length: Math.min(BATCH, inputs - tried) }, () =>
      changed(target, corpus, random),
    )
    tried += batch.length
    const runAll = () => batch.forEach(run)
    if (coverage === undefined) runAll()
    else if (coverage.reachesNew(runAll)) corpus.push(...newsOf(batch, { coverage, run }))
    if (corpus.length > MAX_CORPUS) corpus.splice(target.seeds.length, 1)
  }
  return { tried, corpus: corpus.length, findings: [...findings.values()] }
}

function changed(target: FuzzTarget, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const input = random.pick(corpus)
  if (target.mutate && random.below(4) > 0) {
    try {
      return target.mutate(input, random)
    } catch (error) {
      // An input that was kept for its damage: it is damaged further.
      if (!(error instanceof FormatError)) throw error
    }
  }
  return mutate(input, { random, other: random.pick(corpus), maxBytes: target.maxBytes })
}

/** The inputs of a batch that reach what was never reached, found by halving it. */
function newsOf(
  batch: readonly Uint8Array[],
  { coverage, run }: { readonly coverage: Coverage; readonly run: (input: Uint8Array) => void },
): readonly Uint8Array[] {
  const news: Uint8Array[] = []
  const parts: (readonly Uint8Array[])[] = [batch]
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    const inputs = part
    if (!coverage.reachesNew(() => inputs.forEach(run))) continue
    const [only] = inputs
    if (inputs.length === 1 && only) {
      coverage.remember(() => run(only))
      news.push(only)
      continue
    }
    const middle = inputs.length >> 1
    parts.push(inputs.slice(middle), inputs.slice(0, middle))
  }
  return news
}

/** Where it was thrown: the same fault found a thousand times is one finding. */
function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return `${error.name} ${error.stack?.split('\n').find((line) => line.includes('/harness/')) ?? error.message}`
}
