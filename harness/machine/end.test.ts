import t from 'tap'
import { ActivityMeter, describeActivity } from './activity.ts'
import { consoleSign, SIGN_NEEDLES } from './console-signs.ts'
import { classifyEnd, type EndSignal, GRACE_MS, type GuestEndKind } from './end.ts'

const NOW = 1_000_000
const LATER = NOW + GRACE_MS

type Body = EndSignal extends infer Signal ? (Signal extends unknown ? Omit<Signal, 'at'> : never) : never

const qmp = (name: string, data = {}): Body => ({ kind: 'qmp-event', name, data })
const shutdown = (reason: string, guest = true) => qmp('SHUTDOWN', { guest, reason })
const panicLine: Body = { kind: 'console', sign: 'kernel-panic', line: 'Kernel panic - not syncing: no init' }
const refusal: Body = {
  kind: 'console',
  sign: 'load-refused',
  line: 'BdsDxe: failed to load Boot0001: Access Denied',
}
const nothingToBoot: Body = { kind: 'console', sign: 'no-boot-option', line: 'BdsDxe: No bootable option' }
const osStarted: Body = { kind: 'console', sign: 'os-started', line: 'EFI stub: hello' }
const exited = (end: { exitCode?: number; signal?: string; words?: string }): Body => ({
  ...{ kind: 'qemu-exited', exitCode: end.exitCode, signal: end.signal, words: end.words ?? '' },
})
const reset = qmp('RESET', { guest: true, reason: 'guest-reset' })

interface Case {
  readonly title: string
  readonly signals: readonly Body[]
  readonly end: GuestEndKind | undefined
  readonly reason?: RegExp
  readonly onPanic?: 'end' | 'continue'
  /** Default: long after the last signal. */
  readonly now?: number
}

const CASES: readonly Case[] = [
  // The signals as QEMU 11.1 was seen to send them.
  {
    title: 'ACPI power-off',
    signals: [qmp('RESUME'), shutdown('guest-shutdown'), exited({ exitCode: 0 })],
    end: 'shut-down',
  },
  {
    title: 'reset with onReset exit',
    signals: [qmp('RESUME'), shutdown('guest-reset'), exited({ exitCode: 0 })],
    end: 'reset',
  },
  {
    title: 'pvpanic',
    signals: [qmp('GUEST_PANICKED', { action: 'pause' }), qmp('STOP')],
    end: 'panic',
    reason: /reported a panic/,
  },
  {
    title: 'KVM internal error',
    signals: [qmp('RESUME'), qmp('STOP'), { kind: 'run-state', status: 'internal-error' }],
    end: 'kvm-internal-error',
  },
  {
    title: 'quit by the harness',
    signals: [{ kind: 'stop-requested', how: 'quit' }, shutdown('host-qmp-quit', false)],
    end: 'killed',
    reason: /harness ended/,
  },
  {
    title: 'kill by the harness',
    signals: [{ kind: 'stop-requested', how: 'kill' }, exited({ signal: 'SIGKILL' })],
    end: 'killed',
    reason: /harness killed/,
  },
  {
    title: 'SIGTERM from outside',
    signals: [shutdown('host-signal', false), exited({ exitCode: 0 })],
    end: 'killed',
    reason: /from outside/,
  },
  {
    title: 'crash of QEMU',
    signals: [exited({ signal: 'SIGSEGV', words: 'a\nlast words\n' })],
    end: 'qemu-crashed',
    reason: /SIGSEGV and said: last words/,
  },
  {
    title: 'QEMU killed by others',
    signals: [exited({ signal: 'SIGKILL' })],
    end: 'qemu-crashed',
    reason: /out of memory\?\) and said nothing/,
  },
  {
    title: 'QEMU exits without a word',
    signals: [exited({ exitCode: 1 })],
    end: 'qemu-crashed',
    reason: /exit code 1/,
  },
  {
    title: 'QEMU gives up',
    signals: [shutdown('host-error', false)],
    end: 'qemu-crashed',
    reason: /host-error/,
  },
  { title: 'hang', signals: [{ kind: 'inert', silentMs: 30_400 }], end: 'hang', reason: /30 s/ },
  {
    title: 'full disk',
    signals: [
      qmp('BLOCK_IO_ERROR', {
        action: 'stop',
        'node-name': 'disk-node',
        operation: 'write',
        reason: 'No space left on device',
      }),
    ],
    end: 'io-error',
    reason: /write disk-node: No space/,
  },

  {
    title: 'an I/O error that the guest is told of',
    signals: [qmp('BLOCK_IO_ERROR', { action: 'report' })],
    end: undefined,
  },
  {
    title: 'a pause by the harness',
    signals: [qmp('STOP'), { kind: 'run-state', status: 'paused' }, qmp('RESUME')],
    end: undefined,
  },
  { title: 'resets of a guest that goes on', signals: [reset, reset, reset], end: undefined },
  { title: 'a loop of resets', signals: Array(20).fill(reset), end: 'reset', reason: /loop: 20 times/ },
  {
    title: 'events that say nothing',
    signals: [qmp('RTC_CHANGE'), qmp('NIC_RX_FILTER_CHANGED')],
    end: undefined,
  },
  {
    title: 'the watchdog',
    signals: [qmp('WATCHDOG', { action: 'reset' }), shutdown('guest-reset')],
    end: 'reset',
    reason: /watchdog/,
  },
  {
    title: 'system_reset with onReset exit',
    signals: [shutdown('host-qmp-system-reset', false)],
    end: 'reset',
    reason: /harness reset/,
  },
  {
    title: 'a power-off beats the quit that follows',
    signals: [shutdown('guest-shutdown'), { kind: 'stop-requested', how: 'quit' }],
    end: 'shut-down',
  },

  {
    title: 'a TDX guest says why it panicked',
    signals: [
      qmp('GUEST_PANICKED', { action: 'pause', info: { type: 'tdx', message: 'TD misconfiguration' } }),
    ],
    end: 'panic',
    reason: /TD misconfiguration/,
  },
  { title: 'panic by SHUTDOWN', signals: [shutdown('guest-panic')], end: 'panic' },
  {
    title: 'pvpanic with a line on the console',
    signals: [panicLine, qmp('GUEST_PANICKED')],
    end: 'panic',
    reason: /no init/,
  },
  {
    title: 'a panic on the console alone, at once',
    signals: [panicLine],
    end: undefined,
    now: NOW + GRACE_MS - 1,
  },
  {
    title: 'a panic on the console alone, after the grace',
    signals: [panicLine],
    end: 'panic',
    reason: /no init/,
  },
  {
    title: 'a panic that resets the guest',
    signals: [panicLine, reset],
    end: 'panic',
    reason: /no init/,
    now: NOW,
  },
  { title: 'a panic that ends QEMU', signals: [panicLine, shutdown('guest-reset')], end: 'panic', now: NOW },
  {
    title: 'a panic of an earlier boot',
    signals: [panicLine, reset, shutdown('guest-shutdown')],
    end: 'shut-down',
    onPanic: 'continue',
  },
  {
    title: 'a panic that may continue: pvpanic',
    signals: [qmp('GUEST_PANICKED', { action: 'run' })],
    end: undefined,
    onPanic: 'continue',
  },
  {
    title: 'a panic that may continue: the console',
    signals: [panicLine],
    end: undefined,
    onPanic: 'continue',
  },
  {
    title: 'a panic that may continue: the reset ends QEMU',
    signals: [panicLine, shutdown('guest-reset')],
    end: 'reset',
    reason: /after Kernel panic/,
    onPanic: 'continue',
  },

  { title: 'a refused image with another that boots', signals: [refusal, osStarted], end: undefined },
  {
    title: 'the firmware refuses all',
    signals: [refusal, nothingToBoot],
    end: 'firmware-refused',
    reason: /Access Denied/,
  },
  {
    title: 'nothing to boot',
    signals: [nothingToBoot],
    end: 'firmware-refused',
    reason: /No bootable option/,
  },
  {
    title: 'a booted guest that prints the words of the firmware',
    signals: [osStarted, refusal, nothingToBoot],
    end: undefined,
  },
  {
    title: 'a guest that booted, reset, and is refused',
    signals: [osStarted, reset, nothingToBoot],
    end: 'firmware-refused',
  },
  {
    title: 'a refusal before the reset is not the reason after it',
    signals: [refusal, reset, nothingToBoot],
    end: 'firmware-refused',
    reason: /^BdsDxe: No bootable/,
  },

  {
    title: 'the vTPM ends with QEMU',
    signals: [{ kind: 'vtpm-ended', words: 'swtpm ended' }, exited({ signal: 'SIGSEGV' })],
    end: 'qemu-crashed',
    now: NOW,
  },
  {
    title: 'the vTPM ends before QEMU',
    signals: [{ kind: 'vtpm-ended', words: 'swtpm was ended by SIGKILL' }],
    end: 'vtpm-died',
    reason: /SIGKILL/,
  },
  {
    title: 'the vTPM has just ended',
    signals: [{ kind: 'vtpm-ended', words: 'swtpm ended' }],
    end: undefined,
    now: NOW,
  },
  {
    title: 'the vTPM ends, and the harness kills QEMU before anybody has noticed',
    signals: [
      { kind: 'vtpm-ended', words: 'swtpm was ended by SIGKILL' },
      { kind: 'stop-requested', how: 'kill' },
      exited({ signal: 'SIGKILL' }),
    ],
    end: 'vtpm-died',
    now: NOW,
  },
  {
    title: 'the vTPM ends with a QEMU that the harness ends',
    signals: [
      { kind: 'stop-requested', how: 'quit' },
      { kind: 'vtpm-ended', words: 'swtpm ended' },
      exited({ exitCode: 0 }),
    ],
    end: 'killed',
  },
  {
    title: 'QMP closes with QEMU',
    signals: [{ kind: 'qmp-closed' }, shutdown('guest-shutdown')],
    end: 'shut-down',
    now: NOW,
  },
  {
    title: 'QMP closes and QEMU goes on',
    signals: [{ kind: 'qmp-closed' }],
    end: 'qemu-crashed',
    reason: /QMP/,
  },
]

t.test('every end is told apart', async (t) => {
  for (const { title, signals, end, reason, onPanic = 'end', now = LATER } of CASES) {
    const stamped = signals.map((body) => ({ ...body, at: NOW }) as EndSignal)
    const verdict = classifyEnd(stamped, { onPanic, now })
    t.equal(verdict?.kind, end, title)
    if (reason) t.match(verdict?.reason, reason, `${title}: the reason`)
    if (verdict) t.equal(verdict.at, NOW, `${title}: the time is that of the observation`)
  }
})

t.test('no reason of a shutdown is left without a kind', async (t) => {
  // ShutdownCause of QEMU's qapi/run-state.json.
  const causes = ['none', 'host-error', 'host-qmp-quit', 'host-qmp-system-reset', 'host-signal', 'host-ui']
  const more = [
    'guest-shutdown',
    'guest-reset',
    'guest-panic',
    'subsystem-reset',
    'snapshot-load',
    'from-the-future',
  ]
  for (const cause of [...causes, ...more]) {
    const signal = { ...shutdown(cause), at: NOW } as EndSignal
    t.ok(classifyEnd([signal], { onPanic: 'continue', now: NOW }), cause)
  }
})

t.test('resets that are far apart are no loop', async (t) => {
  const signals = Array.from(
    { length: 100 },
    (_, index) => ({ ...reset, at: NOW + index * 300 }) as EndSignal,
  )
  t.equal(classifyEnd(signals, { onPanic: 'end', now: NOW + 100_000 }), undefined)
})

t.test('signs on the console', async (t) => {
  const signs: Record<string, readonly string[]> = {
    'kernel-panic': [
      'Kernel panic - not syncing: VFS: Unable to mount root fs',
      '[    5.245383] Kernel panic - not syncing: No working init found.',
      '[    5.245383][    T1] Kernel panic - not syncing: x',
    ],
    'no-boot-option': ['\x1b[2J\x1b[001;001HBdsDxe: No bootable option or device was found.'],
    'load-refused': [
      'BdsDxe: failed to load Boot0002 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0): Access Denied',
      'BdsDxe: failed to load Boot0002 "x" from y: Security Violation',
    ],
    'os-started': [
      'EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path',
      '[    0.000000] Linux version 6.12',
    ],
  }
  for (const [sign, lines] of Object.entries(signs))
    for (const line of lines) {
      t.equal(consoleSign(line), sign, line)
      t.ok(
        SIGN_NEEDLES.some((needle) => line.includes(needle)),
        `${line}: is let through to be looked at`,
      )
    }
  for (const line of [
    'BdsDxe: failed to load Boot0001 "x" from y: Not Found',
    'echo "Kernel panic - not syncing"',
    '',
  ])
    t.equal(consoleSign(line), undefined, line)
})

t.test('the meter tells an inert vCPU from an idle one and from one that spins', async (t) => {
  const meter = (perSecond: number, seconds = 40) => {
    const made = new ActivityMeter(30_000)
    for (let second = 0; second <= seconds; second += 5)
      made.add(second * 1000, [0, 100 + second * perSecond])
    return made
  }
  t.ok(meter(0).inert, 'a halted vCPU uses nothing')
  t.notOk(meter(0, 25).inert, 'but a whole window has to pass')
  t.notOk(meter(5).inert, 'an idle Linux under TCG: 5 ms a second')
  t.notOk(meter(0.05).inert, 'an idle guest whose wake-ups are a hundred times cheaper')
  t.equal(meter(980).load, 0.98, 'a panicked Linux waiting for its reset')
  const late = meter(5)
  for (let second = 45; second <= 80; second += 5) late.add(second * 1000, [0, 300])
  t.ok(late.inert, 'what was before the window does not count')
  late.restart()
  t.notOk(late.inert, 'nor what was before a pause')
  t.equal(late.load, undefined)
})

t.test('the activity in words', async (t) => {
  t.equal(
    describeActivity({ silentMs: 31_000, load: 0.99 }),
    'console silent for 31 s, a vCPU spins (99 % busy)',
  )
  t.equal(describeActivity({ silentMs: 2000, load: 0.1 }), 'console silent for 2 s, vCPUs 10 % busy')
  t.equal(describeActivity({ silentMs: 2000, load: 0 }), 'console silent for 2 s, vCPUs make no progress')
  t.equal(describeActivity({ silentMs: 2000, load: undefined }), 'console silent for 2 s')
})
