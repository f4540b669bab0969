import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { ExpectationError, GuestError, HostError, UsageError } from '../base/errors.ts'
import { claim, HOSTILE, result } from '../report/testing/fake-run.ts'
import type { ScenarioResult } from '../run/events.ts'
import type { RunRequest } from '../run/program.ts'
import { describeFailure } from './failure.ts'
import { type RunFlags, run } from './run.ts'
import { runExitCode } from './run-exit-code.ts'

const MAIN = join(import.meta.dirname, 'main.ts')
const FAKE_RUN = join(import.meta.dirname, 'testing/fake-run-program.ts')

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The children of this test would else spend most of their time compiling. */
const COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/attestbed/node')

function start(...args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, args, {
    env: { ...process.env, NO_COLOR: '1', NODE_COMPILE_CACHE: COMPILE_CACHE },
  })
}

async function end(child: ChildProcessWithoutNullStreams): Promise<Ended> {
  const collected = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (collected.stdout += chunk))
  child.stderr.on('data', (chunk: Buffer) => (collected.stderr += chunk))
  child.stdin.end()
  const [code] = await once(child, 'close')
  return { code, ...collected }
}

const cli = (...args: readonly string[]): Promise<Ended> => end(start(MAIN, ...args))
const fakeRun = (...words: readonly string[]): Promise<Ended> => end(start(FAKE_RUN, ...words))

t.test('help', async (t) => {
  const [root, run] = await Promise.all([cli('--help'), cli('run', '--help')])
  t.match(root, { code: 0, stderr: '' })
  for (const command of ['run', 'plan', 'list', 'doctor', 'shell', 'images', 'predict', 'diff'])
    t.match(root.stdout, `  ${command} `)
  t.match(root.stdout, 'Examples:')
  t.match(run, { code: 0, stdout: 'Examples:' })
  for (const flag of [
    'platform',
    'jobs',
    'keep',
    'print-argv',
    'json',
    'require',
    'tools',
    'image',
    'vtpm',
    'firmware',
    'qemu',
    'vcpus',
    'memory',
    'matrix',
    'pairwise',
    'shard',
    'retry',
    'repeat',
    'until-failure',
    'seed',
    'states',
    'exhaustive',
  ])
    t.match(run.stdout, `--${flag}`)
})

t.test('how many states of a power cut are booted, and which, is passed on', async (t) => {
  const requested = async (flags: RunFlags) => {
    const { promise, resolve } = Promise.withResolvers<RunRequest['sampling']>()
    const stopped = run([], flags, async ({ sampling }) => {
      resolve(sampling)
      throw new Error('seen')
    })
    await t.rejects(stopped, { message: 'seen' })
    return promise
  }
  t.strictSame(await requested({}), {})
  t.strictSame(await requested({ seed: 7, states: { first: 13, last: 24 } }), {
    seed: 7,
    states: { first: 13, last: 24 },
  })
  t.strictSame(await requested({ exhaustive: true }), { states: 'all' })
})

t.test('wrong usage is exit 2, one message, a hint, and no stack', async (t) => {
  const cases = [
    [['rnu'], /unknown command 'rnu'\nhint: did you mean run\?/],
    [['run', '--plaform', 'tcg'], /unknown option '--plaform'\nhint: did you mean --platform\?/],
    [['run', '--platform', 'tgc'], /"tgc" is none of tcg, kvm/],
    [['run', '--jobs', '0'], /"0" is no whole number/],
    [['run', '--seed', '4294967296'], /"4294967296" is no whole number from 0 to 4294967295/],
    [['run', '--states', '1e3'], /"1e3" is no whole number/],
    [['run', '--states', '24-13'], /"24-13" is no .* and no range such as 13-24/],
    [['run', '--states', '0-3'], /"0-3" is no whole number/],
    [['run', '--states', '13-24'], /--seed must say which/],
    [['run', '--states', '25-'], /--seed must say which/],
    [['run', '--states', '-'], /"-" is no whole number/],
    [['run', '--seed', '7', '--order', 'f62a'], /"f62a" is no order/],
    [['run', '--order', 'f62a05c2'], /--seed must say which/],
    [['run', '--states', '3', '--exhaustive'], /cannot be used with/],
    [['run', '--require', 'luck'], /hardware/],
    [['list', 'encrypted-root/statefull-vtpm'], /hint: did you mean encrypted-root\/stateful-vtpm\?/],
    [['run', '--repeat', '0'], /"0" is no whole number/],
    [['run', '--retry', 'x'], /"x" is no whole number from 0 to 10/],
    [['run', '--matrix', '/nowhere.yaml'], /cannot read the matrix \/nowhere\.yaml: ENOENT/],
    [['plan', '--shard', '9/8'], /"9\/8" is no part such as 2\/8/],
    [['plan', '--memory', '2048'], /"2048" is no size such as 512M/],
    [['plan', '--shards', '4'], /--format github or gitlab is required/],
    [['images', 'debain'], /hint: did you mean debian\?/],
    [['shell', 'debian'], /needs a terminal/],
    [['shell'], /missing required argument 'target'/],
  ] as const
  const ended = await Promise.all(cases.map(([args]) => cli(...args)))
  for (const [index, [args, message]] of cases.entries()) {
    const { code, stdout, stderr } = ended[index] ?? { code: null, stdout: '', stderr: '' }
    t.equal(code, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, message)
    t.match(stderr, /^attestbed: UsageError \[/)
    t.notMatch(stderr, /^ +at /m)
  }
})

t.test('no command prints the help and is wrong usage', async (t) => {
  t.match(await cli(), { code: 2, stdout: '', stderr: 'Usage: attestbed' })
})

t.test('an old Node is told what it lacks', async (t) => {
  const old =
    'data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"20.11.0"}})'
  const { code, stderr } = await end(start('--import', old, MAIN, '--help'))
  t.equal(code, 3)
  t.match(stderr, 'HostError [node-too-old]: cannot start with Node 20.11.0; Node 24 or newer is required')
})

t.test('a reader that goes away is no crash', async (t) => {
  const child = start(MAIN, 'list')
  child.stdout.destroy()
  const { code, stderr } = await end(child)
  t.equal(code, 0)
  t.equal(stderr, '')
})

t.test('run', async (t) => {
  t.test('prints progress and the table, and exits by the outcome', async (t) => {
    const { code, stdout, stderr } = await fakeRun()
    t.equal(code, 1)
    t.match(stdout, '1 passed, 1 failed, 1 in error, 1 skipped of 4 scenarios')
    t.equal(stderr, '')
    t.notMatch(stdout, /^(ok|not ok|Bail out!|1\.\.)/m)
  })
  t.test('--json: one document on stdout, words on stderr', async (t) => {
    const { stdout, stderr } = await fakeRun('json')
    const { results } = JSON.parse(stdout)
    t.match(results[0], {
      scenario: 'encrypted-root/stateful-vtpm',
      variant: {
        platform: 'tcg',
        vtpm: 'stateful',
        firmware: 'ovmf',
        image: 'debian',
        qemu: 'tools',
        vcpus: 1,
      },
      ...{ outcome: 'pass', reason: '', seconds: 61.5, dir: '/runs/1/stateful' },
      claims: [
        {
          claim: 'the root unlocks from its vTPM',
          basis: 'emulated',
          outcome: 'pass',
          expected: 'a',
          got: 'a',
        },
      ],
    })
    t.equal(results[1].claims[0].got, HOSTILE, 'as it was observed')
    t.match(stderr, '4 scenarios')
  })
  t.test('--print-argv: stdout is what a shell reads', async (t) => {
    const { stdout } = await fakeRun('argv')
    t.equal(stdout, "# k0\nqemu \\\n  -append 'a b'\n")
  })
})

async function untilSaid(child: ChildProcessWithoutNullStreams, words: string): Promise<void> {
  let text = ''
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    text += chunk
    if (text.includes(words)) return
  }
  throw new Error(`ended without saying "${words}": ${text}`)
}

t.test('interruption', async (t) => {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)
    t.test(`${signal}: the run is stopped, the table printed, exit ${code}`, async (t) => {
      const child = start(FAKE_RUN, 'wait')
      await untilSaid(child, ': owner: kernel')
      child.kill(signal)
      const ended = await end(child)
      t.equal(ended.code, code)
      t.match(ended.stdout, `interrupted (${signal}): stopping the VMs`)
      t.match(ended.stdout, 'of 4 scenarios')
    })
  t.test('a second one leaves at once', async (t) => {
    const child = start(FAKE_RUN, 'wait', 'stubborn')
    await untilSaid(child, ': owner: kernel')
    child.kill('SIGINT')
    await untilSaid(child, 'once more to leave at once')
    child.kill('SIGINT')
    const { code, stdout } = await end(child)
    t.equal(code, 130)
    t.notMatch(stdout, 'of 4 scenarios')
  })
})

t.test('an empty shard says so and is a success, an empty plan is wrong usage', async (t) => {
  const { code, stdout, stderr } = await fakeRun('empty-shard')
  t.equal(code, 0)
  t.equal(stderr, '')
  t.match(stdout, 'Nothing to run in this shard: the others have 5 variants.\n')
  await t.rejects(
    run([], { json: true }, async () => ({ results: [] })),
    { code: 'bad-value', message: /^nothing to run/ },
  )
})

t.test('the exit code of a run', async (t) => {
  const codeOf = (
    results: readonly ScenarioResult[],
    requireHardware = false,
    interrupted?: number,
  ): number => runExitCode({ results }, { requireHardware, interrupted })
  const pass = result()
  const fail = result({ outcome: 'fail' })
  const error = result({ outcome: 'error' })
  const skip = result({ outcome: 'skip' })
  const partly = result({ claims: [claim(), claim({ outcome: 'skip' })] })
  t.equal(codeOf([pass]), 0)
  t.equal(codeOf([pass, skip]), 0)
  t.equal(codeOf([pass, partly]), 0)
  const proven = result({ claims: [claim({ basis: 'hardware' })] })
  const emulated = { ...proven, variant: { ...proven.variant, emulatedOn: 'tcg' as const } }
  t.equal(codeOf([emulated]), 0)
  t.equal(codeOf([emulated], true), 3, 'an emulated TEE is none, whatever its claims rest on')
  t.equal(codeOf([skip, skip]), 3, 'nothing ran, so nothing passed')
  t.equal(codeOf([result({ outcome: 'skip', reason: 'argv-printed: nothing was started' })]), 0)
  t.equal(codeOf([pass, error]), 4)
  t.equal(codeOf([error, fail]), 1, 'a false claim outweighs broken infrastructure')
  t.equal(codeOf([pass, skip], true), 3)
  t.equal(codeOf([partly], true), 3)
  t.equal(codeOf([pass], true), 3, 'emulated: no hardware proved it')
  t.equal(codeOf([proven], true), 0)
  t.equal(codeOf([proven, pass], true), 3)
  const rehearsed = claim({ basis: 'rehearsed' })
  t.equal(
    codeOf([result({ claims: [rehearsed] })], true),
    3,
    'nor did any where all was rehearsed or predicted',
  )
  t.equal(codeOf([result({ claims: [claim({ basis: 'predicted' })] })], true), 3)
  t.equal(
    codeOf([result({ claims: [rehearsed, claim({ basis: 'hardware' })] })], true),
    0,
    'beside a proof it is no lack',
  )
  t.equal(codeOf([fail], true), 1)
  t.equal(codeOf([fail], false, 130), 130)
  const unstable = { unstable: 'now and then' }
  const forgiven = result({ outcome: 'fail', ...unstable })
  t.equal(codeOf([pass, forgiven, result({ outcome: 'error', ...unstable })]), 0, 'a mark of the matrix')
  const broken = result({ outcome: 'error', ...unstable })
  t.equal(codeOf([forgiven]), 1, 'a mark forgives beside what holds; here nothing does')
  t.equal(codeOf([forgiven, broken, skip]), 1)
  t.equal(codeOf([broken, skip]), 4)
  t.equal(codeOf([result({ ...unstable }), forgiven]), 0)
  t.equal(codeOf([proven, forgiven], true), 3, 'hardware has not proved what failed, marked or not')
  t.equal(codeOf([proven, broken], true), 3)
  t.equal(codeOf([proven, result({ ...unstable })], true), 3, 'nor what was emulated')
  t.equal(codeOf([forgiven, fail]), 1)
  const expired = [{ place: 'm.yaml:1:1', reason: 'x', until: '2026-01-01', variants: 1 }]
  const outdated = (results: readonly ScenarioResult[]) =>
    runExitCode({ results, expired }, { requireHardware: false, interrupted: undefined })
  t.equal(outdated([pass]), 2, 'a mark that is out of date')
  t.equal(outdated([pass, fail]), 1)
  const inShard = (results: readonly ScenarioResult[], marks: typeof expired = []) =>
    runExitCode(
      { results, expired: marks, otherShards: 7 },
      { requireHardware: true, interrupted: undefined },
    )
  t.equal(inShard([]), 0, 'a shard without variants')
  t.equal(inShard([], expired), 2)
  t.equal(inShard([skip]), 3)
  t.equal(codeOf([]), 3)
})

t.test('failures', async (t) => {
  t.test('of ours: message and hint, no stack', async (t) => {
    const error = new UsageError('wrong key', {
      ...{ code: 'bad-config', hint: 'see the how-to' },
      position: { file: 'a.yaml', line: 3, column: 7 },
    })
    const text = 'attestbed: UsageError [bad-config]: a.yaml:3:7: wrong key\nhint: see the how-to\n'
    t.same(describeFailure(error, {}), { text, exitCode: 2 })
    t.match(describeFailure(error, { ATTESTBED_DEBUG: '1' }).text, /^ +at /m)
  })
  t.test('quote the console, escaped', async (t) => {
    const error = new GuestError(`ended: ${HOSTILE}`, { code: 'panic', consoleTail: 'one\ntwo\x1b[2J' })
    const { text, exitCode } = describeFailure(error, {})
    t.equal(exitCode, 4)
    t.match(text, '  | one\n  | two\\x1b[2J\n')
    t.notMatch(text, /[\x00-\x09\x0b-\x1f\x7f]/)
    t.notMatch(text, /^(ok|Bail)/m)
  })
  t.test('have the exit code of their class', async (t) => {
    t.equal(describeFailure(new HostError('x', { code: 'locked' }), {}).exitCode, 3)
    t.equal(describeFailure(new ExpectationError('x', { code: 'claim-false' }), {}).exitCode, 1)
  })
  t.test('a full disk is not our bug', async (t) => {
    const { text, exitCode } = describeFailure(
      Object.assign(new Error('ENOSPC: write'), { code: 'ENOSPC' }),
      {},
    )
    t.equal(exitCode, 3)
    t.match(text, 'HostError [disk-full]')
  })
  t.test('anything else is: with a stack and a request to report', async (t) => {
    const { text, exitCode } = describeFailure(new TypeError('x is undefined'), {})
    t.equal(exitCode, 70)
    t.match(text, /bug in attestbed[\s\S]+TypeError: x is undefined\n +at [\s\S]+Please report/)
    t.equal(describeFailure('a string', {}).exitCode, 70)
  })
})
