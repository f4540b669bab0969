/** A virtual machine and what can be done to it. */
import { type AttestbedError, TimeoutError } from '../base/errors.ts'
import type { ProcessEnd, SupervisedProcess } from '../system/process.ts'
import type { Scope } from '../system/scope.ts'
import type { Tools } from '../system/tools.ts'
import { type Activity, describeActivity } from './activity.ts'
import type { Console } from './console/engine.ts'
import type { MachineDescription } from './description.ts'
import type { GuestEnd } from './end.ts'
import { endError } from './end-error.ts'
import { EndWatch, type WatchedGuest, type WatchOptions } from './end-watch.ts'
import { type Qemu, type StartOptions, startQemu } from './qemu.ts'
import type { QmpClient } from './qmp/client.ts'
import type { Swtpm } from './vtpm/swtpm.ts'

/** Milliseconds since the epoch. */
export interface LaunchTimes {
  readonly spawnedAt: number
  /** QMP and console were connected, and not one instruction of the guest had run. */
  readonly connectedAt: number
  /** The first instruction; undefined while the guest waits for `cont`. */
  readonly startedAt: number | undefined
}

export interface LaunchOptions extends StartOptions {
  /** The swtpm behind `description.tpm`, which QEMU waits for: its death is then told from QEMU's. */
  readonly vtpm?: Swtpm | Promise<Swtpm>
  /** Silence on the console, with no progress of any vCPU, that is a hang; milliseconds, default 30 000. */
  readonly hangAfterMs?: number
}

const DEFAULT_HANG_MS = 30_000

/**
 * Starts QEMU, connects its QMP and its console, and leaves the guest before its first instruction: listen to what
 * is to be heard, then `cont()`. QEMU ends when the scope closes. Throws as `startQemu` does.
 */
export async function launchMachine(
  scope: Scope,
  tools: Tools,
  description: MachineDescription,
  options: LaunchOptions,
): Promise<Machine> {
  const own = scope.child(description.name)
  try {
    const after = Promise.resolve(options.vtpm)
    // Both are waited for, so that nothing starts after the scope is closed. The vTPM's reason comes first where it
    // does not start: QEMU, which never ran, has none.
    const starting = startQemu(own, tools, description, { ...options, after })
    const [vtpm] = await Promise.allSettled([after, starting])
    if (vtpm.status === 'rejected') throw vtpm.reason
    const qemu = await starting
    const machine = new Machine(
      description.name,
      { ...qemu, vtpm: vtpm.value },
      {
        onPanic: description.onPanic ?? 'end',
        hangAfterMs: options.hangAfterMs ?? DEFAULT_HANG_MS,
      },
    )
    own.defer('QEMU by QMP', async () => void (await machine.quit()))
    return machine
  } catch (error) {
    await own.close()
    throw error
  }
}

/** How long QEMU may take for each way of ending it before the next is tried. */
const QUIT_MS = 3000

export class Machine {
  readonly name: string
  readonly qmp: QmpClient
  readonly console: Console
  readonly process: SupervisedProcess
  /** How the guest ended; never rejects. QEMU may still be there, paused, so that it can be examined. */
  readonly ended: Promise<GuestEnd>
  readonly #watch: EndWatch
  readonly #spawnedAt: number
  readonly #connectedAt = Date.now()
  #startedAt: number | undefined
  #end: GuestEnd | undefined

  /** Use `launchMachine`. */
  constructor(name: string, guest: Qemu & WatchedGuest, options: WatchOptions) {
    this.name = name
    this.qmp = guest.qmp
    this.console = guest.console
    this.process = guest.process
    this.#spawnedAt = guest.spawnedAt
    this.#watch = new EndWatch(guest, options)
    this.ended = this.#watch.ended
    this.ended.then((end) => {
      this.#end = end
      this.console.failWaits(this.endError(end))
    })
  }

  get times(): LaunchTimes {
    return { spawnedAt: this.#spawnedAt, connectedAt: this.#connectedAt, startedAt: this.#startedAt }
  }

  /** Undefined while the guest lives. */
  get end(): GuestEnd | undefined {
    return this.#end
  }

  get activity(): Activity {
    return this.#watch.activity
  }

  /** For the message of a timeout: `console silent for 31 s, a vCPU spins (99 % busy)`. */
  describeActivity(): string {
    return describeActivity(this.activity)
  }

  /** The error for whoever needed the guest and finds it ended. */
  endError(end: GuestEnd): AttestbedError {
    return endError(this.name, end, this.process.errorTail())
  }

  /** Starts the guest, or lets it go on after a pause. */
  async cont(): Promise<void> {
    await this.qmp.execute('cont')
    this.#startedAt ??= Date.now()
  }

  async pause(): Promise<void> {
    await this.qmp.execute('stop')
  }

  /** The reset button. With `onReset: 'exit'` it ends QEMU, as a reset of the guest's own does. */
  async reset(): Promise<void> {
    await this.qmp.execute('system_reset')
  }

  /** The power button (ACPI): what comes of it is the guest's decision. Await `ended`, with a deadline. */
  async powerDown(): Promise<void> {
    await this.qmp.execute('system_powerdown')
  }

  /** Resolves at the guest's next reset from now on. Rejects with `endError`, or TimeoutError `shutdown`. */
  async nextReset({ deadlineMs }: { readonly deadlineMs: number }): Promise<void> {
    const reset = this.qmp.waitForEvent(['RESET'], { timeoutMs: deadlineMs }).then(
      () => undefined,
      (error: unknown) => {
        if (error instanceof TimeoutError) throw this.#late('reset', deadlineMs)
        return this.ended
      },
    )
    const end = await Promise.race([reset, this.ended])
    if (end) throw this.endError(end)
  }

  /** How the guest ended. Throws TimeoutError `shutdown`, which says what the guest does instead. */
  async waitForEnd({ deadlineMs }: { readonly deadlineMs: number }): Promise<GuestEnd> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(this.#late('end', deadlineMs)), deadlineMs)
    try {
      return await Promise.race([this.ended, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  /**
   * Ends QEMU, disks flushed: QMP `quit`, SIGTERM, SIGKILL. Resolves when it is gone and everybody knows (`ended`); may be
   * called at any time.
   */
  async quit(): Promise<ProcessEnd> {
    if (this.process.running) await this.#askToQuit()
    const exit = await this.process.exited
    await this.ended
    return exit
  }

  async #askToQuit(): Promise<void> {
    this.#watch.stopRequested('quit')
    await this.qmp.execute('quit', undefined, { timeoutMs: QUIT_MS }).catch(() => {})
    const late = setTimeout(() => void this.process.stop({ graceMs: QUIT_MS }), QUIT_MS)
    await this.process.exited.finally(() => clearTimeout(late))
  }

  /** Pulls the plug: what the guest did not flush is lost, as on a power failure. Resolves when QEMU is gone. */
  kill(): Promise<ProcessEnd> {
    this.#watch.stopRequested('kill')
    return this.process.stop({ graceMs: 0 })
  }

  #late(what: 'end' | 'reset', deadlineMs: number): TimeoutError {
    const tail = this.console.lastLines().join('\n')
    const message = `${this.name} did not ${what} within ${deadlineMs / 1000} s: ${this.describeActivity()}`
    return new TimeoutError(`${message}\n${tail}`, { code: 'shutdown', consoleTail: tail })
  }
}
