/** Observes a running guest and says once how it ended. What the observations mean is end.ts's. */
import { escapeControls } from '../base/text.ts'
import type { ProcessEnd, SupervisedProcess } from '../system/process.ts'
import { type Activity, ActivityMeter, hostThreads, threadTimes } from './activity.ts'
import type { Console } from './console/engine.ts'
import { consoleSign, SIGN_NEEDLES } from './console-signs.ts'
import { classifyEnd, type EndPolicy, type EndSignal, GRACE_MS, type GuestEnd, type Verdict } from './end.ts'
import type { QmpClient } from './qmp/client.ts'
import type { QmpEvent } from './qmp/events.ts'
import { isObject } from './qmp/messages.ts'
import { describeEnd, type Swtpm } from './vtpm/swtpm.ts'

export interface WatchedGuest {
  readonly qmp: QmpClient
  readonly console: Console
  readonly process: SupervisedProcess
  /** Host pid of QEMU itself and the ids of its vCPU threads inside the sandbox. */
  readonly vcpus: { readonly pid: number; readonly threadIds: readonly number[] }
  readonly vtpm: Swtpm | undefined
}

export interface WatchOptions {
  readonly onPanic: EndPolicy['onPanic']
  /** Silence on the console, with no progress of any vCPU, that is a hang; milliseconds. */
  readonly hangAfterMs: number
}

/** `Omit` for each member of a union. */
type Unstamped<Signal> = Signal extends unknown ? Omit<Signal, 'at'> : never

const LONGEST_SAMPLE_INTERVAL_MS = 5000
const SAMPLES_PER_WINDOW = 8
/** A guest can make as many signals as it likes; so many are remembered. */
const KEPT_SIGNALS = 200
const TAIL_LINES = 20
const LINE_BYTES = 400
/** How long the last bytes of a QEMU that has ended, or is about to, are waited for. */
const DRAIN_MS = 2000
const EXIT_MS = 10_000

export class EndWatch {
  readonly ended: Promise<GuestEnd>
  readonly #guest: WatchedGuest
  readonly #options: WatchOptions
  readonly #meter: ActivityMeter
  readonly #sampler: NodeJS.Timeout
  readonly #unwatch: (() => void)[]
  #resolve: (end: GuestEnd) => void = () => {}
  #signals: EndSignal[] = []
  /** What the console said before the end and was read after it. */
  #late: EndSignal[] = []
  #verdict: Verdict | undefined
  #threads: Promise<number[]> | undefined
  /** A guest that is paused, or not started yet, is neither silent nor inert. */
  #running = false

  constructor(guest: WatchedGuest, options: WatchOptions) {
    this.#guest = guest
    this.#options = options
    this.#meter = new ActivityMeter(options.hangAfterMs)
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve
    })
    const interval = Math.min(LONGEST_SAMPLE_INTERVAL_MS, options.hangAfterMs / SAMPLES_PER_WINDOW)
    this.#sampler = setInterval(() => void this.#sample(), interval).unref()
    this.#unwatch = [guest.qmp.onEvent((event) => this.#onEvent(event)), this.#watchConsole()]
    guest.qmp.closed.then(() => this.#observe({ kind: 'qmp-closed' }))
    guest.vtpm?.released.then((end) => this.#onVtpmEnd(guest.vtpm, end))
    guest.process.exited.then((end) => this.#onExit(end))
  }

  /** Tells an end that the harness brings about from one that befalls the guest. */
  stopRequested(how: 'quit' | 'kill'): void {
    this.#observe({ kind: 'stop-requested', how })
  }

  get activity(): Activity {
    return { silentMs: this.#guest.console.quietMs, load: this.#meter.load }
  }

  #observe(signal: Unstamped<EndSignal>): void {
    const stamped = { ...signal, at: Date.now() } as EndSignal
    if (this.#verdict) {
      if (signal.kind === 'console') this.#late.push(stamped)
      return
    }
    this.#signals.push(stamped)
    if (this.#signals.length > KEPT_SIGNALS) this.#forgetSome()
    this.#conclude()
    if (this.#verdict) return
    // After the timer, what has arrived meanwhile is read first: the loop may have been busy for longer than the grace.
    setTimeout(() => setImmediate(() => this.#conclude()), GRACE_MS + 1).unref()
  }

  #forgetSome(): void {
    const recent = this.#signals.slice(-KEPT_SIGNALS / 2)
    const requests = this.#signals.filter(
      (signal) => signal.kind === 'stop-requested' && !recent.includes(signal),
    )
    this.#signals = [...requests, ...recent]
  }

  #conclude(): void {
    if (this.#verdict) return
    this.#verdict = this.#classify(this.#signals)
    if (!this.#verdict) return
    clearInterval(this.#sampler)
    void this.#settle(this.#verdict)
  }

  #classify(signals: readonly EndSignal[]): Verdict | undefined {
    return classifyEnd(signals, { onPanic: this.#options.onPanic, now: Date.now() })
  }

  /** The end is announced when the console has said its last: QMP and console are two channels. */
  async #settle(verdict: Verdict): Promise<void> {
    const { console, process, qmp } = this.#guest
    // QEMU is about to exit, and only then are disk and vTPM state free.
    if (this.#signals.some(announcesExit)) await within(process.exited, EXIT_MS)
    if (process.running) await qmp.execute('query-status', undefined, { timeoutMs: DRAIN_MS }).catch(() => {})
    else await within(console.closed, DRAIN_MS)
    for (const unwatch of this.#unwatch) unwatch()
    this.#resolve({ ...this.#hindsight(verdict), consoleTail: console.lastLines(TAIL_LINES).join('\n') })
  }

  /** The same end with the better reason that the console gave meanwhile. */
  #hindsight(verdict: Verdict): Verdict {
    const better = this.#classify([...this.#signals.slice(0, -1), ...this.#late, ...this.#signals.slice(-1)])
    return better?.kind === verdict.kind ? { ...verdict, reason: better.reason } : verdict
  }

  #onEvent({ name, data }: QmpEvent): void {
    if (name === 'STOP' || name === 'RESUME') {
      this.#running = name === 'RESUME'
      this.#meter.restart()
    }
    this.#observe({ kind: 'qmp-event', name, data })
    if (name === 'STOP') void this.#askRunState()
  }

  /** STOP does not say why: a pause by the harness, a disk that is full, a KVM that failed. */
  async #askRunState(): Promise<void> {
    const state = await this.#guest.qmp.execute('query-status').catch(() => undefined)
    if (isObject(state)) this.#observe({ kind: 'run-state', status: String(state['status']) })
  }

  #watchConsole(): () => void {
    const onLine = (latin1: string) => {
      const sign = consoleSign(latin1)
      if (!sign) return
      const line = escapeControls(Buffer.from(latin1.trim().slice(0, LINE_BYTES), 'latin1'))
      this.#observe({ kind: 'console', sign, line })
    }
    return this.#guest.console.tap({ needles: SIGN_NEEDLES, onLine })
  }

  #onVtpmEnd(vtpm: Swtpm | undefined, end: ProcessEnd): void {
    const said = vtpm?.process.errorTail().trim().split('\n').at(-1) ?? ''
    const words = `${vtpm?.name} ${describeEnd(end)}${said === '' ? '' : `: ${said}`}`
    this.#observe({ kind: 'vtpm-ended', words })
  }

  async #onExit(end: ProcessEnd): Promise<void> {
    // What QEMU said on QMP before it exited explains the exit: it is read first.
    await within(this.#guest.qmp.closed, DRAIN_MS)
    this.#observe({ kind: 'qemu-exited', ...end, words: this.#guest.process.errorTail() })
  }

  async #sample(): Promise<void> {
    if (!this.#running) return
    const { vcpus, console } = this.#guest
    try {
      this.#threads ??= hostThreads(vcpus.pid, vcpus.threadIds)
      this.#meter.add(performance.now(), await threadTimes(vcpus.pid, await this.#threads))
    } catch {
      // QEMU is gone: its exit is observed elsewhere.
      return
    }
    if (this.#meter.inert && console.quietMs >= this.#options.hangAfterMs)
      this.#observe({ kind: 'inert', silentMs: console.quietMs })
  }
}

function announcesExit(signal: EndSignal): boolean {
  return signal.kind === 'stop-requested' || (signal.kind === 'qmp-event' && signal.name === 'SHUTDOWN')
}

async function within(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  const timeout = Promise.withResolvers<void>()
  const timer = setTimeout(timeout.resolve, milliseconds)
  await Promise.race([promise, timeout.promise])
  clearTimeout(timer)
}
