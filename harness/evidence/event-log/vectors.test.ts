import t from 'tap'
import { parse as parseYaml } from 'yaml'
import type { DigestAlgorithm } from '../../base/digest.ts'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { devicePathText } from '../../formats/device-path.ts'
import type { EventLog, LogEvent } from '../../formats/event-log/event.ts'
import { EV, eventTypeName } from '../../formats/event-log/event-types.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { bootEntryName } from '../../formats/load-option.ts'
import { parseGoTpmToolsAttestation } from '../tpm/files/go-tpm-tools.ts'
import { verifyTpmQuote } from '../tpm/quote.ts'
import { checkEventData } from './data-check.ts'
import { readEventLog } from './read.ts'
import { verifyEventLog } from './verify.ts'

const SKIP = { skip: vectorsMissing }

interface LogCase {
  readonly file: string
  readonly expected: {
    readonly digest_algs?: readonly DigestAlgorithm[]
    readonly final?: Readonly<Record<string, Readonly<Record<string, string>>>>
  }
}

/** Parsed once: it has 7000 lines. */
const vectors: readonly LogCase[] = vectorsMissing
  ? []
  : (parseYaml(vectorText('index.yaml')) as { vectors: LogCase[] }).vectors

/** Registers of the index, which counts a CC log's from 1. */
function expectedRegisters(file: string, final: Readonly<Record<string, string>>): Map<number, Buffer> {
  const shift = file.includes('ccel') ? 1 : 0
  return new Map(
    Object.entries(final).map(([index, value]) => [Number(index) - shift, Buffer.from(value, 'hex')]),
  )
}

t.test('every log of a real machine is verified with the values that others computed', SKIP, async (t) => {
  for (const { file, expected } of vectors) {
    if (!expected?.final) continue
    const log = parseEventLog(vector(file))
    const registers = file.includes('ccel') ? 'rtmr' : 'pcr'
    for (const bank of expected.digest_algs ?? []) {
      const values = expectedRegisters(file, expected.final[bank] ?? {})
      const verified = verifyEventLog({ log, registers, bank, values })
      t.ok(
        [...verified.coverage.values()].every((state) => state === 'equal'),
        `${file} ${bank}`,
      )
      const { secureBoot, exitBootServices } = readEventLog(verified)
      t.ok(secureBoot.enabled?.covered ?? file.endsWith('short_no_action_eventlog'), 'Secure Boot is known')
      t.ok(exitBootServices?.covered ?? true)
    }
  }
})

t.test(
  'the digests that another verifier finds to be over their data are those that we find',
  SKIP,
  async (t) => {
    for (const name of ['ccel_grub', 'ccel_ovmf']) {
      const { events } = parseEventLog(vector(`eventlog/${name}.bin`))
      const expected = JSON.parse(vectorText(`eventlog/${name}.expected.json`)) as {
        uefi_event_logs: { type_name: string; digest_matches_event: boolean; index: number }[]
      }
      // It leaves the header out.
      t.strictSame(
        events
          .slice(1)
          .map((event) => [
            event.register,
            eventTypeName(event.type),
            checkEventData(event, 'sha384') === 'data',
          ]),
        expected.uefi_event_logs.map((each) => [each.index, each.type_name, each.digest_matches_event]),
        name,
      )
    }
  },
)

interface ToolsEvent {
  readonly EventNum: number
  readonly PCRIndex: number
  readonly EventType: string
  readonly Digests?: readonly { readonly Digest: string }[]
  readonly Event?: {
    readonly UnicodeName?: string
    readonly VariableData?: { readonly Description?: string } | readonly string[]
  }
}

t.test('tpm2_eventlog reads the same from a log of systemd-boot', SKIP, async (t) => {
  const file = 'eventlog/tpm2tools_event-sd-boot-fedora37.bin'
  const document = parseYaml(vectorText(`${file}.yaml`), { intAsBigInt: false }) as {
    events: readonly ToolsEvent[]
    pcrs: { sha256: Readonly<Record<string, number | string>> }
  }
  const log = parseEventLog(vector(file))
  t.strictSame(
    log.events
      .slice(1)
      .map((event) => [
        event.number,
        event.register,
        eventTypeName(event.type),
        hex(event.digests[0]?.bytes),
      ]),
    document.events
      .slice(1)
      .map((each) => [each.EventNum, each.PCRIndex, each.EventType, each.Digests?.[0]?.Digest]),
  )
  const { bootEntries, bootOrder } = readEventLog(verifyAgainstItself(log, 'sha256'))
  const named = (name: string) =>
    document.events
      .filter(({ Event }) => Event?.UnicodeName === name)
      .map(({ Event }) => Event?.VariableData)[0]
  t.strictSame(bootOrder?.value.entries.map(bootEntryName), named('BootOrder'))
  for (const { value } of bootEntries)
    t.match(named(bootEntryName(value.number)), { Description: value.option?.description })
  const linux = bootEntries.find(({ value }) => value.option?.description === 'Linux Boot Manager')
  const [path] = linux?.value.option?.paths ?? []
  t.match(path && devicePathText(path), /^HD\(1,GPT,3cb9643c-6c08-4fe5-852d-17e1ae701158,0x800,0x100000\)/)
})

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex')

function verifyAgainstItself(log: EventLog, bank: DigestAlgorithm) {
  const found = vectors.find(
    ({ expected, file }) =>
      expected?.final?.[bank] && parseEventLog(vector(file)).bytesUsed === log.bytesUsed,
  )
  return verifyEventLog({
    log,
    registers: 'pcr',
    bank,
    values: expectedRegisters('', found?.expected.final?.[bank] ?? {}),
  })
}

// --- With a quote ---

/** RTMR0 to RTMR3 of a version 4 quote: body at 48, RTMRs at 328 in it. Intel TDX DCAP quote generation library API, A.3. */
function rtmrs(quote: Uint8Array): Map<number, Uint8Array> {
  return new Map(
    [0, 1, 2, 3].map((index) => [index, quote.subarray(48 + 328 + 48 * index, 48 + 376 + 48 * index)]),
  )
}

t.test("a TD's log explains the RTMRs of its quote; another boot's does not", SKIP, async (t) => {
  const values = rtmrs(vector('tdx/v4_live_ccel.quote.bin'))
  const request = { registers: 'rtmr', bank: 'sha384', values } as const
  const verified = verifyEventLog({ ...request, log: parseEventLog(vector('eventlog/ccel_live2.bin')) })
  t.strictSame(
    [...verified.coverage],
    [
      [0, 'equal'],
      [1, 'equal'],
      [2, 'equal'],
      [3, 'equal'],
    ],
  )
  const other = parseEventLog(vector('eventlog/ccel_live.bin'))
  refusesToVerify(t, () => verifyEventLog({ ...request, log: other }), 'replay-mismatch')
})

t.test("a cloud's quote vouches for its log, and Secure Boot was on", SKIP, async (t) => {
  const { ak, quotes, eventLog } = parseGoTpmToolsAttestation(vector('tpm/gce-cos-85-nonce9009.pb'))
  const log = parseEventLog(eventLog ?? Buffer.of())
  for (const quote of quotes)
    for (const { bank, values } of verifyTpmQuote(quote, ak, { nonce: Buffer.from('9009', 'hex') }).pcrs) {
      const reading = readEventLog(verifyEventLog({ log, registers: 'pcr', bank, values }))
      t.match(reading.secureBoot.enabled, { value: true, covered: true }, bank)
    }
})

// --- Mutations of negatives.yaml ---

const UBUNTU = 'eventlog/tpm_ubuntu-1804-amd-sev.bin'

function ubuntu(bytes: Buffer, bank: DigestAlgorithm) {
  const final = vectors.find(({ file }) => file === UBUNTU)?.expected.final?.[bank] ?? {}
  return () =>
    verifyEventLog({
      log: parseEventLog(bytes),
      registers: 'pcr',
      bank,
      values: expectedRegisters('', final),
    })
}

/** Bytes of an event, up to the next. */
function bytesOf(bytes: Buffer, events: readonly LogEvent[], number: number): Buffer {
  return bytes.subarray(events[number]?.offset, events[number + 1]?.offset ?? bytes.length)
}

t.test('two events of PCR 4 swapped: the replay differs', SKIP, async (t) => {
  const bytes = vector(UBUNTU)
  const { events } = parseEventLog(bytes)
  const [first = 0, second = 0] = events.filter(({ register }) => register === 4).map(({ number }) => number)
  const order = events.map(({ number }) => (number === first ? second : number === second ? first : number))
  const swapped = Buffer.concat(order.map((number) => bytesOf(bytes, events, number)))
  t.equal(swapped.length, bytes.length)
  for (const bank of ['sha1', 'sha256', 'sha384'] as const) {
    refusesToVerify(t, ubuntu(swapped, bank), 'replay-mismatch', bank)
    t.doesNotThrow(ubuntu(bytes, bank))
  }
})

t.test("a separator's data changed under its digest: the event is not what was measured", SKIP, async (t) => {
  const bytes = vector(UBUNTU)
  const { events } = parseEventLog(bytes)
  for (const separator of events.filter(({ type }) => type === EV.SEPARATOR)) {
    const changed = Buffer.from(bytes)
    const { offset, number, data } = separator
    changed.writeUInt32LE(2, offset + bytesOf(bytes, events, number).length - data.length)
    refusesToVerify(t, ubuntu(changed, 'sha256'), 'event-mismatch')
  }
})
