/** Real QEMUs under TCG with guests of a few bytes: each test takes well under a second, but for the last two. */
import { copyFile, mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { HostError, LaunchError, MaterialError, TimeoutError } from '../base/errors.ts'
import { programIn } from '../system/process-table.ts'
import { Scope } from '../system/scope.ts'
import { openTools, type Tools } from '../system/tools.ts'
import type { MachineDescription } from './description.ts'
import { type LaunchOptions, launchMachine, type Machine } from './vm.ts'
import { createVtpmState } from './vtpm/state.ts'
import { startSwtpm } from './vtpm/swtpm.ts'

const IMAGE_BYTES = 64 * 1024
/** Where an x86 processor starts, in the last 64 KiB below 4 GiB. */
const RESET_VECTOR = 0xfff0
const CODE = 0x1000
/** jmp 0xf000:CODE */
const JUMP = [0xea, CODE & 0xff, CODE >> 8, 0x00, 0xf0]

/** 16-bit code: what each guest does after it said its words on COM1. */
const GUESTS = {
  // cli; 1: hlt; jmp 1b
  halt: 'faf4ebfd',
  // 1: jmp 1b
  spin: 'ebfe',
  // out 0xcf9, 6
  reset: 'baf90cb006eef4ebfd',
  // lidt [0x1000 of the image: zeros]; int3: no interrupt table, so the fault faults, and so does that
  tripleFault: '0e1f0f011e0000cc',
  // ICH9: PMBASE = 0x600, ACPI on; PM1_CNT = SLP_EN
  powerOff:
    '66b840f80080baf80c66efbafc0c66b80106000066ef66b844f80080baf80c66efbafc0c66b88000000066efba0406b80020eff4ebfd',
  // find PCI device 1b36:0011 (pvpanic), map its register to 0xa0000, write PANICKED to it
  panic:
    '66bb000000806689d8baf80c66efbafc0c66ed663d361b110074096681c300080000ebe2baf80c6689d80c1066efbafc0c66b800000a0066efbaf80c6689d80c0466efbafc0cb80200efb800a08ed8c606000001f4ebfd',
} as const

/** A firmware that prints `words` and then does what the guest does. */
function firmwareImage(guest: keyof typeof GUESTS, words: string): Buffer {
  const image = Buffer.alloc(IMAGE_BYTES)
  // mov dx, 0x3f8, and for each byte: mov al, byte; out dx, al
  const print = [0xba, 0xf8, 0x03, ...[...Buffer.from(words)].flatMap((byte) => [0xb0, byte, 0xee])]
  image.set([...print, ...Buffer.from(GUESTS[guest], 'hex')], CODE)
  image.set(JUMP, RESET_VECTOR)
  return image
}

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'

interface Bench {
  readonly tools: Tools
  readonly scope: Scope
  readonly directory: string
  /** Launched and continued. */
  readonly run: (guest: keyof typeof GUESTS, change?: Change) => Promise<Machine>
  readonly describe: (change?: Partial<MachineDescription>) => MachineDescription
}

interface Change extends Partial<Omit<LaunchOptions, 'directory'>> {
  readonly words?: string
  readonly description?: Partial<MachineDescription>
}

/** A test with a scope and a short directory of its own; skipped, by name, without the tools tree. */
function guestTest(title: string, body: (t: Test, bench: Bench) => Promise<void>): void {
  t.test(title, { skip }, async (t) => {
    if (!tools) return
    const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
    const scope = new Scope('test')
    t.teardown(async () => {
      await scope.close()
      await rm(directory, { recursive: true })
    })
    const bios = join(directory, 'bios')
    const describe = (change: Partial<MachineDescription> = {}): MachineDescription => ({
      ...{ name: 'vm1', accelerator: 'tcg', machineOptions: {}, cpu: 'max', vcpus: 1, memoryMiB: 32 },
      ...{ firmware: { kind: 'bios', file: bios }, drives: [], objects: [], smbiosStrings: [], ports: [] },
      ...{ watchdog: false, virtioOptions: {}, onReset: 'exit' },
      ...{ qmpSocket: join(directory, 'qmp'), serialPipe: join(directory, 'serial') },
      ...change,
    })
    const run: Bench['run'] = async (guest, { words = 'hello\n', description, ...options } = {}) => {
      await writeFile(bios, firmwareImage(guest, words))
      const machine = await launchMachine(scope, tools, describe(description), { directory, ...options })
      await machine.cont()
      return machine
    }
    await body(t, { tools, scope, directory, run, describe })
  })
}

const SOON = { deadlineMs: 15_000 }
/** The guest needs a tenth of it. */
const BUSY_MS = 1000

guestTest(
  'no byte of the guest is there before it is continued, and none is lost',
  async (t, { run, tools, scope, describe, directory }) => {
    await (await run('powerOff')).waitForEnd(SOON)
    const machine = await launchMachine(scope, tools, describe(), { directory })
    t.match(await machine.qmp.execute('query-status'), { status: 'prelaunch', running: false })
    t.equal(machine.console.receivedBytes, 0)
    t.equal(machine.times.startedAt, undefined)
    await machine.cont()
    t.equal((await machine.waitForEnd(SOON)).consoleTail, 'hello')
    const { spawnedAt, connectedAt, startedAt } = machine.times
    t.ok(spawnedAt <= connectedAt && connectedAt <= (startedAt ?? 0))
  },
)

guestTest('a harness that is busy for a while misses nothing that the guest says', async (t, { run }) => {
  const words = Array.from({ length: 2000 }, (_, line) => `line ${String(line).padStart(4)}\n`).join('')
  const machine = await run('halt', { words })
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_MS)
  const { before, match } = await machine.console.expect('line 1999', { ...SOON, since: 0 })
  t.equal(`${before}${match}\n`, words)
})

guestTest('a guest that powers off has shut down, and QEMU is gone with it', async (t, { run }) => {
  const machine = await run('powerOff')
  t.match(await machine.waitForEnd(SOON), { kind: 'shut-down', consoleTail: 'hello' })
  t.notOk(machine.process.running)
  t.strictSame(await machine.quit(), { exitCode: 0, signal: undefined }, 'quit has nothing left to do')
})

guestTest('a reset is an end where the platform cannot reset', async (t, { run }) => {
  const machine = await run('reset')
  t.match(await machine.waitForEnd(SOON), { kind: 'reset', reason: 'the guest reset' })
  t.notOk(machine.process.running)
})

guestTest('a triple fault is a reset', async (t, { run }) => {
  t.match(await (await run('tripleFault')).waitForEnd(SOON), { kind: 'reset' })
})

guestTest('a reset is an event where the guest goes on, and a loop of them is an end', async (t, { run }) => {
  const once = await run('halt', { description: { onReset: 'reset' } })
  const reset = once.nextReset(SOON)
  await once.reset()
  await reset
  t.equal(once.end, undefined)
  await once.quit()
  const loop = await run('reset', { description: { onReset: 'reset' }, words: '' })
  t.match(await loop.waitForEnd(SOON), { kind: 'reset', reason: /loop/ })
  t.ok(loop.process.running, 'QEMU is left to be examined')
})

guestTest('a panic that pvpanic reports ends the guest and pauses it', async (t, { run }) => {
  const machine = await run('panic', { words: 'Kernel panic - not syncing: of the test\n' })
  t.match(await machine.waitForEnd(SOON), {
    kind: 'panic',
    reason: 'Kernel panic - not syncing: of the test',
  })
  t.match(await machine.qmp.execute('query-status'), { status: 'guest-panicked' })
})

guestTest('a panic is an event where the guest may continue', async (t, { run }) => {
  const machine = await run('panic', { description: { onPanic: 'continue' } })
  const event = await machine.qmp.waitForEvent(['GUEST_PANICKED'], { since: 0, timeoutMs: 15_000 })
  t.match(event.data, { action: 'run' })
  t.match(await machine.qmp.execute('query-status'), { running: true })
  t.equal(machine.end, undefined)
})

guestTest(
  'a panic that only the console tells of ends the guest, and every wait on its console',
  async (t, { run }) => {
    const machine = await run('spin', { words: '[    1.000000] Kernel panic - not syncing: no init\n' })
    const wait = machine.console.expect('login:', { deadlineMs: 15_000, expectFailures: [] })
    t.match(await machine.waitForEnd(SOON), { kind: 'panic', reason: /not syncing: no init/ })
    await t.rejects(wait, { code: 'panic', message: /vm1 ended \(panic\)/ })
  },
)

guestTest('a halted guest hangs; a paused one does not', async (t, { run }) => {
  const machine = await run('halt', { hangAfterMs: 600 })
  await machine.pause()
  const inTime = await machine.waitForEnd({ deadlineMs: 1500 }).catch((error: unknown) => error)
  t.match(inTime, { constructor: TimeoutError }, 'not while it is paused')
  await machine.cont()
  t.match(await machine.waitForEnd(SOON), { kind: 'hang', consoleTail: 'hello' })
})

guestTest('a guest that spins is no hang, and the timeout says that it spins', async (t, { run }) => {
  const machine = await run('spin', { hangAfterMs: 400 })
  await t.rejects(machine.waitForEnd({ deadlineMs: 1500 }), {
    code: 'shutdown',
    message: /vm1 did not end within 1.5 s: console silent for \d s, a vCPU spins \(\d+ % busy\)\nhello/,
  })
  t.equal(machine.end, undefined)
})

guestTest('a crash of QEMU is told from an end of the guest', async (t, { run }) => {
  const machine = await run('halt')
  const qemu = programIn(machine.process.pid) ?? 0
  t.ok(qemu > 1)
  await machine.console.expect('hello', { deadlineMs: SOON.deadlineMs })
  if (qemu > 1) process.kill(qemu, 'SIGSEGV')
  const reset = machine.nextReset(SOON)
  const end = await machine.waitForEnd(SOON)
  t.match(end, { kind: 'qemu-crashed', reason: /SIGSEGV/, consoleTail: 'hello' })
  t.match(machine.endError(end), { constructor: LaunchError, code: 'qemu-crashed' })
  await t.rejects(reset, { code: 'qemu-crashed' })
})

guestTest('kill and quit are the harness, and known as such', async (t, { run }) => {
  const killed = await run('spin')
  await killed.kill()
  t.match(await killed.ended, { kind: 'killed', reason: 'the harness killed QEMU' })
  const ended = await run('spin')
  t.strictSame(await ended.quit(), { exitCode: 0, signal: undefined })
  t.match(await ended.ended, { kind: 'killed', reason: 'the harness ended QEMU' })
})

guestTest('nothing is left when the scope closes', async (t, { run, scope }) => {
  const machine = await run('spin')
  await scope.close()
  t.notOk(machine.process.running)
  t.match(await machine.ended, { kind: 'killed' })
})

guestTest('a launch that fails says why', async (t, { tools, scope, directory, describe, run }) => {
  const launch = (change: Partial<MachineDescription>) =>
    launchMachine(scope, tools, describe(change), { directory })
  await t.rejects(launch({}), { constructor: MaterialError, code: 'missing' })
  await (await run('powerOff')).ended
  const nowhere = { id: 'd', file: join(directory, 'none'), format: 'raw' } as const
  await t.rejects(launch({ drives: [nowhere] }), { constructor: MaterialError, code: 'missing' })
  await t.rejects(launch({ cpu: 'no-such-cpu' }), {
    constructor: HostError,
    code: 'program-too-old',
    message: /no-such-cpu/,
  })
  await t.rejects(launch({ vcpus: 100_000 }), {
    constructor: LaunchError,
    code: 'qemu-start',
    message: /100000/,
  })
  const code = tools.path('usr/share/OVMF/OVMF_CODE_4M.fd')
  const variables = join(directory, 'VARS.fd')
  await copyFile(tools.path('usr/share/OVMF/OVMF_VARS_4M.fd'), variables)
  await truncate(variables, 1000)
  const firmware = { kind: 'pflash', code, variables, secure: false } as const
  await t.rejects(launch({ firmware }), { constructor: MaterialError, code: 'truncated' })
  await t.rejects(launch({ qmpSocket: join(directory, 'x'.repeat(100)) }), {
    code: 'socket-path-too-long',
  })
})

guestTest(
  'a vTPM ends with its QEMU, and its death before that is told',
  async (t, { tools, scope, directory, run }) => {
    const state = join(directory, 'state')
    await createVtpmState(tools, state)
    const options = { name: 'swtpm of vm1', stateDirectory: state, socket: join(directory, 'tpm') }
    const description = { tpm: { controlSocket: options.socket, model: 'tpm-crb' } } as const
    const first = await startSwtpm(scope, tools, options)
    const machine = await run('powerOff', { vtpm: first, description })
    t.match(await machine.waitForEnd(SOON), { kind: 'shut-down' })
    t.strictSame(await first.released, { exitCode: 0, signal: undefined })
    const second = await startSwtpm(scope, tools, options)
    const orphan = await run('spin', { vtpm: second, description })
    const swtpm = programIn(second.process.pid) ?? 0
    if (swtpm > 1) process.kill(swtpm, 'SIGKILL')
    const end = await orphan.waitForEnd(SOON)
    t.match(end, { kind: 'vtpm-died', reason: /swtpm of vm1 was ended by SIGKILL/ })
    t.match(orphan.endError(end), { code: 'swtpm-died' })
  },
)

guestTest(
  'QEMU waits for its vTPM, and never runs where that does not start',
  async (t, { tools, scope, directory, describe, run }) => {
    const reason = new Error('planned')
    const vtpm = Promise.reject(reason)
    vtpm.catch(() => {})
    await t.rejects(run('powerOff', { vtpm }), reason)
    // QEMU makes the sockets that it listens on before anything else.
    t.notOk((await readdir(directory)).includes('qmp'))
    const state = join(directory, 'state')
    await createVtpmState(tools, state)
    const controlSocket = join(directory, 'tpm')
    // Not awaited: QEMU would find no socket if it did not wait.
    const late = startSwtpm(scope, tools, { name: 'late', stateDirectory: state, socket: controlSocket })
    const description = describe({ tpm: { controlSocket, model: 'tpm-crb' } })
    const machine = await launchMachine(scope, tools, description, { directory, vtpm: late })
    t.match(await machine.qmp.execute('query-tpm'), [{ model: 'tpm-crb' }])
  },
)

guestTest(
  'a firmware without anything to boot has refused',
  async (t, { tools, scope, directory, describe }) => {
    const variables = join(directory, 'VARS.fd')
    await copyFile(tools.path('usr/share/OVMF/OVMF_VARS_4M.fd'), variables)
    const code = tools.path('usr/share/OVMF/OVMF_CODE_4M.secboot.fd')
    const firmware = { kind: 'pflash', code, variables, secure: true } as const
    const machine = await launchMachine(scope, tools, describe({ firmware, memoryMiB: 256 }), { directory })
    await machine.cont()
    t.match(await machine.waitForEnd({ deadlineMs: 60_000 }), {
      kind: 'firmware-refused',
      reason: /No bootable option/,
    })
  },
)
