import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { GuestError, LaunchError, TimeoutError } from '../base/errors.ts'
import type { GuestEnd } from '../machine/end.ts'
import { endError } from '../machine/end-error.ts'
import { Store } from '../system/store.ts'
import { Boot } from './boot.ts'
import type { VmSpec } from './lab-spec.ts'
import { ScenarioVm } from './vm.ts'

/** A VM that is never launched: each boot ends when its command lines are made. */
async function printedVm(t: Test): Promise<{ readonly vm: ScenarioVm; readonly directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  const { TMPDIR } = process.env
  // What is printed is pasted later, so its place for sockets outlasts a run, but not a test.
  process.env['TMPDIR'] = directory
  t.teardown(async () => {
    if (TMPDIR === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = TMPDIR
    await rm(directory, { recursive: true, force: true })
  })
  await writeFile(join(directory, 'template.fd'), 'flash')
  const certificates = Object.fromEntries(['PK', 'KEK', 'db'].map((name) => [name, { digest: '' }]))
  const bench = {
    tools: { kind: 'tree', digest: '', path: () => join(directory, 'template.fd') },
    ...{ store: new Store(join(directory, 'store')), keys: { certificates }, printArgv: true, host: {} },
    firmware: { id: 'f', load: 'pflash', path: 'code.fd', variables: 'vars.fd', keys: 'none', features: [] },
    platform: { reboot: () => 'reset', apply: (description: object) => description },
    newVtpms: { create: (state: string) => mkdir(state) },
    image: {
      description: { secureBoot: 'off', capabilities: new Set() },
      ...{ materials: [], packages: [] },
      prepareDisk: async () => ({ file: join(directory, 'disk.qcow2'), format: 'qcow2' }),
    },
  }
  const spec = {
    ...{
      name: 'owner',
      directory,
      bench,
      variant: { vtpm: 'stateful' },
      budget: { vcpus: 1, memoryMiB: 512 },
    },
    ...{ secureBoot: false, scratch: [], vtpmLogs: [], ends: [], emit: () => {} },
  }
  return { vm: await ScenarioVm.prepare(spec as unknown as VmSpec, {}), directory }
}

t.test('each QEMU process that is recorded has logs of its own, and none after the recording', async (t) => {
  const { vm, directory } = await printedVm(t)
  let made = 0
  vm.recordWrites(async () => {
    made += 1
    return { disk: `/d${made}.log`, variables: `/v${made}.log`, trace: `/t${made}` }
  })
  const logsOfNextBoot = async () => {
    await t.rejects(vm.boot(), { name: 'PrintedArgv' })
    const boots = (await readdir(directory)).filter((name) => name.startsWith('boot-')).sort()
    const argv = await readFile(join(directory, boots.at(-1) ?? '', 'qemu.argv.json'), 'utf8')
    return argv.match(/\/[dvt]\d(\.log)?/g)?.toSorted()
  }
  t.strictSame(await logsOfNextBoot(), ['/d1.log', '/t1', '/v1.log'])
  t.strictSame(await logsOfNextBoot(), ['/d2.log', '/t2', '/v2.log'])
  vm.recordWrites()
  t.equal(await logsOfNextBoot(), undefined)
})

/** A boot whose wait for a ready guest fails, in a QEMU process that ends so; `Boot` is otherwise made by a launch. */
function failingBoot(kind: GuestEnd['kind'], error: Error, next?: Boot): Boot {
  const machine = {
    console: {
      ...{ sentBytes: 0, mark: () => 0, tap: () => () => {}, lastLines: () => [] },
      expect: async () => {
        throw error
      },
    },
    qmp: { onEvent: () => () => {} },
    ended: Promise.resolve({ kind, reason: 'SIGSEGV', at: 0, consoleTail: '' }),
    ...{ endError: (end: GuestEnd) => endError('owner', end), quit: async () => {} },
  }
  const image = { description: { timeouts: { bootSeconds: 60 } } }
  const vm = { spec: { bench: { image }, signal: new AbortController().signal }, boot: async () => next }
  const Made = Boot as unknown as new (vm: object, process: object) => Boot
  return new Made(vm, { machine, vtpm: undefined, spec: { description: { onReset: 'exit' } } })
}

t.test(
  'a guest that is followed over its boots is lost where QEMU crashes, with what QEMU did',
  async (t) => {
    const closed = () => new GuestError('the console closed', { code: 'console-closed' })
    const settle = (kind: GuestEnd['kind'], error: Error, next?: Boot) =>
      failingBoot(kind, error, next).settle()
    await t.rejects(settle('qemu-crashed', closed()), { constructor: LaunchError, code: 'qemu-crashed' })
    await t.rejects(settle('vtpm-died', closed()), { constructor: LaunchError, code: 'swtpm-died' })
    await t.rejects(settle('shut-down', closed()), { constructor: GuestError, code: 'shut-down' })
    const after = failingBoot('qemu-crashed', closed())
    await t.rejects(settle('reset', closed(), after), { code: 'qemu-crashed' }, 'a reset goes on')
    const panic = new GuestError('Kernel panic', { code: 'panic' })
    await t.rejects(settle('qemu-crashed', panic), panic, 'what the console said is why, whatever came after')
    const late = new TimeoutError('not ready', { code: 'boot' })
    await t.rejects(settle('qemu-crashed', late), late)
  },
)
