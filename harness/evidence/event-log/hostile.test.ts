/** What a hostile guest can try once its machine has booted: the registers stay, the log is its own. */
import t from 'tap'
import { FormatError, VerifyError } from '../../base/errors.ts'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { variableEvent } from '../../formats/event-log/testing/efi-event-data.ts'
import { type SyntheticEvent, syntheticLog } from '../../formats/event-log/testing/synthetic-log.ts'
import { honest, read, withEvents } from '../testing/honest-log.ts'
import { GLOBAL, separator, ukiBoot } from '../testing/measured-boot.ts'
import type { BootReading } from './read.ts'
import { compareEventLog, verifyEventLog } from './verify.ts'
import type { Reading } from './view.ts'

t.test('replay-mismatch: an event is missing, added, changed, or in another place', async (t) => {
  const events = ukiBoot('pcr')
  const request = honest(events)
  const images = { register: 4, type: EV.EFI_BOOT_SERVICES_APPLICATION, data: '', measured: 'another image' }
  const refuses = (name: string, changed: readonly SyntheticEvent[]) =>
    refusesToVerify(t, () => verifyEventLog(withEvents(request, changed)), 'replay-mismatch', name)
  const firmware = [...events.keys()].filter((index) => (events[index]?.register ?? 0) < 8)
  for (const index of firmware)
    refuses(
      `without event ${index}`,
      events.filter((_, each) => each !== index),
    )
  refuses('with another image', [...events, images])
  const inPcr4 = events.flatMap(({ register }, index) => (register === 4 ? [index] : []))
  const [first = 0, second = 0] = inPcr4
  refuses(
    'two events of PCR 4 swapped',
    events.map(
      (event, index) => events[index === first ? second : index === second ? first : index] ?? event,
    ),
  )
  refuses(
    'an event in another register',
    events.map((event, index) => (index === first ? { ...event, register: 5 } : event)),
  )
  refuses(
    'an image that is not extended',
    events.map((event, index) => (index === second ? { ...event, type: EV.NO_ACTION } : event)),
  )
})

t.test('replay-mismatch: nothing of the log is vouched for', async (t) => {
  const request = honest(ukiBoot('pcr'))
  refusesToVerify(t, () => verifyEventLog({ ...request, values: new Map() }), 'replay-mismatch')
  refusesToVerify(t, () => verifyEventLog({ ...request, bank: 'sha384' }), 'replay-mismatch', 'another bank')
  t.doesNotThrow(() => compareEventLog({ ...request, values: new Map() }))
})

t.test('event-mismatch: data under a digest of something else', async (t) => {
  const cases: [number, number, Buffer | string][] = [
    [EV.SEPARATOR, 7, Buffer.of(0, 0, 0, 1)],
    [EV.EFI_ACTION, 5, 'Exit Boot Services Invocation'],
    [EV.ACTION, 5, 'x'],
    [EV.EFI_VARIABLE_DRIVER_CONFIG, 7, variableEvent(GLOBAL, 'SecureBoot', Buffer.of(1))],
    [EV.EFI_VARIABLE_AUTHORITY, 7, variableEvent(GLOBAL, 'db', Buffer.of(1))],
    [EV.EFI_VARIABLE_BOOT, 1, variableEvent(GLOBAL, 'BootOrder', Buffer.of(1, 0))],
    [EV.EFI_VARIABLE_BOOT2, 1, variableEvent(GLOBAL, 'BootOrder', Buffer.of(1, 0))],
    [EV.EFI_GPT_EVENT, 5, 'x'],
    [EV.EFI_GPT_EVENT2, 5, 'x'],
    [EV.S_CRTM_VERSION, 0, 'x'],
    [EV.OMIT_BOOT_DEVICE_EVENTS, 4, 'x'],
  ]
  for (const [type, register, data] of cases)
    refusesToVerify(
      t,
      () => verifyEventLog(honest([{ register, type, data, measured: 'other' }])),
      'event-mismatch',
      `${type}`,
    )
})

t.test('Secure Boot cannot be switched on after the fact', async (t) => {
  const variable = (value: number): SyntheticEvent => ({
    register: 7,
    type: EV.EFI_VARIABLE_DRIVER_CONFIG,
    data: variableEvent(GLOBAL, 'SecureBoot', Buffer.of(value)),
  })
  const off = [variable(0), separator(7)]
  // The kernel can extend PCR 7 with anything, and tell any story about types.
  const later = read(honest([...off, variable(1), separator(7)]))
  t.match(later.secureBoot.enabled, { value: false, covered: true })
  const hidden = read(
    honest([{ ...variable(0), type: EV.EVENT_TAG }, separator(7), variable(1), separator(7)]),
  )
  t.equal(hidden.secureBoot.enabled, undefined, 'the true event renamed')
  const moved = read(
    honest([
      { ...variable(0), type: EV.EVENT_TAG },
      { ...separator(7), type: EV.IPL },
      variable(1),
      separator(7),
    ]),
  )
  t.equal(moved.secureBoot.enabled, undefined, 'the true separator renamed')
  const twice = read(honest([variable(0), variable(1), separator(7)]))
  t.equal(twice.secureBoot.enabled, undefined, 'both before the separator')
  t.equal(read(honest([variable(1)])).secureBoot.enabled, undefined, 'no separator at all')
  const elsewhere = read(honest([{ ...variable(1), register: 5 }, separator(5), ...off]))
  t.match(elsewhere.secureBoot.enabled, { value: false }, 'in another register')
})

t.test('a boot order that is added later is not the boot order', async (t) => {
  const order = (first: number): SyntheticEvent => ({
    register: 1,
    type: EV.EFI_VARIABLE_BOOT,
    data: variableEvent(GLOBAL, 'BootOrder', Buffer.of(first, 0)),
  })
  t.match(read(honest([order(1), separator(1), order(2)])).bootOrder, { value: { entries: [1] } })
})

/** What the registers vouch for, without hints and without what only an event's type says. */
function vouched(reading: BootReading): ReadonlySet<string> {
  const {
    secureBoot,
    bootOrder,
    bootEntries,
    partitionTables,
    actions,
    exitBootServices,
    ukiSections,
    commandLines,
  } = reading
  const facts: [string, readonly (Reading<unknown> | undefined)[]][] = [
    ['Secure Boot', [secureBoot.enabled]],
    ['databases', Object.values(secureBoot.databases)],
    ['order', [bootOrder]],
    ['entries', bootEntries.map(({ value, ...reading }) => ({ ...reading, value: value.option }))],
    ['disks', partitionTables],
    ['actions', actions],
    ['end', [exitBootServices]],
    ['sections', ukiSections],
    ['command lines', commandLines],
    ['phases', reading.userspace.phases],
  ]
  const text = (_key: string, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)
  const covered = facts.flatMap(([name, readings]) =>
    readings.filter((each) => each?.covered).map((each) => `${name} ${JSON.stringify(each?.value, text)}`),
  )
  return new Set(covered)
}

/** True of the same log, where the event that says more is hidden. */
const WEAKER = ['end "invoked"']

t.test('whatever byte of a log is changed: it is refused, or vouches for nothing new', async (t) => {
  const events = ukiBoot('pcr')
  const request = honest(events)
  const bytes = syntheticLog(events)
  const genuine = vouched(read(request))
  const digests = new Set(request.log.events.flatMap(({ digests }) => digests.map(({ bytes }) => hex(bytes))))
  const wrong: string[] = []
  let accepted = 0
  for (let offset = 0; offset < bytes.length; offset++)
    for (const mask of [[0x01, 0x04, 0x80][offset % 3] ?? 1]) {
      const changed = Buffer.from(bytes)
      changed[offset] = (changed[offset] ?? 0) ^ mask
      try {
        const reading = read({ ...request, log: parseEventLog(changed) })
        accepted += 1
        for (const fact of vouched(reading))
          if (!genuine.has(fact) && !WEAKER.includes(fact)) wrong.push(`${offset} ^ ${mask}: ${fact}`)
        for (const { value } of reading.images)
          if (!digests.has(hex(value.digest))) wrong.push(`${offset}: image`)
      } catch (error) {
        if (!(error instanceof FormatError || error instanceof VerifyError)) wrong.push(`${offset}: ${error}`)
      }
    }
  t.strictSame(wrong, [])
  t.ok(accepted > 0, 'labels and hints may change')
})

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
