/** One boot of a VM: from power-on or reset until it ends. */
import { rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GuestError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { QEMU_PROGRAM, qemuArguments } from '../machine/argv.ts'
import { writeAsciicast } from '../machine/console/asciicast.ts'
import type { ConsoleMatch, Mark } from '../machine/console/engine.ts'
import { FAILURE_PATTERNS } from '../machine/console/failure-patterns.ts'
import { openTranscript, type Transcript } from '../machine/console/transcript.ts'
import type { MachineDescription } from '../machine/description.ts'
import type { GuestEnd } from '../machine/end.ts'
import { login } from '../machine/guest/login.ts'
import { launchMachine, type Machine } from '../machine/vm.ts'
import { SWTPM_PROGRAM, type Swtpm, startSwtpm, swtpmArguments } from '../machine/vtpm/swtpm.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { countInFile } from '../system/search.ts'
import { LabGuest } from './guest.ts'
import type { LabSpec } from './lab-spec.ts'
import { loginOf } from './login-of.ts'
import { phaseOf } from './phases.ts'
import { PrintedArgv } from './printed-argv.ts'
import type { Canary } from './secrets.ts'
import { Unlock, type UnlockSignal } from './unlock.ts'

export interface BootSpec {
  /** Private directory of this QEMU process. */
  readonly directory: string
  readonly description: MachineDescription
  readonly vtpm?: { readonly stateDirectory: string; readonly log: string }
}

/** Lines worth keeping: progress, and everything that says why a root stayed closed. */
const NEEDLES = [
  ...['attestbed-initrd:', 'BdsDxe', 'Access Denied', 'Security Violation', 'EFI stub', 'Linux version'],
  ...['Esys_', 'TPM', 'PCR', 'passphrase', 'Cryptography', 'Switching root', 'Welcome to', 'Run /init'],
]
const MOST_LINES = 2000

interface SignalPattern {
  readonly signal: UnlockSignal
  readonly match: RegExp
}

const UNLOCK_SIGNALS: readonly SignalPattern[] = [
  { signal: 'unlocked', match: /attestbed-initrd: \S+ unlocked / },
  { signal: 'asks-for-key', match: /Please enter (the )?(passphrase|recovery key|password)[^:]*:/i },
  { signal: 'gave-up', match: /attestbed-initrd: \S+ failed / },
  { signal: 'nothing-bootable', match: /BdsDxe: No bootable option or device was found/ },
]

/** A refusal by the firmware is something to be looked for here; everything else still ends the wait. */
const GUEST_FAILURES = FAILURE_PATTERNS.filter(({ code }) => code !== 'firmware-refused')

/** The VM that boots. */
export interface BootOwner {
  readonly name: string
  readonly spec: LabSpec
  readonly hasRecoveryKey: boolean
  /** Throws UsageError where the VM was made without one. */
  readonly recoveryKey: string
  /** Boots in a new QEMU process. */
  boot(): Promise<Boot>
}

/** One QEMU process with its vTPM; it serves several boots where the guest resets. */
interface Process {
  readonly machine: Machine
  readonly vtpm: Swtpm | undefined
  readonly spec: BootSpec
}

export class Boot {
  readonly #vm: BootOwner
  readonly #process: Process
  readonly #lines: string[] = []
  readonly #sentBefore: number
  /** What came before belongs to an earlier boot in the same QEMU process. */
  readonly #begin: Mark
  readonly #stopListening: () => void
  #guest: LabGuest | undefined
  #awaitedUnlock = false
  #loginFrom: Mark
  #typedAtUnlock = 0
  #reachedKernel = false

  private constructor(vm: BootOwner, process: Process) {
    this.#vm = vm
    this.#process = process
    this.#sentBefore = process.machine.console.sentBytes
    this.#begin = process.machine.console.mark()
    this.#loginFrom = this.#begin
    this.#stopListening = process.machine.console.tap({
      needles: NEEDLES,
      onLine: (line) => this.#keep(line),
    })
  }

  /** Starts the vTPM and a new QEMU process. */
  static async start(vm: BootOwner, spec: BootSpec): Promise<Boot> {
    const { name } = vm
    const { bench, scope, emit } = vm.spec
    const argv = [QEMU_PROGRAM, ...qemuArguments(spec.description)]
    await writeFile(join(spec.directory, 'qemu.argv.json'), `${JSON.stringify(argv, null, 1)}\n`, {
      mode: 0o600,
    })
    if (bench.printArgv) throw new PrintedArgv(commandsOf(spec, argv))
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
    vm.spec.ends.push({ name, ended: machine.ended })
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

  /** Bytes that were typed at the console during this boot before the root opened. */
  get typedBytes(): number {
    return this.#typedAtUnlock
  }

  /** Whether the kernel or anything after it wrote to the console. */
  get reachedKernel(): boolean {
    return this.#reachedKernel
  }

  get machine(): Machine {
    return this.#process.machine
  }

  /** Waits until the root is open, or until it is certain that it stays closed. */
  async unlock(): Promise<Unlock> {
    return this.#awaitUnlock({ since: this.#begin })
  }

  /** Types the recovery key where the initrd asks for it. */
  async typeRecoveryKey(): Promise<Unlock> {
    const since = this.machine.console.mark()
    await this.machine.console.sendSecret(`${this.#vm.recoveryKey}\n`)
    return this.#awaitUnlock({ since })
  }

  async #awaitUnlock(options: { readonly since: Mark }): Promise<Unlock> {
    this.#awaitedUnlock = true
    const { description } = this.#vm.spec.bench.image
    const signals = description.origin === 'brought' ? broughtSignals(description) : UNLOCK_SIGNALS
    const found = await this.machine.console.expect(
      signals.map(({ signal, match }) => ({ name: signal, match })),
      {
        ...options,
        deadlineMs: description.timeouts.bootSeconds * 1000,
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
    this.#guest = new LabGuest(guest, image.description, (argv) =>
      emit({ type: 'guest-command', vm: this.#vm.name, argv }),
    )
    return this.#guest
  }

  async #loggedIn(): Promise<LabGuest> {
    return this.#guest ?? this.login()
  }

  /** Reboots by the guest's own command. The next boot is in the same QEMU where it can reset. */
  async reboot(): Promise<Boot> {
    const { description } = this.#vm.spec.bench.image
    const { machine } = this
    const deadlineMs = description.timeouts.shutDownSeconds * 1000
    const resets = this.#process.spec.description.onReset === 'reset'
    const guest = await this.#loggedIn()
    const reset = resets ? machine.nextReset({ deadlineMs }) : undefined
    await guest.leaveBy(description.reboot)
    if (reset) {
      await reset
      this.#stopListening()
      this.#vm.spec.emit({ type: 'phase', vm: this.#vm.name, phase: 'firmware' })
      return new Boot(this.#vm, this.#process)
    }
    await this.#awaitEnd('reset', deadlineMs)
    return this.#vm.boot()
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
    await this.machine.kill()
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
    // Named as scratch: where we are killed meanwhile, the next run removes it.
    const file = join(this.#process.spec.directory, 'memory.img')
    const { memoryMiB } = this.#process.spec.description
    try {
      await this.machine.qmp.execute('pmemsave', { val: 0, size: memoryMiB * 1024 * 1024, filename: file })
      return await countInFile(file, Buffer.from(canary.text))
    } finally {
      await rm(file, { force: true })
    }
  }

  #keep(line: string): void {
    if (this.#lines.length < MOST_LINES) this.#lines.push(escapeControls(line))
    const phase = phaseOf(line)
    if (phase === undefined) return
    if (phase !== 'stub') this.#reachedKernel = true
    this.#vm.spec.emit({ type: 'phase', vm: this.#vm.name, phase })
  }
}

/** A brought image has an initrd of its own: that it came as far as a login is the sign of an open root. */
function broughtSignals({ login, unlockPrompt }: ImageDescription): readonly SignalPattern[] {
  const there = login.kind === 'automatic' ? login.shellPrompt : login.loginPrompt
  return [
    { signal: 'unlocked', match: new RegExp(there) },
    ...(unlockPrompt === undefined
      ? []
      : [{ signal: 'asks-for-key' as const, match: new RegExp(unlockPrompt) }]),
    ...UNLOCK_SIGNALS.filter(({ signal }) => signal === 'nothing-bootable'),
  ]
}

/** A guest that made noise is not worth a recording several times as large as the noise. */
const LONGEST_RECORDED = 32 * 1024 * 1024

/** The console as a recording that a terminal player plays. */
async function record(
  { files }: Transcript,
  {
    directory,
    name,
    startedAt,
  }: { readonly directory: string; readonly name: string; readonly startedAt: Date },
): Promise<void> {
  const { size } = await stat(files.raw)
  if (size <= LONGEST_RECORDED)
    await writeAsciicast(files, join(directory, 'console.cast'), { title: name, startedAt })
}

function startOf({ match, end }: ConsoleMatch): Mark {
  return end - Buffer.byteLength(typeof match === 'string' ? match : match[0])
}

function startVtpm({ name, spec: { bench, scope } }: BootOwner, spec: BootSpec): Promise<Swtpm> | undefined {
  const socket = spec.description.tpm?.controlSocket
  if (socket === undefined || spec.vtpm === undefined) return undefined
  // Its place among the teardowns is taken now, before QEMU's: no guest outlives its vTPM.
  const own = scope.child(`swtpm of ${name}`)
  return startSwtpm(own, bench.tools, { name: `swtpm of ${name}`, socket, ...spec.vtpm })
}

/** What a person pastes, in order: swtpm has to be there before QEMU. */
function commandsOf(spec: BootSpec, qemu: readonly string[]): readonly (readonly string[])[] {
  const socket = spec.description.tpm?.controlSocket
  if (socket === undefined || spec.vtpm === undefined) return [qemu]
  return [[SWTPM_PROGRAM, ...swtpmArguments({ name: 'swtpm', socket, ...spec.vtpm })], qemu]
}
