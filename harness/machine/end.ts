/** How a guest ended: a pure function of what was observed. end-watch.ts does the observing. */
import type { QmpObject } from './qmp/messages.ts'

export type GuestEndKind =
  | 'shut-down'
  | 'reset'
  | 'panic'
  | 'firmware-refused'
  | 'kvm-internal-error'
  | 'hang'
  /** QEMU paused the guest since the host could not write its disk. */
  | 'io-error'
  | 'vtpm-died'
  | 'qemu-crashed'
  /** By the harness, or by a signal from outside that QEMU obeyed. */
  | 'killed'

export interface GuestEnd {
  readonly kind: GuestEndKind
  /** One sentence, safe to print. */
  readonly reason: string
  /** Milliseconds since the epoch. */
  readonly at: number
  /** The last lines of the console, safe to print. */
  readonly consoleTail: string
}

/** What a console line can say about the end; console-signs.ts recognises them. */
export type ConsoleSign = 'os-started' | 'kernel-panic' | 'load-refused' | 'no-boot-option'

/** One observation; `at` in milliseconds since the epoch, in ascending order. Texts are safe to print. */
export type EndSignal = { readonly at: number } & (
  | { readonly kind: 'qmp-event'; readonly name: string; readonly data: QmpObject }
  | { readonly kind: 'run-state'; readonly status: string }
  | { readonly kind: 'console'; readonly sign: ConsoleSign; readonly line: string }
  | { readonly kind: 'inert'; readonly silentMs: number }
  | { readonly kind: 'stop-requested'; readonly how: 'quit' | 'kill' }
  | { readonly kind: 'vtpm-ended'; readonly words: string }
  | { readonly kind: 'qmp-closed' }
  | {
      readonly kind: 'qemu-exited'
      readonly exitCode: number | undefined
      readonly signal: string | undefined
      /** The last bytes of its stderr. */
      readonly words: string
    }
)

export interface EndPolicy {
  readonly onPanic: 'end' | 'continue'
  readonly now: number
}

export type Verdict = Pick<GuestEnd, 'kind' | 'reason' | 'at'>

/**
 * How long evidence that may yet be explained better waits: a panic on the console for pvpanic's event, a lost
 * vTPM or QMP connection for the end of QEMU that caused it.
 */
export const GRACE_MS = 1000

/** So many resets within so short a time are a loop: no firmware gets anywhere that fast. */
const RESET_LOOP_COUNT = 20
const RESET_LOOP_MS = 5000

/** The end of the guest, if what was observed by `policy.now` says that it has ended. */
export function classifyEnd(signals: readonly EndSignal[], policy: EndPolicy): Verdict | undefined {
  for (const [index, signal] of signals.entries()) {
    const verdict = conclude(signal, signals.slice(0, index), policy)
    if (verdict) return verdict
  }
  return undefined
}

function conclude(signal: EndSignal, before: readonly EndSignal[], policy: EndPolicy): Verdict | undefined {
  const { at } = signal
  const matured = policy.now - at >= GRACE_MS
  // What the harness ends takes its vTPM and its QMP with it, and on a busy host some time until it is gone itself.
  const unasked = !before.some(({ kind }) => kind === 'stop-requested')
  switch (signal.kind) {
    case 'qmp-event':
      return concludeEvent(signal, before, policy)
    case 'run-state':
      return concludeRunState(signal.status, at)
    case 'console':
      return concludeConsole(signal, before, matured && policy.onPanic === 'end')
    case 'inert':
      return { kind: 'hang', reason: hangReason(signal.silentMs), at }
    case 'vtpm-ended':
      return matured && unasked ? { kind: 'vtpm-died', reason: signal.words, at } : undefined
    case 'qmp-closed':
      return matured && unasked
        ? { kind: 'qemu-crashed', reason: 'QEMU closed its QMP connection', at }
        : undefined
    case 'qemu-exited':
      return concludeExit(signal, before)
    case 'stop-requested':
      return concludeStop(before, at)
  }
}

type Of<Kind extends EndSignal['kind']> = Extract<EndSignal, { readonly kind: Kind }>

function concludeEvent(
  event: Of<'qmp-event'>,
  before: readonly EndSignal[],
  policy: EndPolicy,
): Verdict | undefined {
  const { at, data } = event
  switch (event.name) {
    case 'GUEST_PANICKED':
      return policy.onPanic === 'end' ? panic(before, at, data) : undefined
    case 'SHUTDOWN':
      return concludeShutdown(String(data['reason']), before, at, policy)
    case 'RESET':
      return concludeReset(before, at, policy)
    case 'BLOCK_IO_ERROR':
      return data['action'] === 'stop' ? { kind: 'io-error', reason: ioErrorReason(data), at } : undefined
    default:
      return undefined
  }
}

/** `reason` is QEMU's ShutdownCause (qapi/run-state.json). */
function concludeShutdown(
  reason: string,
  before: readonly EndSignal[],
  at: number,
  policy: EndPolicy,
): Verdict {
  switch (reason) {
    case 'guest-shutdown':
      return { kind: 'shut-down', reason: 'the guest powered off', at }
    case 'guest-panic':
      return panic(before, at, {})
    case 'guest-reset':
    case 'subsystem-reset':
      return panicThatReset(before, at, policy) ?? { kind: 'reset', reason: resetReason(before), at }
    case 'host-qmp-system-reset':
      return { kind: 'reset', reason: 'the harness reset the guest', at }
    case 'host-qmp-quit':
    case 'host-ui':
      return { kind: 'killed', reason: 'the harness ended QEMU', at }
    case 'host-signal':
      return { kind: 'killed', reason: killedReason(before, 'a signal from outside ended QEMU'), at }
    default:
      return { kind: 'qemu-crashed', reason: `QEMU gave up: ${reason}`, at }
  }
}

/** A reset is an event, and the guest goes on; but one that does nothing else has ended. */
function concludeReset(before: readonly EndSignal[], at: number, policy: EndPolicy): Verdict | undefined {
  const panicked = panicThatReset(before, at, policy)
  if (panicked) return panicked
  const recent = before.filter((signal) => isEvent(signal, 'RESET') && at - signal.at < RESET_LOOP_MS)
  if (recent.length + 1 < RESET_LOOP_COUNT) return undefined
  return {
    kind: 'reset',
    reason: `the guest resets in a loop: ${recent.length + 1} times within ${RESET_LOOP_MS} ms`,
    at,
  }
}

/** `status` is QEMU's RunState. */
function concludeRunState(status: string, at: number): Verdict | undefined {
  if (status === 'internal-error') {
    return { kind: 'kvm-internal-error', reason: 'KVM could not execute the guest (internal error)', at }
  }
  if (status === 'io-error')
    return { kind: 'io-error', reason: 'the host could not serve a disk of the guest', at }
  return undefined
}

function concludeConsole(
  signal: Of<'console'>,
  before: readonly EndSignal[],
  panicCounts: boolean,
): Verdict | undefined {
  const { sign, line, at } = signal
  if (sign === 'kernel-panic') return panicCounts ? { kind: 'panic', reason: line, at } : undefined
  if (sign !== 'no-boot-option' || osStarted(before)) return undefined
  const refusals = linesOf('load-refused', sinceReset(before))
  const reason = refusals.length > 0 ? refusals.join('; ') : line
  return { kind: 'firmware-refused', reason, at }
}

/** A vTPM that was gone before the harness asked for the end was not ended by it: the guest ran on without. */
function concludeStop(before: readonly EndSignal[], at: number): Verdict | undefined {
  const died = before.find((signal) => signal.kind === 'vtpm-ended')
  return died?.kind === 'vtpm-ended' ? { kind: 'vtpm-died', reason: died.words, at } : undefined
}

function concludeExit(signal: Of<'qemu-exited'>, before: readonly EndSignal[]): Verdict {
  const { at } = signal
  if (before.some(({ kind }) => kind === 'stop-requested'))
    return { kind: 'killed', reason: killedReason(before, ''), at }
  return { kind: 'qemu-crashed', reason: exitReason(signal), at }
}

function exitReason({ exitCode, signal, words }: Of<'qemu-exited'>): string {
  const lastLine = words.trim().split('\n').at(-1) ?? ''
  const said = lastLine === '' ? 'and said nothing' : `and said: ${lastLine}`
  if (signal === 'SIGKILL') return `QEMU was ended by SIGKILL from outside (out of memory?) ${said}`
  if (signal !== undefined) return `QEMU was ended by ${signal} ${said}`
  return `QEMU ended with exit code ${exitCode ?? 'unknown'} ${said}`
}

function panic(before: readonly EndSignal[], at: number, data: QmpObject): Verdict {
  const line = linesOf('kernel-panic', sinceReset(before)).at(-1)
  const info = data['info'] === undefined ? '' : ` (${JSON.stringify(data['info'])})`
  return { kind: 'panic', reason: `${line ?? 'the guest reported a panic'}${info}`, at }
}

/** A kernel with `panic=` resets in place of waiting to be found. */
function panicThatReset(before: readonly EndSignal[], at: number, policy: EndPolicy): Verdict | undefined {
  if (policy.onPanic === 'continue') return undefined
  return linesOf('kernel-panic', sinceReset(before)).length > 0 ? panic(before, at, {}) : undefined
}

function resetReason(before: readonly EndSignal[]): string {
  const panicked = linesOf('kernel-panic', sinceReset(before)).at(-1)
  if (panicked !== undefined) return `the guest reset after ${panicked}`
  const watchdog = sinceReset(before).some((signal) => isEvent(signal, 'WATCHDOG'))
  return watchdog ? 'the watchdog reset the guest' : 'the guest reset'
}

function killedReason(before: readonly EndSignal[], otherwise: string): string {
  const request = before.find((signal) => signal.kind === 'stop-requested')
  if (request?.kind !== 'stop-requested') return otherwise
  return request.how === 'kill' ? 'the harness killed QEMU' : 'the harness ended QEMU'
}

function hangReason(silentMs: number): string {
  return `no byte on the console and no progress of any vCPU for ${Math.round(silentMs / 1000)} s`
}

function ioErrorReason(data: QmpObject): string {
  const node = String(data['node-name'] ?? data['device'] ?? 'a drive')
  return `the host could not ${String(data['operation'])} ${node}: ${String(data['reason'] ?? 'I/O error')}`
}

function isEvent(signal: EndSignal, name: string): boolean {
  return signal.kind === 'qmp-event' && signal.name === name
}

/** What was observed since the guest last started from its firmware. */
function sinceReset(signals: readonly EndSignal[]): readonly EndSignal[] {
  return signals.slice(signals.findLastIndex((signal) => isEvent(signal, 'RESET')) + 1)
}

function linesOf(sign: ConsoleSign, signals: readonly EndSignal[]): string[] {
  return signals.flatMap((signal) => (signal.kind === 'console' && signal.sign === sign ? [signal.line] : []))
}

/** From then on the console is the operating system's, and what looks like the firmware's words is not. */
function osStarted(signals: readonly EndSignal[]): boolean {
  return linesOf('os-started', sinceReset(signals)).length > 0
}
