import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t from 'tap'
import { MaterialError } from '../base/errors.ts'
import { platform } from '../platforms/platforms.ts'
import type { Bench } from './bench.ts'
import type { Outcome, RunEvent, ScenarioResult, Variant } from './events.ts'
import { executeRetrying } from './execute.ts'
import type { PlannedPoint } from './plan.ts'
import { roundOf, runRounds } from './rounds.ts'
import { defineScenario, type ScenarioDefinition } from './scenario.ts'

type Run = ScenarioDefinition<'opens'>['run']

function pointOf(run: Run = async () => {}): PlannedPoint {
  const scenario = defineScenario({
    ...{ title: 'a test', images: ['micro'], vtpms: ['none'], run },
    needs: { secureBoot: false, persistentVariables: false, image: [] },
    budget: { vcpus: 1, memoryMiB: 64, seconds: 5 },
    claims: { opens: { claim: 'it opens' } },
  })
  const variant: Variant = {
    ...{ platform: 'tcg', vtpm: 'none', firmware: 'ovmf', image: 'micro' },
    ...{ qemu: '/opt/a b/qemu', vcpus: 1, memoryMiB: 64 },
  }
  const found = { id: 'a/b', scenario }
  return {
    key: 'a/b@tcg,none,ovmf,micro,qemu=/opt/a b/qemu',
    asked: 'a/b@best,none,any,micro,qemu=qemu',
    id: 'a/b',
    found,
    variant,
    platform: platform('tcg'),
  }
}

/** A fault that needs no VM: the free space of the attempt's directory can no longer be told. */
async function breakDirectory(events: readonly RunEvent[]): Promise<void> {
  const started = events.findLast((event) => event.type === 'scenario-started')
  if (started?.type !== 'scenario-started') throw new Error('nothing was started')
  await rm(started.directory, { recursive: true })
  await symlink(started.directory, started.directory)
}

/** Runs a scenario that breaks as often as `outcomes` say, each time in its own way. */
async function attempts(
  outcomes: readonly ('error' | 'fail' | 'pass' | 'fail-then-fault' | 'pass-then-fault')[],
  { retries, abort = new AbortController() }: { retries: number; abort?: AbortController },
) {
  const events: RunEvent[] = []
  const runDirectory = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
  t.teardown(() => rm(runDirectory, { recursive: true }))
  let started = 0
  const point = pointOf(async (lab) => {
    const outcome = outcomes[started++]
    if (outcome === 'error') throw new MaterialError(`broke ${started}`, { code: 'missing' })
    const [claimed, fault] = outcome?.split('-then-') ?? []
    lab.claim('opens', { expected: 'pass', got: claimed ?? 'never' })
    if (fault) await breakDirectory(events)
  })
  const execution = {
    ...{ point, runDirectory, keep: false, signal: abort.signal, bench: async () => ({}) as Bench },
    emit: (event: RunEvent) => {
      events.push(event)
      if (event.type === 'attempt-ended' && retries > 8) abort.abort()
    },
  }
  const result = await executeRetrying(execution, retries)
  return { result, started, events }
}

t.test('what breaks is tried again, and the result says how often and why', async (t) => {
  const { result, events } = await attempts(['error', 'error', 'pass'], { retries: 3 })
  t.match(result, { outcome: 'pass', attempts: 3 })
  t.match(result.broken, [{ reason: 'missing: broke 1' }, { reason: 'missing: broke 2' }])
  t.same(
    events.map((event) => (event.type === 'scenario-started' ? `start ${event.attempt}` : event.type)),
    ['start 1', 'attempt-ended', 'start 2', 'attempt-ended', 'start 3', 'claim', 'scenario-ended'],
  )
  const directories = [...(result.broken ?? []), result].map(({ dir }) => basename(dir))
  t.same(directories, [
    'a.b-tcg-none-ovmf-micro-qemu-.opt.a-b.qemu',
    'a.b-tcg-none-ovmf-micro-qemu-.opt.a-b.qemu.attempt-2',
    'a.b-tcg-none-ovmf-micro-qemu-.opt.a-b.qemu.attempt-3',
  ])
})

t.test('a false claim is never tried again, not even after an attempt that broke', async (t) => {
  const once = await attempts(['fail', 'pass'], { retries: 5 })
  t.match(once, { started: 1, result: { outcome: 'fail', attempts: 1 } })
  const later = await attempts(['error', 'fail', 'pass'], { retries: 5 })
  t.match(later, { started: 2, result: { outcome: 'fail', attempts: 2 } })
})

t.test('a false claim beside a fault is in the result, not hidden by a retry that passes', async (t) => {
  const falseThenFault = await attempts(['fail-then-fault', 'pass'], { retries: 5 })
  t.match(falseThenFault, {
    started: 1,
    result: { outcome: 'error', attempts: 1, claims: [{ id: 'opens', outcome: 'fail' }] },
  })
  const trueThenFault = await attempts(['pass-then-fault', 'pass'], { retries: 5 })
  t.match(trueThenFault, {
    started: 2,
    result: { outcome: 'pass', broken: [{ claims: [{ id: 'opens', outcome: 'pass' }] }] },
  })
})

t.test('retries come to an end, and an interruption ends them', async (t) => {
  const all = ['error', 'error', 'error', 'error'] as const
  t.match(await attempts(all, { retries: 2 }), { started: 3, result: { outcome: 'error', attempts: 3 } })
  t.match(await attempts(all, { retries: 0 }), { started: 1, result: { outcome: 'error', attempts: 1 } })
  t.match(await attempts(all, { retries: 9 }), { result: { outcome: 'error', attempts: 2 } })
})

const ran = ({ repetition }: PlannedPoint): ScenarioResult => ({
  ...{
    scenario: 'a/b',
    variant: pointOf().variant,
    outcome: 'pass',
    reason: '',
    seconds: 0,
    claims: [],
    dir: '',
  },
  ...{ attempts: 1, ...(repetition !== undefined && { repetition }) },
})

t.test('--repeat: each point so often, with a key of its own', async (t) => {
  const points = [pointOf(), { ...pointOf(), key: 'c' }]
  t.same(roundOf(points, 1, {}), points, 'without it, keys stay as they are')
  const round = roundOf(points, 1, { repeat: 3 })
  t.equal(new Set(round.map(({ key }) => key)).size, 6)
  t.same(
    round.map(({ repetition }) => repetition),
    [1, 1, 2, 2, 3, 3],
  )
})

t.test('--until-failure: round after round, until one fails or there were enough', async (t) => {
  const rounds = async (
    repeat: number | undefined,
    failsIn: number,
    outcome: Outcome = 'pass',
    changes: Partial<ScenarioResult> = {},
  ) => {
    const announced: number[] = []
    let round = 0
    const results = await runRounds([pointOf()], {
      ...{ untilFailure: true, ...(repeat !== undefined && { repeat }) },
      run: async (all) => {
        round++
        return all.map((point) => ({ ...ran(point), outcome, ...changes }))
      },
      isOver: () => round >= failsIn,
      announce: (all) => void announced.push(all[0]?.repetition ?? 0),
    })
    return { repetitions: results.map(({ repetition }) => repetition), announced }
  }
  t.same(await rounds(undefined, 3), { repetitions: [1, 2, 3], announced: [2, 3] })
  t.same((await rounds(2, 5)).repetitions, [1, 2])
  t.same((await rounds(undefined, 1e9, 'skip')).repetitions, [1], 'where nothing runs there is no second')
  const full = { attempts: 0, reason: 'disk-full: 0 bytes are free' }
  t.same((await rounds(9, 1e9, 'error', full)).repetitions, [1], 'nor where nothing can be started')
  t.same((await rounds(9, 1e9, 'error', { ...full, unstable: 'now and then' })).repetitions, [1])
  t.same((await rounds(9, 1e9, 'fail')).repetitions, [1], 'a fail is one, whoever says so')
})
