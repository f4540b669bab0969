/**
 * Is what a covered log says acceptable? Only what a register vouches for counts; the rest is a finding where it is
 * asked for.
 */
import { sha256Hex } from '../../base/digest.ts'
import type { Finding } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import type { VariableEvent } from '../../formats/event-log/efi-events.ts'
import { SIGNATURE_TYPES } from '../../formats/signature-list.ts'
import type { AppraisalContext } from '../appraisal.ts'
import { hexOf, policySilent } from '../checks.ts'
import { type FindingCode, finding } from '../finding.ts'
import type { ResolvedEventLogPolicy } from '../policy/resolve.ts'
import { DEFAULT_BANKS } from '../tpm/appraise.ts'
import type { CoveredEventLog } from './covered.ts'
import type { BootReading } from './read.ts'
import { unknownIn } from './unknown.ts'
import type { VerifiedEventLog } from './verify.ts'
import { LogView, type Reading } from './view.ts'

/**
 * Every finding, none where the boot is acceptable. Only what a register vouches for counts. Never throws. PFP 1.06,
 * "Event Logging".
 */
export function appraiseEventLog(
  { verified, reading, cover }: CoveredEventLog,
  { policy }: AppraisalContext,
): readonly Finding[] {
  const { eventLog } = policy
  if (eventLog === undefined) return [policySilent('event logs', 'eventLog')]
  const banks: readonly string[] = policy.tpm?.banks ?? DEFAULT_BANKS
  const weak =
    cover.kind === 'tpm' && !banks.includes(verified.bank)
      ? [
          finding('bank', 'the log could only be compared in a bank that the policy does not accept', {
            expected: `one of ${banks.join(', ')}`,
            got: verified.bank,
          }),
        ]
      : []
  return [
    ...weak,
    ...secureBootFindings(reading, eventLog),
    ...imageFindings(verified, reading, eventLog),
    ...signerFindings(verified, reading, eventLog),
    ...commandLineFindings(verified, reading, eventLog),
    ...additionFindings(verified, reading, eventLog),
    ...phaseFindings(verified, reading, eventLog),
  ]
}

const NOT_COVERED = 'not covered by a register that anyone vouches for'

function uncovered(code: FindingCode, what: string, expected: string): Finding {
  return finding(code, `nothing vouches for ${what}`, { expected, got: NOT_COVERED })
}

function secureBootFindings({ secureBoot }: BootReading, policy: ResolvedEventLogPolicy): readonly Finding[] {
  return [
    ...stateFindings(secureBoot.enabled, policy.secureBoot),
    ...(['PK', 'KEK', 'db', 'dbx'] as const).flatMap((name) =>
      databaseFindings(name, secureBoot.databases[name], policy[DATABASE_KEYS[name]]),
    ),
  ]
}

const DATABASE_KEYS = { PK: 'pk', KEK: 'kek', db: 'db', dbx: 'dbx' } as const

function stateFindings(
  enabled: Reading<boolean> | undefined,
  required: 'on' | 'off' | undefined,
): readonly Finding[] {
  if (required === undefined) return []
  if (!enabled?.covered) return [uncovered('secure-boot', 'the state of Secure Boot', required)]
  const got = enabled.value ? 'on' : 'off'
  if (got === required) return []
  return [
    finding('secure-boot', `Secure Boot was ${got} when the guest started`, { expected: required, got }),
  ]
}

type Database = NonNullable<BootReading['secureBoot']['databases']['db']>

/** Entries by fingerprint: SHA-256 of a certificate, or the digest that the entry is. */
function entriesOf({ value }: Database): readonly string[] | undefined {
  return value.lists?.flatMap(({ type, signatures }) =>
    signatures.map(({ data }) => (type === SIGNATURE_TYPES.x509 ? sha256Hex(data) : hexOf(data))),
  )
}

function databaseFindings(
  name: string,
  database: Database | undefined,
  required: ResolvedEventLogPolicy['db'],
): readonly Finding[] {
  if (required === undefined) return []
  const wanted = required.exactly ?? required.includes ?? []
  const expected = `${required.exactly ? 'exactly' : 'at least'} ${wanted.join(', ') || 'nothing'}`
  const entries = database?.covered ? entriesOf(database) : undefined
  if (entries === undefined) return [uncovered('key-database', `the contents of ${name}`, expected)]
  const missing = wanted.filter((entry) => !entries.includes(entry))
  const surplus = required.exactly ? entries.filter((entry) => !wanted.includes(entry)) : []
  const problem = (what: string, entry: string) =>
    finding('key-database', `${name} ${what}`, { expected, got: entry })
  return [
    ...missing.map((entry) => problem('lacks an entry that the policy requires', `no ${entry}`)),
    ...[...new Set(surplus)].map((entry) => problem('has an entry that the policy does not name', entry)),
  ]
}

/** Registers that a question is about: nothing may have reached them that is not covered, or that nobody can name. */
function wholeRegisters(
  pcrs: readonly number[],
  { verified, reading }: Pick<CoveredEventLog, 'verified' | 'reading'>,
  { code, what, expected }: { readonly code: FindingCode; readonly what: string; readonly expected: string },
): readonly Finding[] {
  const view = new LogView(verified)
  return [
    ...pcrs.flatMap((pcr) =>
      view.isCovered(pcr) ? [] : [uncovered(code, `${what} (PCR ${pcr})`, expected)],
    ),
    ...unknownIn(pcrs, verified, reading).map((got) => unknown(got, what)),
  ]
}

function unknown(got: string, what: string): Finding {
  return finding('event-not-covered', `${got} was measured where this is: ${what}; nobody knows what it is`, {
    expected: 'only events that are understood',
    got,
  })
}

function imageFindings(
  verified: VerifiedEventLog,
  reading: BootReading,
  { images: allowed }: ResolvedEventLogPolicy,
): readonly Finding[] {
  if (allowed === undefined) return []
  const expected = `one of ${allowed.join(', ')}`
  const about = { code: 'image-not-allowed', what: 'what was loaded', expected } as const
  return [
    ...wholeRegisters([2, 4], { verified, reading }, about),
    ...reading.images
      .filter(({ value }) => !allowed.includes(hexOf(value.digest)))
      .map(({ value, event }) =>
        finding('image-not-allowed', `the image of event ${event} is none that the policy names`, {
          expected,
          got: `${hexOf(value.digest)}${value.pathHint === undefined ? '' : ` (says it is ${escapeControls(value.pathHint)})`}`,
        }),
      ),
  ]
}

function signerFindings(
  verified: VerifiedEventLog,
  reading: BootReading,
  { imagesSignedBy, ukiSignedBy }: ResolvedEventLogPolicy,
): readonly Finding[] {
  if (imagesSignedBy === undefined && ukiSignedBy === undefined) return []
  const view = new LogView(verified)
  const records = verified.systemd.filter(
    ({ register }) => register.kind === verified.registers && register.index === view.registerOf(7),
  )
  const hidden = [
    ...reading.secureBoot.opaque.map(({ number }) => `event ${number}`),
    ...records.map(({ number }) => `record ${number}`),
  ]
  return [
    ...hidden.map((got) => unknown(got, 'what allowed images to run')),
    ...(imagesSignedBy ? authorityFindings(reading, { code: 'image-signer', allowed: imagesSignedBy }) : []),
    ...(ukiSignedBy ? ukiFindings(reading, ukiSignedBy) : []),
  ]
}

const IMAGE_SECURITY_DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
/** EFI_SIGNATURE_DATA: the owner's GUID stands before the entry. */
const OWNER_BYTES = 16

/**
 * The certificate of db that allowed an image, by SHA-256; undefined where something else did (a hash, shim's keys).
 */
function certificateOf({ guid, name, data }: VariableEvent): string | undefined {
  if (guid !== IMAGE_SECURITY_DATABASE || name !== 'db' || data[OWNER_BYTES] !== 0x30) return undefined
  return sha256Hex(data.subarray(OWNER_BYTES))
}

/**
 * The firmware measures each entry of db that allowed an image, once, in PCR 7, and only with Secure Boot on. Whatever
 * else allowed something to run must be in the list, too.
 */
function authorityFindings(
  { secureBoot }: BootReading,
  { code, allowed }: { readonly code: FindingCode; readonly allowed: readonly string[] },
): readonly Finding[] {
  const expected = `certificate ${allowed.join(' or ')}`
  const { enabled, authorities } = secureBoot
  if (!(enabled?.covered && enabled.value))
    return [
      finding(code, 'without Secure Boot nothing says who signed what was loaded', {
        expected,
        got: enabled?.covered ? 'Secure Boot off' : NOT_COVERED,
      }),
    ]
  if (authorities.length === 0)
    return [finding(code, 'no signed image was loaded', { expected, got: 'none' })]
  return authorities.flatMap((authority) => {
    if (!authority.covered) return [uncovered(code, `the authority of event ${authority.event}`, expected)]
    const certificate = certificateOf(authority.value)
    if (certificate !== undefined && allowed.includes(certificate)) return []
    return [
      finding(code, `event ${authority.event}: another authority allowed an image to run`, {
        expected,
        got:
          certificate ?? `an entry of ${escapeControls(authority.value.name)} that is no certificate of db`,
      }),
    ]
  })
}

function ukiFindings(reading: BootReading, allowed: readonly string[]): readonly Finding[] {
  const kernel = reading.ukiSections.find(({ value }) => value.name === '.linux')
  const expected = `a UKI signed by ${allowed.join(' or ')}`
  return [
    ...(kernel === undefined
      ? [finding('uki-signer', 'no UKI was booted', { expected, got: 'no section .linux was measured' })]
      : kernel.covered
        ? []
        : [uncovered('uki-signer', 'the sections of the UKI (PCR 11)', expected)]),
    ...authorityFindings(reading, { code: 'uki-signer', allowed }),
  ]
}

/** Loaders measure them in PCR 8 or 12: both are looked at, since a line of the one must not hide one of the other. */
function commandLineFindings(
  verified: VerifiedEventLog,
  reading: BootReading,
  { commandLines: allowed }: ResolvedEventLogPolicy,
): readonly Finding[] {
  if (allowed === undefined) return []
  const { commandLines } = reading
  const expected = allowed.map((line) => JSON.stringify(line)).join(' or ')
  const about = { code: 'command-line', what: 'kernel command lines', expected } as const
  const none = finding('command-line', 'the log has no kernel command line', { expected, got: 'none' })
  return [
    ...wholeRegisters([8, 12], { verified, reading }, about),
    ...(commandLines.length === 0 ? [none] : []),
    ...commandLines
      .filter(({ value }) => !allowed.includes(value.text))
      .map(({ value }) =>
        finding('command-line', 'the kernel command line is none that the policy names', {
          expected,
          got: JSON.stringify(escapeControls(value.text)),
        }),
      ),
  ]
}

/** PCR 12 and 13 hold what was put beside the UKI: command lines, addons, credentials, extensions. */
function additionFindings(
  verified: VerifiedEventLog,
  reading: BootReading,
  { addons }: ResolvedEventLogPolicy,
): readonly Finding[] {
  if (addons !== 'forbidden') return []
  const view = new LogView(verified)
  const expected = 'nothing beside the UKI'
  const inThose = new Set([12, 13].flatMap((pcr) => view.eventsOf(pcr).map(({ number }) => number)))
  const lines = reading.commandLines.filter(({ event }) => inThose.has(event))
  const found = [...lines.map(({ event }) => `event ${event}`), ...unknownIn([12, 13], verified, reading)]
  return [
    ...[12, 13].flatMap((pcr) => (view.isCovered(pcr) ? [] : [uncovered('addon', `PCR ${pcr}`, expected)])),
    ...found.map((got) => finding('addon', 'something beside the UKI was loaded with it', { expected, got })),
  ]
}

function phaseFindings(
  verified: VerifiedEventLog,
  reading: BootReading,
  { phases, exitBootServices: exit }: ResolvedEventLogPolicy,
): readonly Finding[] {
  const { userspace, exitBootServices } = reading
  const about = { code: 'phase', what: 'the boot phases', expected: phases?.join(', ') || 'none' } as const
  return [
    ...(phases === undefined
      ? []
      : [...wholeRegisters([11], { verified, reading }, about), ...phaseOrder(userspace.phases, phases)]),
    ...(exit === 'required' && !(exitBootServices?.covered && exitBootServices.value === 'returned')
      ? [
          finding('boot-services', "nothing proves that the firmware's services ended", {
            expected: 'ExitBootServices returned',
            got: exitBootServices?.covered ? exitBootServices.value : NOT_COVERED,
          }),
        ]
      : []),
  ]
}

function phaseOrder(got: readonly Reading<string>[], expected: readonly string[]): readonly Finding[] {
  const said = got.map(({ value }) => value)
  if (said.length === expected.length && said.every((phase, index) => phase === expected[index])) return []
  return [
    finding('phase', 'other boot phases were measured', {
      expected: expected.join(', ') || 'none',
      got: said.map((phase) => escapeControls(phase)).join(', ') || 'none',
    }),
  ]
}
