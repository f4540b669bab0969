import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HostError, MaterialError } from '../base/errors.ts'
import type { GuestEndKind } from '../machine/end.ts'
import { platform } from '../platforms/platforms.ts'
import type { Bench } from './bench.ts'
import type { RunEvent } from './events.ts'
import { execute, notStarted } from './execute.ts'
import { faultOf } from './health.ts'
import type { PlannedPoint } from './plan.ts'
import { PrintedArgv } from './printed-argv.ts'
import { defineScenario, type ScenarioDefinition } from './scenario.ts'

type Run = ScenarioDefinition<'opens' | 'stays'>['run']

function point(run: Run, seconds = 5): PlannedPoint {
  const scenario = defineScenario({
    ...{ title: 'a test', images: ['micro'], vtpms: ['none'], run },
    needs: { secureBoot: false, persistentVariables: false, image: [] },
    budget: { vcpus: 1, memoryMiB: 64, seconds },
    claims: { opens: { claim: 'it opens' }, stays: { claim: 'it stays open' } },
  })
  return {
    ...{
      key: 'a/b@tcg,none,ovmf,micro',
      asked: 'a/b@tcg,none,ovmf,micro',
      id: 'a/b',
      found: { id: 'a/b', scenario },
      platform: platform('tcg'),
    },
    variant: {
      ...{ platform: 'tcg', vtpm: 'none', firmware: 'ovmf', image: 'micro' },
      ...{ qemu: 'tools', vcpus: 1, memoryMiB: 64 },
    },
  }
}

// These scenarios touch no VM, so nothing of the bench is used.
const noBench = async (): Promise<Bench> => ({}) as Bench

async function runPoint(
  run: Run,
  options: { seconds?: number; abort?: AbortController; bench?: typeof noBench } = {},
) {
  const events: RunEvent[] = []
  const runDirectory = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
  t.teardown(() => rm(runDirectory, { recursive: true }))
  const result = await execute({
    ...{ point: point(run, options.seconds), bench: options.bench ?? noBench, runDirectory, keep: false },
    ...{
      signal: (options.abort ?? new AbortController()).signal,
      emit: (event: RunEvent) => events.push(event),
    },
  })
  return { result, events }
}

t.test('claims, events and a private directory', async (t) => {
  const { result, events } = await runPoint(async (lab) => {
    lab.claim('opens', { expected: 1, got: 1 })
    lab.claim('stays', { expected: 1, got: 1 })
  })
  t.match(result, { scenario: 'a/b', outcome: 'pass', reason: '' })
  t.same(
    events.map(({ type }) => type),
    ['scenario-started', 'claim', 'claim', 'scenario-ended'],
  )
  t.equal((await stat(result.dir)).mode & 0o777, 0o700)
})

t.test('a false claim fails, and the scenario goes on to the others', async (t) => {
  const { result } = await runPoint(async (lab) => {
    lab.claim('opens', { expected: 1, got: 2 })
    lab.claim('stays', { expected: 1, got: 1 })
  })
  t.equal(result.outcome, 'fail')
  t.same(
    result.claims.map(({ outcome }) => outcome),
    ['fail', 'pass'],
  )
})

t.test('what a scenario forgets, or decides twice, is an error', async (t) => {
  t.match((await runPoint(async (lab) => void lab.claim('opens', { expected: 1, got: 1 }))).result, {
    outcome: 'error',
    reason: /without deciding stays/,
  })
  const twice = await runPoint(async (lab) => {
    for (const _ of [1, 2]) lab.claim('opens', { expected: 1, got: 1 })
  })
  t.match(twice.result, { outcome: 'error', reason: /twice/ })
})

t.test('an image that cannot be built is an error of the scenario, not of the run', async (t) => {
  const bench = async () => Promise.reject(new MaterialError('cannot build', { code: 'build-failed' }))
  t.match((await runPoint(async () => {}, { bench })).result, { outcome: 'error', reason: /build-failed/ })
})

t.test('a scenario that never ends is ended by its budget, and by an interruption', async (t) => {
  const never: Run = () => new Promise(() => setTimeout(() => {}, 1e9).unref())
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  t.match((await runPoint(never, { seconds: 0.05 })).result, { outcome: 'error', reason: /budget of 0.05 s/ })
  const abort = new AbortController()
  setImmediate(() => abort.abort())
  t.match((await runPoint(never, { abort })).result, { outcome: 'error', reason: /interrupted/ })
})

t.test('what a scenario sees after its end decides nothing', async (t) => {
  let refused: unknown
  const late: Run = async (lab) => {
    await new Promise<void>((resolve) => setTimeout(resolve, 60))
    try {
      refused = lab.claim('opens', { expected: 1, got: 2 })
    } catch (error) {
      refused = error
    }
  }
  const { result } = await runPoint(async (lab) => {
    void late(lab)
    throw new MaterialError('lost', { code: 'missing' })
  })
  t.match(result, { outcome: 'error', reason: /lost/, claims: [] })
  while (refused === undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  t.match(refused, { code: 'bad-scenario' })
})

t.test('an error that a teardown hides is found', async (t) => {
  const full = new HostError('no space is left', { code: 'disk-full', hint: 'Free some' })
  const { result } = await runPoint(async () => {
    const teardown = new AggregateError([new Error('of a log')], 'scope')
    throw new SuppressedError(teardown, new Error('QEMU ended', { cause: full }))
  })
  t.match(result, { outcome: 'error', reason: 'disk-full: no space is left', hint: 'Free some' })
})

t.test('a vTPM in failure mode is a fault', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  // TPM2_Startup, and what it was answered.
  const log = async (name: string, responseCode: string): Promise<string> => {
    const file = join(directory, name)
    const command = ' SWTPM_IO_Read: length 12\n 80 01 00 00 00 0C 00 00 01 44 00 00 \n'
    await writeFile(file, `${command} SWTPM_IO_Write: length 10\n 80 01 00 00 00 0A ${responseCode} \n`)
    return file
  }
  const healthy = await log('healthy', '00 00 00 00')
  const refusing = await log('refusing', '00 00 01 8B')
  t.equal(
    await faultOf({ directory, vtpmLogs: [healthy, refusing, join(directory, 'never-started')], ends: [] }),
    undefined,
  )
  t.match(await faultOf({ directory, vtpmLogs: [healthy, await log('failed', '00 00 01 01')], ends: [] }), {
    code: 'swtpm-failed',
    message: /TPM2_Startup/,
  })
})

t.test('a vTPM that died beneath a guest is a fault, whatever the guest said afterwards', async (t) => {
  const ended = (kind: GuestEndKind) => [
    { name: 'owner', ended: Promise.resolve({ kind, reason: 'so it was', at: 0, consoleTail: '' }) },
  ]
  const directory = t.testdir()
  for (const kind of ['killed', 'shut-down', 'reset', 'firmware-refused'] as const)
    t.equal(await faultOf({ directory, vtpmLogs: [], ends: ended(kind) }), undefined, kind)
  t.match(await faultOf({ directory, vtpmLogs: [], ends: ended('vtpm-died') }), {
    code: 'swtpm-died',
    message: /owner.*so it was/,
  })
  t.match(await faultOf({ directory, vtpmLogs: [], ends: ended('io-error') }), { code: 'disk-full' })
})

t.test('command lines that were asked for are no verdict', async (t) => {
  const { result, events } = await runPoint(async () => {
    throw new PrintedArgv([['swtpm'], ['qemu-system-x86_64', '-nodefaults']])
  })
  t.match(result, { outcome: 'skip', reason: /^argv-printed/ })
  t.match(
    events.find(({ type }) => type === 'command-lines'),
    { commands: [['swtpm'], ['qemu-system-x86_64']] },
  )
})

t.test('a point that is not started is a result too', async (t) => {
  const events: RunEvent[] = []
  const result = notStarted(
    point(async () => {}),
    new MaterialError('x', { code: 'missing' }),
    (event) => events.push(event),
  )
  t.match(result, { outcome: 'error', dir: '' })
  t.equal(events.length, 1)
})

t.test(
  'with somebody to look at it, a scenario stops at its first false claim while its VMs still run',
  async (t) => {
    const order: string[] = []
    const scenes: unknown[] = []
    const runDirectory = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
    t.teardown(() => rm(runDirectory, { recursive: true }))
    const run: Run = async (lab) => {
      lab.claim('opens', { expected: 1, got: 2 })
      order.push('the rest of the scenario')
    }
    const execution = { point: point(run), bench: noBench, runDirectory, keep: false, emit: () => {} }
    const onFailure = async ({ error }: { readonly error: unknown }) => {
      order.push('looked at')
      scenes.push(error)
    }
    const { signal } = new AbortController()
    const result = await execute({ ...execution, signal, onFailure })
    t.same(order, ['looked at'])
    t.match(scenes, [{ name: 'StoppedAtFailure', message: /"opens"/ }])
    t.match(result, { outcome: 'fail', reason: /^claim "opens" is false: it opens$/ })
    await execute({
      ...execution,
      signal: AbortSignal.abort(),
      onFailure,
      point: point(async () => new Promise(() => {})),
    })
    t.same(order, ['looked at'], 'an interruption is nothing to look at')
  },
)
