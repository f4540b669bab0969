/** An event log for people and for JSON. */
import { sha256Hex } from '../../base/digest.ts'
import { escapeControls } from '../../base/text.ts'
import type { EventLog } from '../../formats/event-log/event.ts'
import { eventTypeName } from '../../formats/event-log/event-types.ts'
import { replayEventLog } from '../../formats/event-log/replay.ts'
import { SIGNATURE_TYPES } from '../../formats/signature-list.ts'
import { hexOf } from '../checks.ts'
import type { Decoded, Fields } from '../examination.ts'
import { holds, open, type PageRow, type PageSection, row, type Voucher } from '../page.ts'
import { describeTdxQuote } from '../tdx/describe.ts'
import { describeTpmQuotes } from '../tpm/describe.ts'
import type { Cover, CoveredEventLog, ParsedEventLog } from './covered.ts'
import { type BootReading, readEventLog } from './read.ts'
import { type Coverage, compareEventLog, nameOf, type RegisterKind, type VerifiedEventLog } from './verify.ts'
import type { Reading } from './view.ts'

/**
 * Registers and digests in hex; each value says whether a register covers it. Never throws; text of the guest is
 * escaped. Names are those of PFP 1.06.
 */
export function describeEventLog(parsed: ParsedEventLog, covered?: CoveredEventLog): Decoded {
  const { log, systemd } = parsed
  const verified = covered?.verified ?? unvouched(parsed)
  const reading = covered?.reading ?? (verified && readEventLog(verified))
  const format = log.format === 'sha1' ? 'TCG event log, SHA-1' : 'TCG event log, crypto-agile'
  return {
    fields: { ...logFields(parsed), ...(verified && reading && readingFields(verified, reading)) },
    page: {
      title: log.events.length === 0 ? 'systemd measurement log' : `${format}, of ${kindName(verified)}`,
      says: [
        logSection(log, systemd.length),
        ...(verified ? [registerSection(verified)] : []),
        ...(verified && reading ? readingSections(reading, verified) : []),
      ],
      vouchedBy: covered ? vouchers(covered) : [],
    },
  }
}

function kindName(verified: VerifiedEventLog | undefined): string {
  return verified?.registers === 'rtmr' ? 'a TD' : 'a TPM'
}

/** For showing: what the log would explain. A log with nothing but SHA-384 for at most four registers is a TD's. */
function unvouched({ log, systemd }: ParsedEventLog): VerifiedEventLog | undefined {
  const banks = log.banks.flatMap(({ bank }) => bank ?? [])
  const isCc = banks.join() === 'sha384' && log.events.every(({ register }) => register <= 4)
  const registers: RegisterKind = isCc ? 'rtmr' : 'pcr'
  const bank = (['sha384', 'sha256', 'sha1'] as const).find((each) => banks.includes(each))
  if (bank === undefined) return undefined
  return compareEventLog({ log, systemd, registers, bank, values: new Map() })
}

function logFields({ log, systemd }: ParsedEventLog): Fields {
  const banks = log.banks.flatMap(({ bank }) => bank ?? [])
  return {
    format: log.format,
    event_count: log.events.length,
    log_bytes_used: log.bytesUsed,
    digest_algs: log.banks.map(({ bank, algorithm }) => bank ?? `0x${algorithm.toString(16)}`),
    ...(systemd.length > 0 && { userspace_records: systemd.length }),
    final: Object.fromEntries(
      banks.map((bank) => [
        bank,
        Object.fromEntries([...replayEventLog(log, bank)].map(([index, value]) => [index, hexOf(value)])),
      ]),
    ),
    events: log.events.map(({ register, type, digests }) => ({
      register,
      type: eventTypeName(type),
      digests: Object.fromEntries(
        digests.map((each) => [each.bank ?? `0x${each.algorithm.toString(16)}`, hexOf(each.bytes)]),
      ),
    })),
  }
}

function readingFields(verified: VerifiedEventLog, reading: BootReading): Fields {
  const { secureBoot, images, commandLines, ukiSections, userspace, exitBootServices } = reading
  const said = <Value>(each: Reading<Value>, value: string | boolean): Fields => ({
    value,
    covered: each.covered,
  })
  return {
    bank: verified.bank,
    registers: Object.fromEntries(
      inOrder(verified.coverage).map(([register, state]) => [nameOf(verified.registers, register), state]),
    ),
    secure_boot: secureBoot.enabled ? said(secureBoot.enabled, secureBoot.enabled.value) : null,
    databases: Object.fromEntries(
      Object.entries(secureBoot.databases).map(([name, each]) => [
        name,
        { entries: entriesOf(each), covered: each.covered },
      ]),
    ),
    images: images.map((each) => said(each, hexOf(each.value.digest))),
    uki_sections: ukiSections.map((each) => ({
      ...said(each, hexOf(each.value.digest)),
      name: each.value.name,
    })),
    command_lines: commandLines.map((each) => said(each, escapeControls(each.value.text))),
    phases: userspace.phases.map((each) => said(each, escapeControls(each.value))),
    exit_boot_services: exitBootServices ? said(exitBootServices, exitBootServices.value) : null,
  }
}

type Database = NonNullable<BootReading['secureBoot']['databases']['db']>

function entriesOf({ value }: Database): readonly string[] {
  return (value.lists ?? []).flatMap(({ type, signatures }) =>
    signatures.map(({ data }) => (type === SIGNATURE_TYPES.x509 ? sha256Hex(data) : hexOf(data))),
  )
}

function logSection(log: EventLog, records: number): PageSection {
  const banks = log.banks.map(({ bank, algorithm }) => bank ?? `0x${algorithm.toString(16)}`)
  return {
    title: 'The log',
    rows: [
      row('events', log.events.length, `${log.bytesUsed} bytes; ${log.trailer.length} more follow`),
      row('banks', banks.join(', ') || 'none'),
      ...(records > 0 ? [row('userspace', `${records} records`)] : []),
    ],
  }
}

const COVERAGES: Readonly<Record<Coverage, string>> = {
  equal: 'the log explains it',
  differs: 'the log does not explain it: nothing of it is believed',
  unlogged: 'extended, and no event says by what',
  'not-given': 'nobody vouches for it',
}

/** By the register's number: the log names them in the order of their first event. */
function inOrder<Value>(registers: ReadonlyMap<number, Value>): readonly (readonly [number, Value])[] {
  return [...registers].toSorted(([left], [right]) => left - right)
}

function registerSection({ registers, bank, coverage, replayed }: VerifiedEventLog): PageSection {
  const sorted = inOrder(coverage)
  const noneGiven = sorted.every(([, state]) => state === 'not-given')
  return {
    title: `Registers as the log replays, ${bank}${noneGiven ? ': nobody vouches for any of them' : ''}`,
    rows: sorted
      .filter(([register, state]) => replayed.has(register) || state !== 'equal')
      .map(([register, state]) => {
        const value = replayed.get(register)
        return row(
          nameOf(registers, register),
          value ? hexOf(value) : 'no event',
          noneGiven ? '' : COVERAGES[state],
        )
      }),
  }
}

const MAX_ROWS = 24

function readingSections(reading: BootReading, verified: VerifiedEventLog): readonly PageSection[] {
  const noneCovered = ![...verified.coverage.values()].includes('equal')
  // What no register covers is marked: it is what the guest says, and no more.
  const said = (
    label: string,
    { covered }: { readonly covered: boolean },
    text: string,
    hint = '',
  ): PageRow =>
    row(label, text, covered || noneCovered ? hint : `NOT COVERED: only the log says so. ${hint}`.trim())
  const { secureBoot, images, commandLines, ukiSections, additions, userspace } = reading
  const { bootOrder, bootEntries, exitBootServices, unexplained } = reading
  const rows: readonly PageRow[] = [
    secureBoot.enabled
      ? said('Secure Boot', secureBoot.enabled, secureBoot.enabled.value ? 'on' : 'off')
      : row('Secure Boot', 'the log does not say it once'),
    ...Object.values(secureBoot.databases).map((each) => said(each.value.name, each, entriesText(each))),
    ...secureBoot.authorities.map((each) =>
      said('allowed by', each, `an entry of ${escapeControls(each.value.name)}`),
    ),
    ...(bootOrder ? [said('BootOrder', bootOrder, bootOrder.value.entries.map(bootName).join(' '))] : []),
    ...bootEntries.map((each) =>
      said(bootName(each.value.number), each, escapeControls(each.value.option?.description ?? 'malformed')),
    ),
    ...images.map((each) =>
      said(
        each.value.kindHint,
        each,
        hexOf(each.value.digest),
        // No digest is over the path: it is shown apart from what was measured.
        each.value.pathHint === undefined ? '' : `said to be ${escapeControls(each.value.pathHint)}`,
      ),
    ),
    ...ukiSections.map((each) => said(`UKI ${each.value.name}`, each, hexOf(each.value.digest))),
    ...commandLines.map((each) => said('command line', each, escapeControls(each.value.text))),
    ...additions.map((each) => said(each.value.labelHint, each, hexOf(each.value.digest))),
    ...userspace.phases.map((each) => said('phase', each, escapeControls(each.value))),
    ...(exitBootServices ? [said('ExitBootServices', exitBootServices, exitBootServices.value)] : []),
  ]
  const left = rows.length - MAX_ROWS
  return [
    {
      title: `What it says of the boot${noneCovered ? ': no register covers any of it' : ''}`,
      rows: [
        ...rows.slice(0, left > 1 ? MAX_ROWS : rows.length),
        ...(left > 1 ? [row('and', `${left} more; --json has them`)] : []),
        ...(unexplained.length > 0 ? [unexplainedRow(unexplained, verified)] : []),
      ],
    },
  ]
}

/** Which registers a person has to look into: their whole meaning is not told here. */
function unexplainedRow(unexplained: BootReading['unexplained'], { registers }: VerifiedEventLog): PageRow {
  const shift = registers === 'rtmr' ? 1 : 0
  const numbers = [...new Set(unexplained.map(({ register }) => register - shift))].toSorted((a, b) => a - b)
  const names = numbers.map((number) => nameOf(registers, number)).join(', ')
  return row('unexplained', `${unexplained.length} events`, `of ${names}: firmware, tables, vendors' own`)
}

const bootName = (number: number): string => `Boot${number.toString(16).toUpperCase().padStart(4, '0')}`

function entriesText(database: Database): string {
  const entries = entriesOf(database)
  if (database.value.lists === undefined) return 'malformed'
  if (entries.length === 0) return 'empty'
  return entries.length > 3 ? `${entries.length} entries` : entries.join(' ')
}

function vouchers(covered: CoveredEventLog): readonly Voucher[] {
  return [...coverPage(covered.cover), ...explained(covered)]
}

/**
 * What the log explains of the registers, beside what vouches for those. One line for PCRs or RTMRs that it explains
 * wholly, one for those it does not. Never throws.
 */
export function explained({ verified }: CoveredEventLog): readonly Voucher[] {
  const { coverage, replayed, registers } = verified
  const named = (states: readonly Coverage[]) =>
    inOrder(coverage)
      .filter(([register, state]) => states.includes(state) && (state !== 'equal' || replayed.has(register)))
      .map(([register]) => nameOf(registers, register))
      .join(', ')
  const rest = named(['not-given', 'differs'])
  return [
    holds(`the log explains the whole of ${named(['equal'])}`),
    ...(rest === '' ? [] : [open(`${rest}: not explained or not vouched for, nothing of it is believed`)]),
  ]
}

function coverPage(cover: Cover): readonly Voucher[] {
  const { page } =
    cover.kind === 'tdx'
      ? describeTdxQuote(cover.quote.quote, cover.quote)
      : describeTpmQuotes(cover.quotes.parsed, cover.quotes)
  return page.vouchedBy
}
