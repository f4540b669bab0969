/**
 * What a guest that has been taken over can try: it extends registers further, and writes the log that it likes, as long
 * as that replays to them. Events get other types, move into systemd's log, or are left out with their register.
 */
import t, { type Test } from 'tap'
import { digest, sha256Hex } from '../../base/digest.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { replayEventLog } from '../../formats/event-log/replay.ts'
import { utf16z, variableEvent } from '../../formats/event-log/testing/efi-event-data.ts'
import { type SyntheticEvent, syntheticLog } from '../../formats/event-log/testing/synthetic-log.ts'
import type { FindingCode } from '../finding.ts'
import type { ResolvedEventLogPolicy } from '../policy/resolve.ts'
import { type LogCase, logRequest, tdxRequest } from '../testing/emulated-requests.ts'
import { systemdRecord, ukiBoot } from '../testing/measured-boot.ts'
import { UP_TO_DATE_SVN } from '../testing/tdx-quote.ts'
import { verifyEvidence } from '../verify-evidence.ts'

const DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
const OWNERS = Buffer.from('3003020101', 'hex')
const STRANGERS = Buffer.from('3003020102', 'hex')
const UNKNOWN_TYPE = 0x9999

interface Lie {
  readonly events?: readonly SyntheticEvent[]
  readonly systemd?: Buffer
}

/** The registers are those of `truth`; the log is `lie`. It must be authentic, since it replays, and say no more. */
async function refusesLie(
  t: Test,
  { truth, lie, section }: { truth: LogCase; lie: Lie; section: ResolvedEventLogPolicy },
  code: FindingCode,
): Promise<void> {
  const honest = logRequest({ ...truth, policy: { eventLog: section } })
  const evidence = syntheticLog(lie.events ?? truth.events)
  const verdict = await verifyEvidence({ ...honest, evidence, userspaceLog: lie.systemd })
  t.match(verdict, { authentic: true, acceptable: false }, JSON.stringify(verdict.findings))
  t.ok(
    verdict.findings.some((each) => each.code === code),
    code,
  )
}

function authority(certificate: Buffer): SyntheticEvent {
  const entry = Buffer.concat([Buffer.alloc(16), certificate])
  return { register: 7, type: EV.EFI_VARIABLE_AUTHORITY, data: variableEvent(DATABASE, 'db', entry) }
}

const isAuthority = ({ type }: SyntheticEvent) => type === EV.EFI_VARIABLE_AUTHORITY
const boot = ukiBoot('pcr').map((event) => (isAuthority(event) ? authority(OWNERS) : event))
/** A stranger's image ran; then the guest extended PCR 7 as if the owner had signed one. */
const stranger = authority(STRANGERS)
const strangersBoot = boot.flatMap((event) => (isAuthority(event) ? [stranger, event] : [event]))

t.test('an authority does not go away with another type or place', async (t) => {
  const replaced = (by: Partial<SyntheticEvent>) =>
    strangersBoot.map((event) => (event === stranger ? { ...event, measured: stranger.data, ...by } : event))
  for (const section of [{ imagesSignedBy: [sha256Hex(OWNERS)] }, { ukiSignedBy: [sha256Hex(OWNERS)] }]) {
    const truth = { events: strangersBoot }
    const code = section.imagesSignedBy ? 'image-signer' : 'uki-signer'
    const driverConfig = replaced({ type: EV.EFI_VARIABLE_DRIVER_CONFIG })
    await refusesLie(t, { truth, lie: { events: driverConfig }, section }, code)
    const unknown = replaced({ type: UNKNOWN_TYPE, data: 'x' })
    await refusesLie(t, { truth, lie: { events: unknown }, section }, 'event-not-covered')
    const last = [...boot, stranger]
    const record = systemdRecord('x', {
      register: 7,
      measured: Buffer.from(stranger.data).toString('latin1'),
    })
    const parts = JSON.parse(record.subarray(1).toString())
    parts.digests[0].digest = digest('sha256', stranger.data).toString('hex')
    const systemd = Buffer.from(`\x1e${JSON.stringify(parts)}\n`)
    await refusesLie(
      t,
      { truth: { events: last }, lie: { events: boot, systemd }, section },
      'event-not-covered',
    )
  }
})

t.test('an image does not go away into the log of user space', async (t) => {
  const image = { register: 4, type: EV.EFI_BOOT_SERVICES_APPLICATION, data: '', measured: 'evil' }
  const lie = { events: boot, systemd: systemdRecord('evil', { register: 4 }) }
  const section = { images: [sha256Hex('authenticode')] }
  await refusesLie(t, { truth: { events: [...boot, image] }, lie, section }, 'event-not-covered')
})

t.test('addons and command lines do not go away with their register', async (t) => {
  const line = { register: 12, type: EV.IPL, data: utf16z('init=/bin/sh') }
  const told = 'console=ttyS0 quiet'
  const grubs = { register: 8, type: EV.IPL, data: `kernel_cmdline: ${told}`, measured: told }
  const others = boot.filter(({ register }) => register !== 12)
  const silent = { events: [...others, grubs] }
  const garbled = { events: [...others, { ...line, data: 'x', measured: line.data }, grubs] }
  const moved = { ...silent, systemd: systemdRecord(line.data.toString(), { register: 12 }) }
  const truth = { events: [...others, line, grubs] }
  const lines = { commandLines: [told] }
  await refusesLie(t, { truth, lie: silent, section: lines }, 'command-line')
  await refusesLie(t, { truth: { ...truth, unquoted: [12] }, lie: silent, section: lines }, 'command-line')
  await refusesLie(t, { truth, lie: garbled, section: lines }, 'event-not-covered')
  await refusesLie(t, { truth, lie: moved, section: lines }, 'event-not-covered')
  const addons = { addons: 'forbidden' } as const
  for (const lie of [silent, garbled, moved]) await refusesLie(t, { truth, lie, section: addons }, 'addon')
  await refusesLie(t, { truth: { ...truth, unquoted: [12] }, lie: silent, section: addons }, 'addon')
})

t.test('a boot phase does not go away with its text, or into the log of the firmware', async (t) => {
  const [first, second] = ['enter-initrd', 'leave-initrd'] as const
  const truth = { events: boot, systemd: Buffer.concat([systemdRecord(first), systemdRecord(second)]) }
  const masked = { systemd: Buffer.concat([systemdRecord(first), systemdRecord('x', { measured: second })]) }
  await refusesLie(t, { truth, lie: masked, section: { phases: [first] } }, 'event-not-covered')
  const moved = { register: 11, type: UNKNOWN_TYPE, data: 'x', measured: first }
  const lie = { events: [...boot, moved], systemd: systemdRecord(second) }
  await refusesLie(t, { truth, lie, section: { phases: [second] } }, 'event-not-covered')
  await refusesLie(t, { truth, lie: {}, section: { phases: [] } }, 'phase')
})

t.test('in a TD registers are shared, and hide nothing either', async (t) => {
  const rtmrs = (events: readonly SyntheticEvent[]) => {
    const values = replayEventLog(parseEventLog(syntheticLog(events, { banks: ['sha384'] })), 'sha384')
    return [1, 2, 3, 4].map((register) => values.get(register) ?? Buffer.alloc(48))
  }
  const codes = async (
    truth: readonly SyntheticEvent[],
    lie: readonly SyntheticEvent[],
    eventLog: ResolvedEventLogPolicy,
  ) => {
    const base = tdxRequest({ quote: { body: { teeTcbSvn: UP_TO_DATE_SVN, rtmrs: rtmrs(truth) } } })
    const evidence = syntheticLog(lie, { banks: ['sha384'] })
    const policy = { ...base.policy, eventLog }
    const verdict = await verifyEvidence({ ...base, evidence, quotes: [base.evidence], policy })
    t.equal(verdict.authentic, true, JSON.stringify(verdict.findings))
    return [...new Set(verdict.findings.map(({ code }) => code))]
  }
  const image = { register: 2, type: EV.EFI_BOOT_SERVICES_APPLICATION, data: 'x', measured: 'evil' }
  const td = ukiBoot('rtmr')
  const images = { images: [digest('sha384', 'authenticode').toString('hex')] }
  t.same(await codes(td, td, images), [])
  t.same(await codes([...td, image], [...td, image], images), ['image-not-allowed'])
  t.same(await codes([...td, image], [...td, { ...image, type: EV.IPL }], images), ['event-not-covered'])
  // The digest of a boot variable is over its data alone: those may be somebody else's event.
  const evil = { ...authority(STRANGERS), register: 1 }
  const owners = td.map((event) => (isAuthority(event) ? { ...authority(OWNERS), register: 1 } : event))
  const wrapped = { ...evil, type: EV.EFI_VARIABLE_BOOT, measured: evil.data }
  const asBootEntry = { ...wrapped, data: variableEvent(GLOBAL, 'Boot0007', Buffer.from(evil.data)) }
  const signers = { imagesSignedBy: [sha256Hex(OWNERS)] }
  t.same(await codes(owners, owners, signers), [])
  // The VMM's tables are in RTMR0 with the authorities, and not with images and command lines.
  const tables = [
    ...owners,
    { register: 1, type: EV.PLATFORM_CONFIG_FLAGS, data: 'ACPI DATA', measured: 'x' },
  ]
  t.same(await codes(tables, tables, signers), ['event-not-covered'])
  t.same(await codes(tables, tables, images), [])
  t.same(await codes(tables, tables, { secureBoot: 'on' }), [])
  t.same(await codes([...owners, evil], [...owners, asBootEntry], signers), ['image-signer'])
  const tagged = { ...evil, type: EV.EVENT_TAG, data: 'x', measured: evil.data }
  t.same(await codes([...owners, evil], [...owners, tagged], signers), ['event-not-covered'])
})
