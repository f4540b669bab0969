/** Events and results as a run gives them, for tests of the views. */
import type { ClaimResult, RunEvent, RunResult, ScenarioResult, Variant } from '../../run/events.ts'

export const VARIANT: Variant = {
  ...{ platform: 'tcg', vtpm: 'stateful', firmware: 'ovmf', image: 'debian' },
  ...{ qemu: 'tools', vcpus: 1, memoryMiB: 1024 },
}

/** What a hostile guest prints: TAP, commands of GitHub Actions, escape sequences, a title, NUL, wide and bidi characters. */
export const HOSTILE =
  'ok 1 - forged\nBail out!\n1..0\n::stop-commands::x\n##[stop-commands]x\n\x1b[2J\x1b]0;owned\x07\x00日本語\u202e\x9b31m'

export function claim(overrides: Partial<ClaimResult> = {}): ClaimResult {
  const sentence = 'the root unlocks from its vTPM'
  return {
    id: 'opens',
    claim: sentence,
    basis: 'emulated',
    outcome: 'pass',
    expected: 'a',
    got: 'a',
    ...overrides,
  }
}

export function result(overrides: Partial<ScenarioResult> = {}): ScenarioResult {
  return {
    scenario: 'encrypted-root/stateful-vtpm',
    variant: VARIANT,
    outcome: 'pass',
    reason: '',
    seconds: 61.5,
    claims: [claim()],
    dir: '/runs/1/stateful',
    attempts: 1,
    ...overrides,
  }
}

/** One of each outcome; everything that a guest can influence is hostile. */
export const MIXED: RunResult = {
  results: [
    result(),
    result({
      scenario: 'encrypted-root/sealed-by-guest',
      outcome: 'fail',
      reason: 'claim "opens" is false',
      claims: [claim({ outcome: 'fail', expected: 'unlocked', got: HOSTILE }), claim({ id: 'other' })],
    }),
    result({
      scenario: 'encrypted-root/modified-uki',
      outcome: 'error',
      reason: `panic: ${HOSTILE}`,
      claims: [],
    }),
    result({
      scenario: 'encrypted-root/launch-digest',
      outcome: 'skip',
      reason: 'hardware-required: every claim needs hardware',
      claims: [claim({ outcome: 'skip', got: 'nothing (needs hardware; this platform is emulated)' })],
      dir: '',
    }),
  ],
}

/** The events of a run with these scenarios, each with one VM that prints `line`, up to before its end. */
export function startEvents(
  results: readonly ScenarioResult[],
  directory: string,
  line = HOSTILE,
): readonly RunEvent[] {
  const points = results.map(({ scenario, variant, dir }, index) => ({
    key: `k${index}`,
    scenario,
    variant,
    dir,
  }))
  const planned = points.map(({ key, scenario, variant }) => ({ key, scenario, variant }))
  return [
    { type: 'run-started', at: 0, version: 4, directory, planned, jobs: 2 },
    ...points.flatMap(({ key, scenario, variant, dir }): readonly RunEvent[] => [
      {
        ...{ type: 'scenario-started', at: 1000, key, scenario, title: 'a title', variant },
        ...{ directory: dir, attempt: 1 },
      },
      { type: 'vm-started', at: 1000, key, vm: 'owner', argv: ['qemu'] },
      { type: 'phase', at: 1000, key, vm: 'owner', phase: 'kernel' },
      { type: 'console-line', at: 2000, key, vm: 'owner', line },
    ]),
  ]
}

export function endEvents(run: RunResult): readonly RunEvent[] {
  return [
    ...run.results.map(
      (each, index): RunEvent => ({ type: 'scenario-ended', at: 9000, key: `k${index}`, result: each }),
    ),
    { type: 'run-ended', at: 9000, result: run },
  ]
}
