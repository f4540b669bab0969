/** One boot of a VM: from power-on or reset until it ends. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GuestError, UsageError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { QEMU_PROGRAM, qemuArguments } from '../machine/argv.ts'
import type { ConsoleMatch, Mark } from '../machine/console/engine.ts'
import { FAILURE_PATTERNS } from '../machine/console/failure-patterns.ts'
import { openTranscript } from '../machine/console/transcript.ts'
import type { GuestEnd } from '../machine/end.ts'
import { forwardedPort } from '../machine/forwarded-port.ts'
import { giveShell } from '../machine/guest/give-shell.ts'
import { login } from '../machine/guest/login.ts'
import { serialFifosCommand } from '../machine/serial-pipe.ts'
import { launchMachine, type Machine } from '../machine/vm.ts'
import { type BootProcess, type BootSpec, commandsOf, record, serveTsm, startVtpm } from './boot-process.ts'
import { LabGuest } from './guest.ts'
import { countInMemory } from './guest-memory.ts'
import type { LabSpec, VmEnd } from './lab-spec.ts'
import { loginOf } from './login-of.ts'
import { requireReset } from './own-ends.ts'
import { NEEDLES, phaseOf } from './phases.ts'
import { PrintedArgv } from './printed-argv.ts'
import { recordQmpEvents } from './qmp-record.ts'
import type { Canary } from './secrets.ts'
import type { BootTimeline } from './timeline.ts'
import { Unlock } from './unlock.ts'
import { unlockSignals } from './unlock-signals.ts'

const MOST_LINES = 2000

/** No scenario has an update that takes more of them before the old slot is back. */
const MOST_RESETS = 3

/** What the userland of an image with A/B slots prints when it has decided about its update. */
const GUEST_READY = /attestbed-guest: \S+ ready/

/** A refusal by the firmware is something to be looked for here; everything else still ends the wait. */
const GUEST_FAILURES = FAILURE_PATTERNS.filter(({ code }) => code !== 'firmware-refused')

/** The VM that boots. */
export interface BootOwner {
  readonly name: string
  readonly spec: LabSpec
  readonly hasRecoveryKey: boolean
  /** Throws UsageError where the VM was made without one. */
  readonly recoveryKey: string
  readonly timeline: BootTimeline
  /** Boots in a new QEMU process. */
  boot(): Promise<Boot>
}

export class Boot {
  readonly #vm: BootOwner
  readonly #process: BootProcess
  readonly #lines: string[] = []
  readonly #sentBefore: number
  /** What came before belongs to an earlier boot in the same QEMU process. */
  readonly #begin: Mark
  readonly #stopListening: () => void
  #guest: LabGuest | undefined
  #awaitedUnlock = false
  #loginFrom: Mark
  #typedAtUnlock = 0
  #typedAtReady = 0
  #reachedKernel = false
  /** Resolves at the first reset after this boot began. */
  readonly #reset: Promise<void>

  private constructor(vm: BootOwner, process: BootProcess) {
    this.#vm = vm
    this.#process = process
    this.#sentBefore = process.machine.console.sentBytes
    this.#begin = process.machine.console.mark()
    this.#loginFrom = this.#begin
    this.#stopListening = process.machine.console.tap({
      needles: NEEDLES,
      onLine: (line) => this.#keep(line),
    })
    this.#reset = new Promise((resolve) => {
      const stop = process.machine.qmp.onEvent(({ name }) => {
        if (name !== 'RESET') return
        stop()
        resolve()
      })
    })
  }

  /** Starts the vTPM and a new QEMU process. */
  static async start(vm: BootOwner, spec: BootSpec): Promise<Boot> {
    const { name } = vm
    const { bench, scope, emit } = vm.spec
    const argv = [bench.tools.qemu?.file ?? QEMU_PROGRAM, ...qemuArguments(spec.description)]
    await writeFile(join(spec.directory, 'qemu.argv.json'), `${JSON.stringify(argv, null, 1)}\n`, {
      mode: 0o600,
    })
    if (bench.printArgv)
      throw new PrintedArgv([serialFifosCommand(spec.description.serialPipe), ...commandsOf(spec, argv)])
    emit({ type: 'phase', vm: name, phase: 'launching' })
    const startedAt = new Date()
    const transcript = await openTranscript(spec.directory)
    // Registered before the machine, so run after it: the transcript is whole then.
    scope.defer('recording', () => record(transcript, { directory: spec.directory, name, startedAt }))
    const starting = startVtpm(vm, spec)
    const machine = await launchMachine(scope, bench.tools, spec.description, {
      directory: spec.directory,
      transcript,
      ...(starting && { vtpm: starting }),
    })
    vm.timeline.watch(machine)
    recordQmpEvents(machine, { vm: name, emit })
    await serveTsm(vm, spec, machine)
    vm.spec.ends.push({ name, ended: machine.ended, machine })
    const boot = new Boot(vm, { machine, vtpm: await starting, spec })
    emit({ type: 'vm-started', vm: name, argv })
    emit({ type: 'phase', vm: name, phase: 'firmware' })
    machine.console.onLine((line) => emit({ type: 'console-line', vm: name, line }))
    machine.ended.then(({ kind, reason, consoleTail }) =>
      emit({ type: 'vm-ended', vm: name, kind, reason, consoleTail }),
    )
    await machine.cont()
    return boot
  }

  /** Bytes that were typed during this boot until its userland was ready, where `settle` followed it. */
  get typedBeforeReady(): number {
    return this.#typedAtReady
  }

  /** Bytes that were typed at the console during this boot before the root opened. */
  get typedBytes(): number {
    return this.#typedAtUnlock
  }

  /** What its console said so far, the lines that tell of progress or of a refusal, oldest first and safe to print. */
  get lines(): readonly string[] {
    return this.#lines
  }

  /** Whether the kernel or anything after it wrote to the console. */
  get reachedKernel(): boolean {
    return this.#reachedKernel
  }

  /** Where the host reaches the guest's service. Throws UsageError `bad-scenario` where the VM was made without one. */
  async service(): Promise<{ readonly host: string; readonly port: number }> {
    const { servicePort } = this.#process.spec.description
    if (servicePort === undefined)
      throw new UsageError(`VM ${this.#vm.name} was made without a servicePort`, { code: 'bad-scenario' })
    return { host: '127.0.0.1', port: await forwardedPort(this.machine.qmp, servicePort) }
  }

  get machine(): Machine {
    return this.#process.machine
  }

  /**
   * Waits until the root is open, or until it is certain that it stays closed. `deadlineMs`: default as long as a boot of the
   * image may take, for a boot that does more than others before.
   */
  async unlock(options: { readonly deadlineMs?: number } = {}): Promise<Unlock> {
    return this.#awaitUnlock({ ...options, since: this.#begin })
  }

  /** Types the recovery key where the initrd asks for it. */
  async typeRecoveryKey(): Promise<Unlock> {
    const since = this.machine.console.mark()
    this.#act('types the recovery key')
    await this.machine.console.sendSecret(`${this.#vm.recoveryKey}\n`)
    return this.#awaitUnlock({ since })
  }

  async #awaitUnlock(options: { readonly since: Mark; readonly deadlineMs?: number }): Promise<Unlock> {
    this.#awaitedUnlock = true
    const { description } = this.#vm.spec.bench.image
    const signals = unlockSignals(description)
    const found = await this.machine.console.expect(
      signals.map(({ signal, match }) => ({ name: signal, match })),
      {
        deadlineMs: description.timeouts.bootSeconds * 1000,
        ...options,
        expectFailures: GUEST_FAILURES,
        signal: this.#vm.spec.signal,
        awaited: 'the root to open',
        timeoutCode: 'boot',
      },
    )
    const signal = signals[found.index]?.signal ?? 'gave-up'
    // A prompt that was taken for the sign of an open root is still to be answered.
    this.#loginFrom = description.origin === 'brought' ? startOf(found) : found.end
    this.#typedAtUnlock = this.machine.console.sentBytes - this.#sentBefore
    return new Unlock(signal, this.#lines, this.#typedAtUnlock)
  }

  /** What the console said so far is dealt with: a refusal on the way here does not end a later wait for a login. */
  disregardSoFar(): void {
    this.#loginFrom = this.machine.console.mark()
  }

  /** Logs in as the image says, and gives the guest's verbs. A root that asks for a key on the way gets it. */
  async login(): Promise<LabGuest> {
    if (!this.#awaitedUnlock && this.#vm.hasRecoveryKey && (await this.unlock()).asksForKey)
      await this.typeRecoveryKey()
    const { image } = this.#vm.spec.bench
    const guest = await login(this.machine.console, await loginOf(image.description), {
      deadlineMs: image.description.timeouts.bootSeconds * 1000,
      since: this.#loginFrom,
    })
    this.#vm.spec.emit({ type: 'phase', vm: this.#vm.name, phase: 'driving' })
    const { emit } = this.#vm.spec
    this.#shellBy((signal) => giveShell(guest, signal))
    const vm = this.#vm.name
    this.#guest = new LabGuest(
      guest,
      image.description,
      (argv) => emit({ type: 'guest-command', vm, argv }),
      (page) => emit({ type: 'evidence', vm, page }),
    )
    return this.#guest
  }

  async #loggedIn(): Promise<LabGuest> {
    return this.#guest ?? this.login()
  }

  /** Reboots by the guest's own command. The next boot is in the same QEMU where it can reset. */
  async reboot(): Promise<Boot> {
    const { description } = this.#vm.spec.bench.image
    const guest = await this.#loggedIn()
    const next = this.afterReset({ deadlineMs: description.timeouts.shutDownSeconds * 1000 })
    await Promise.all([next, guest.leaveBy(description.reboot)])
    return next
  }

  /**
   * The boot that follows the guest's next reset, whatever causes it: in the same QEMU where the platform can reset, in
   * a new one where it cannot. Throws what `nextReset` and `waitForEnd` of the machine throw.
   */
  async afterReset({ deadlineMs }: { readonly deadlineMs: number }): Promise<Boot> {
    if (this.#process.spec.description.onReset === 'reset') {
      await this.machine.nextReset({ deadlineMs })
      return this.#inSameProcess()
    }
    await this.#awaitEnd('reset', deadlineMs)
    return this.#vm.boot()
  }

  /**
   * Follows a guest that decides by itself, over as many resets as it takes, to the boot in which its userland is ready.
   * Throws TimeoutError `boot` when one boot takes longer than `deadlineMs` (default: the image's own deadline), GuestError `reset` when the guest
   * does nothing but reset, and the machine's `endError` where it ended otherwise.
   */
  async settle({ resetsLeft = MOST_RESETS, deadlineMs = this.#bootMs } = {}): Promise<Boot> {
    const over = new AbortController()
    const ready = this.machine.console.expect(GUEST_READY, {
      ...{ since: this.#begin, deadlineMs, expectFailures: [], timeoutCode: 'boot' },
      ...{ awaited: 'the guest to be ready', signal: AbortSignal.any([over.signal, this.#vm.spec.signal]) },
    })
    const resetByItself = this.#resetByItself()
    const settled = ready.then(
      () => this,
      async (error: unknown) => {
        await requireReset(this.machine, error)
        return resetByItself
      },
    )
    const next = await Promise.race([settled, resetByItself]).finally(() => over.abort())
    ready.catch(() => {})
    if (next === this) {
      this.#typedAtReady = this.machine.console.sentBytes - this.#sentBefore
      this.#loginFrom = (await ready).end
      return this
    }
    if (resetsLeft > 0) return next.settle({ resetsLeft: resetsLeft - 1, deadlineMs })
    throw new GuestError(`${this.#vm.name} reset ${MOST_RESETS + 1} times and was never ready`, {
      ...{ code: 'reset', consoleTail: this.machine.console.lastLines().join('\n') },
    })
  }

  get #bootMs(): number {
    return this.#vm.spec.bench.image.description.timeouts.bootSeconds * 1000
  }

  /** Rejects never: where the guest ended otherwise, whoever waits for its console learns it there. */
  async #resetByItself(): Promise<Boot> {
    if (this.#process.spec.description.onReset === 'reset') {
      await this.#reset
      return this.#inSameProcess()
    }
    const { kind } = await this.machine.ended
    if (kind !== 'reset') return new Promise(() => {})
    await this.machine.quit()
    await this.#released()
    return this.#vm.boot()
  }

  /** How somebody who looks at a failure gets a shell; after a reset nobody is logged in. */
  #shellBy(giveShell: VmEnd['giveShell']): void {
    const end = this.#vm.spec.ends.find(({ machine }) => machine === this.machine)
    if (end) end.giveShell = giveShell
  }

  #inSameProcess(): Boot {
    this.#stopListening()
    this.#shellBy(undefined)
    this.#vm.spec.emit({ type: 'phase', vm: this.#vm.name, phase: 'firmware' })
    return new Boot(this.#vm, this.#process)
  }

  /** Powers off by the guest's own command. */
  async powerOff(): Promise<void> {
    const { description } = this.#vm.spec.bench.image
    const guest = await this.#loggedIn()
    this.#vm.spec.emit({ type: 'phase', vm: this.#vm.name, phase: 'stopping' })
    await guest.leaveBy(description.shutDown)
    await this.#awaitEnd('shut-down', description.timeouts.shutDownSeconds * 1000)
  }

  /** Cuts the power: QEMU is gone at once. */
  async cut(): Promise<void> {
    this.#act('cuts the power')
    await this.machine.kill()
    await this.machine.ended
    await this.#released()
  }

  async #awaitEnd(kind: GuestEnd['kind'], deadlineMs: number): Promise<void> {
    const end = await this.machine.waitForEnd({ deadlineMs })
    if (end.kind !== kind)
      throw new GuestError(`${this.#vm.name} ended by ${end.kind} (${end.reason}); ${kind} was asked for`, {
        code: end.kind === 'panic' ? 'panic' : 'protocol',
        consoleTail: end.consoleTail,
      })
    await this.machine.quit()
    await this.#released()
  }

  /** The vTPM's state may be used again. */
  async #released(): Promise<void> {
    await this.#process.vtpm?.released
  }

  /** How often a canary is in the guest's memory as the host sees it. */
  async findInMemory(canary: Canary): Promise<number> {
    return countInMemory(this.machine, this.#process.spec, Buffer.from(canary.text))
  }

  #act(text: string): void {
    this.#vm.spec.emit({ type: 'host-action', vm: this.#vm.name, text })
  }

  #keep(line: string): void {
    if (this.#lines.length < MOST_LINES) this.#lines.push(escapeControls(line))
    const phase = phaseOf(line)
    if (phase === undefined) return
    if (phase !== 'stub') this.#reachedKernel = true
    this.#vm.spec.emit({ type: 'phase', vm: this.#vm.name, phase })
  }
}

function startOf({ match, end }: ConsoleMatch): Mark {
  return end - Buffer.byteLength(typeof match === 'string' ? match : match[0])
}
