import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import type { GuestEnd } from '../machine/end.ts'
import { BootTimeline, type WatchedMachine } from './timeline.ts'

/** A machine that says what the test says. */
function machine() {
  const { promise: ended, resolve } = Promise.withResolvers<Pick<GuestEnd, 'kind'>>()
  const heard: { line?: (line: string) => void; event?: (event: unknown) => void } = {}
  const tap = ({ needles, onLine }: Parameters<WatchedMachine['console']['tap']>[0]) => {
    heard.line = (line) => {
      if (needles.some((needle) => line.includes(needle))) onLine(line)
    }
    return () => {}
  }
  const onEvent = (listener: (event: unknown) => void) => {
    heard.event = listener
    return () => {}
  }
  const watched = { console: { tap }, qmp: { onEvent }, ended } as unknown as WatchedMachine
  const event = async (name: string, data = {}) => {
    heard.event?.({ name, data })
    await setImmediate()
  }
  const end = async (kind: GuestEnd['kind']) => {
    resolve({ kind })
    await setImmediate()
  }
  const say = (...lines: string[]) => {
    for (const line of lines) heard.line?.(line)
  }
  return { watched, say, event, end }
}

const HASH = 'AB'.repeat(32)
const start = (slot: string, entry: string) => [
  `\x1b[2J\x1b[01;01HBdsDxe: starting ${entry} from HD(1,GPT,...)/\\EFI\\Linux\\${slot}.efi`,
  `attestbed-initrd: 3.10 command-line console=ttyS0 attestbed.slot=${slot} panic=1`,
  `attestbed-initrd: 3.50 pcr-sha256 4=${HASH} 7=${HASH} 11=${HASH} 12=${HASH} 13=${HASH}`,
]

t.test('a boot ends as QEMU says, and where QEMU says no more than "reset", as the guest said', async (t) => {
  const heard: string[] = []
  const timeline = new BootTimeline((_, line) => heard.push(line))
  const { watched, say, event, end } = machine()
  timeline.watch(watched)
  say(...start('b', 'Boot0002 "slot b"'), '[    5.1] Kernel panic - not syncing: sysrq triggered crash')
  await event('GUEST_PANICKED')
  await event('RESET', { guest: true })
  say(...start('b', 'Boot0002 "slot b"'))
  await event('WATCHDOG', { action: 'reset' })
  await event('RESET', { guest: true })
  say(
    ...start('b', 'Boot0002 "slot b"'),
    'No signature for current PCR policy in TPM2 signature JSON, token does not apply to current boot state',
    'attestbed-initrd: 9.30 failed unlock rc=1',
  )
  await event('RESET', { guest: true })
  say(...start('b', 'Boot0002 "slot b"'), 'attestbed-guest: 12.30 unhealthy entry=0002')
  await event('RESET', { guest: true })
  say(...start('a', 'Boot0001 "slot a"'), 'attestbed-initrd: 9.97 unlocked device=/dev/vda3')
  await event('SHUTDOWN', { reason: 'guest-shutdown' })
  await end('shut-down')
  t.match(timeline.boots, [
    { number: 1, slot: 'b', ending: 'panic', unlocked: false, words: /Kernel panic/ },
    { number: 2, slot: 'b', ending: 'watchdog', words: '' },
    { number: 3, slot: 'b', ending: 'gave-up', words: /failed unlock/, why: 'no-pcr-signature' },
    { number: 4, slot: 'b', ending: 'unhealthy' },
    { number: 5, slot: 'a', entry: 'Boot0001 "slot a"', ending: 'power-off', unlocked: true },
  ])
  const hash = HASH.toLowerCase()
  t.strictSame(timeline.boots[0]?.pcrs, { 4: hash, 7: hash, 11: hash, 12: hash, 13: hash })
  t.match(
    heard.at(-1),
    /^boot 5 \(QEMU 1\): Boot0001 "slot a"; slot a, unlocked, power-off; PCRs 4=abababab 7=/,
  )
  t.equal(heard.length, 5, 'each is told once, when it is over')
})

t.test(
  'a guest cannot talk its boot into a panic, a watchdog reset or another slot of an earlier boot',
  async (t) => {
    const timeline = new BootTimeline()
    const { watched, say, event, end } = machine()
    timeline.watch(watched)
    say(...start('b', 'Boot0002 "slot b"'), 'Kernel panic - not syncing: no, not really', 'WATCHDOG')
    await event('RESET', { guest: true })
    say(...start('a', 'Boot0001 "slot a"'))
    t.match(timeline.boots, [
      { slot: 'b', ending: 'reset' },
      { slot: 'a', ending: 'running' },
    ])
    await end('killed')
    t.match(timeline.boots, [
      { slot: 'b', ending: 'reset' },
      { slot: 'a', ending: 'cut' },
    ])
  },
)

t.test('what the firmware refuses belongs to the boot in which it then starts something else', async (t) => {
  const timeline = new BootTimeline()
  const first = machine()
  timeline.watch(first.watched)
  first.say(
    'BdsDxe: failed to load Boot0002 "slot b" from HD(1,GPT,...)/\\EFI\\Linux\\b.efi: Access Denied -- rejected probably by Secure Boot',
    ...start('a', 'Boot0001 "slot a"'),
  )
  await first.end('killed')
  const second = machine()
  timeline.watch(second.watched)
  second.say(
    '../src/boot/boot.c:3021@call_image_start: Error loading EFI binary \\EFI\\Linux\\b+0-1.efi: Access denied',
    'BdsDxe: No bootable option or device was found.',
  )
  await second.end('firmware-refused')
  t.match(timeline.boots, [
    { process: 1, slot: 'a', refused: [{ entry: 'Boot0002 "slot b"', why: 'Access Denied' }], ending: 'cut' },
    {
      ...{ process: 2, slot: 'none', entry: '', ending: 'nothing-bootable' },
      refused: [{ entry: '\\EFI\\Linux\\b+0-1.efi', why: 'Access denied' }],
    },
  ])
})
