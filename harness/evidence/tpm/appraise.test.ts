/** One test a finding's code, for TPM quotes and for what an event log says; the evidence is always authentic. */
import t from 'tap'
import { digest, sha256Hex } from '../../base/digest.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { variableEvent } from '../../formats/event-log/testing/efi-event-data.ts'
import type { SyntheticEvent } from '../../formats/event-log/testing/synthetic-log.ts'
import type { ResolvedEventLogPolicy, ResolvedTpmPolicy } from '../policy/resolve.ts'
import {
  emulatedAkId,
  type LogCase,
  logRequest,
  quoteFile,
  type TpmCase,
  tpmRequest,
} from '../testing/emulated-requests.ts'
import { bytes, finds, hex, type Row } from '../testing/finds.ts'
import { systemdRecord, ukiBoot } from '../testing/measured-boot.ts'
import { verifyEvidence } from '../verify-evidence.ts'

const nonce = bytes(9, 20)
const TPM_ROWS: readonly Row<TpmCase, ResolvedTpmPolicy>[] = [
  {
    code: 'pcr',
    what: 'another value',
    section: { pcrs: { sha256: { '7': [hex(7, 32), hex(8, 32)] } } },
    bad: { pcrs: new Map([[7, bytes(9, 32)]]) },
  },
  {
    code: 'pcr-not-quoted',
    what: 'a PCR that no signed digest covers',
    section: { pcrs: { sha256: { '7': [hex(7, 32)] } } },
    bad: { pcrs: new Map([[4, bytes(7, 32)]]) },
  },
  {
    code: 'pcr-not-quoted',
    what: 'the right value in another bank',
    section: { pcrs: { sha256: { '7': [hex(7, 32)] } } },
    badSection: { pcrs: { sha384: { '7': [hex(7, 48)] } } },
  },
  {
    code: 'bank',
    what: 'no bank that counts',
    section: { banks: ['sha256'] },
    badSection: { banks: ['sha384'] },
  },
  { code: 'bank', what: 'no PCR at all', section: {}, bad: { pcrs: new Map() } },
  { code: 'ak', what: 'another key', section: { aks: [emulatedAkId()] }, badSection: { aks: [hex(1, 32)] } },
  { code: 'reset-count', what: 'too many resets', section: { maximumResetCount: 3 }, bad: { resetCount: 4 } },
  {
    code: 'firmware',
    what: 'other firmware',
    section: { firmwareVersions: ['2026010100000000'] },
    badSection: { firmwareVersions: ['2026010100000001'] },
  },
  {
    code: 'report-data',
    what: 'qualifying data over something else',
    section: { extraData: { sha256: [{ hex: '01' }] } },
    good: { nonce: digest('sha256', Buffer.of(1)) },
    bad: { nonce: digest('sha256', Buffer.of(2)) },
  },
  {
    code: 'nonce-missing',
    what: 'a digest over a nonce, and no nonce',
    section: {},
    badSection: { extraData: { sha256: ['nonce'] } },
  },
]

for (const { code, what, section, good, bad, badSection } of TPM_ROWS)
  t.test(`TPM, ${code}: ${what}`, async (t) => {
    await finds(t, tpmRequest({ ...good, policy: { tpm: section } }))
    await finds(t, tpmRequest({ ...(badSection ? good : bad), policy: { tpm: badSection ?? section } }), code)
  })

t.test('a nonce is the qualifying data, or in the digest that the policy names', async (t) => {
  await finds(t, tpmRequest({ nonce, more: { nonce } }))
  t.match(await verifyEvidence(tpmRequest({ more: { nonce } })), { findings: [{ code: 'nonce-mismatch' }] })
  const policy = { tpm: { extraData: { sha256: ['nonce' as const] } } }
  await finds(t, tpmRequest({ nonce: digest('sha256', nonce), policy, more: { nonce } }))
  await finds(t, tpmRequest({ nonce, policy, more: { nonce } }), 'report-data')
  const padded = Buffer.concat([nonce, Buffer.alloc(4)])
  await finds(
    t,
    tpmRequest({ nonce: padded, policy: { tpm: { extraData: { value: nonce.toString('hex') } } } }),
    'report-data',
  )
})

t.test('the key must be one that somebody vouches for', async (t) => {
  const { ak: _, ...unknown } = tpmRequest()
  t.match(await verifyEvidence(unknown), { authentic: false, findings: [{ code: 'endorsement-missing' }] })
})

const GUID = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
const DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
const CERTIFICATE = Buffer.from('3003020101', 'hex')
/** The synthetic boot has one entry in PK, KEK and db. */
const ENTRY = sha256Hex('certificate')

function authority(name: string, entry: Uint8Array): SyntheticEvent {
  const data = variableEvent(DATABASE, name, Buffer.concat([Buffer.alloc(16), entry]))
  return { register: 7, type: EV.EFI_VARIABLE_AUTHORITY, data }
}

/** The synthetic boot of a UKI, its image allowed by CERTIFICATE. */
function boot(change: (event: SyntheticEvent) => readonly SyntheticEvent[] = (event) => [event]): LogCase {
  const events = ukiBoot('pcr').map((event) =>
    event.type === EV.EFI_VARIABLE_AUTHORITY ? authority('db', CERTIFICATE) : event,
  )
  return { events: events.flatMap(change) }
}

const without = (wanted: (event: SyntheticEvent) => boolean) =>
  boot((event) => (wanted(event) ? [] : [event]))
/** Beside the command line nothing: what else is there could be another one. */
const alone = without(({ register, data }) => register === 12 && !String(data).startsWith('c\0o'))
const secureBootOff = boot((event) => {
  const off = variableEvent(GUID, 'SecureBoot', Buffer.of(0))
  return [
    Buffer.from(event.data).includes(Buffer.from('SecureBoot', 'utf16le')) ? { ...event, data: off } : event,
  ]
})
const withAuthority = (event: SyntheticEvent) =>
  boot((each) => (each.type === EV.EFI_VARIABLE_AUTHORITY ? [each, event] : [each]))
const IMAGE = sha256Hex('authenticode')
const anotherImage: SyntheticEvent = {
  register: 4,
  type: EV.EFI_BOOT_SERVICES_APPLICATION,
  data: '',
  measured: 'other',
}
const phases = (...names: readonly string[]) => Buffer.concat(names.map((name) => systemdRecord(name)))

const LOG_ROWS: readonly Row<LogCase, ResolvedEventLogPolicy>[] = [
  { code: 'secure-boot', what: 'off', section: { secureBoot: 'on' }, bad: secureBootOff },
  { code: 'secure-boot', what: 'on', section: { secureBoot: 'off' }, good: secureBootOff, bad: boot() },
  {
    code: 'secure-boot',
    what: 'said by nobody who is vouched for',
    section: { secureBoot: 'on' },
    bad: { ...boot(), unquoted: [7] },
  },
  {
    code: 'key-database',
    what: 'db has more',
    section: { db: { exactly: [ENTRY] } },
    badSection: { db: { exactly: [] } },
  },
  {
    code: 'key-database',
    what: 'PK lacks an entry',
    section: { pk: { includes: [ENTRY] } },
    badSection: { pk: { includes: [ENTRY, hex(1, 32)] } },
  },
  {
    code: 'key-database',
    what: 'dbx is not empty',
    section: { dbx: { exactly: [] } },
    badSection: { dbx: { includes: [hex(1, 32)] } },
  },
  {
    code: 'key-database',
    what: 'KEK that no register covers',
    section: { kek: { exactly: [ENTRY] } },
    bad: { ...boot(), unquoted: [7] },
  },
  {
    code: 'image-signer',
    what: 'another certificate',
    section: { imagesSignedBy: [sha256Hex(CERTIFICATE)] },
    bad: withAuthority(authority('db', Buffer.from('3003020102', 'hex'))),
  },
  {
    code: 'image-signer',
    what: 'an image that a hash allowed',
    section: { imagesSignedBy: [sha256Hex(CERTIFICATE)] },
    bad: withAuthority(authority('db', bytes(1, 32))),
  },
  {
    code: 'image-signer',
    what: "shim's own list",
    section: { imagesSignedBy: [sha256Hex(CERTIFICATE)] },
    bad: withAuthority(authority('MokListRT', CERTIFICATE)),
  },
  {
    code: 'image-signer',
    what: 'no Secure Boot',
    section: { imagesSignedBy: [sha256Hex(CERTIFICATE)] },
    bad: secureBootOff,
  },
  {
    code: 'image-signer',
    what: 'nothing signed',
    section: { imagesSignedBy: [sha256Hex(CERTIFICATE)] },
    bad: without(({ type }) => type === EV.EFI_VARIABLE_AUTHORITY),
  },
  {
    code: 'uki-signer',
    what: 'another certificate',
    section: { ukiSignedBy: [sha256Hex(CERTIFICATE)] },
    badSection: { ukiSignedBy: [hex(1, 32)] },
  },
  {
    code: 'uki-signer',
    what: 'no UKI',
    section: { ukiSignedBy: [sha256Hex(CERTIFICATE)] },
    bad: without(({ register }) => register === 11),
  },
  {
    code: 'image-not-allowed',
    what: 'another image',
    section: { images: [IMAGE] },
    badSection: { images: [hex(1, 32)] },
  },
  {
    code: 'image-not-allowed',
    what: 'one more image',
    section: { images: [IMAGE] },
    bad: boot((event) => (event.type === EV.EFI_BOOT_SERVICES_APPLICATION ? [event, anotherImage] : [event])),
  },
  {
    code: 'image-not-allowed',
    what: 'images that no register covers',
    section: { images: [IMAGE] },
    bad: { ...boot(), unquoted: [4] },
  },
  {
    code: 'event-not-covered',
    what: 'something unknown among the images',
    section: { images: [IMAGE] },
    bad: boot((event) =>
      event.type === EV.EFI_BOOT_SERVICES_APPLICATION
        ? [event, { register: 4, type: 0x9999, data: 'x' }]
        : [event],
    ),
  },
  {
    code: 'command-line',
    what: 'another one',
    good: alone,
    section: { commandLines: ['console=ttyS0 quiet'] },
    badSection: { commandLines: ['quiet'] },
  },
  {
    code: 'command-line',
    what: 'none',
    good: alone,
    section: { commandLines: ['console=ttyS0 quiet'] },
    bad: without(({ register }) => register === 12),
  },
  {
    code: 'command-line',
    what: 'one that no register covers',
    good: alone,
    section: { commandLines: ['console=ttyS0 quiet'] },
    bad: { ...alone, unquoted: [12] },
  },
  {
    code: 'event-not-covered',
    what: 'something unknown beside the command line',
    good: alone,
    section: { commandLines: ['console=ttyS0 quiet'] },
    bad: boot(),
  },
  {
    code: 'phase',
    what: 'in another order',
    section: { phases: ['enter-initrd', 'ready'] },
    good: { ...boot(), systemd: phases('enter-initrd', 'ready') },
    bad: { ...boot(), systemd: phases('ready', 'enter-initrd') },
  },
  {
    code: 'phase',
    what: 'none',
    section: { phases: ['enter-initrd'] },
    good: { ...boot(), systemd: phases('enter-initrd') },
    bad: boot(),
  },
  {
    code: 'boot-services',
    what: 'never ended',
    section: { exitBootServices: 'required' },
    bad: without(({ data }) => String(data).startsWith('Exit Boot Services')),
  },
]

for (const { code, what, section, good = boot(), bad, badSection } of LOG_ROWS)
  t.test(`event log, ${code}: ${what}`, async (t) => {
    await finds(t, logRequest({ ...good, policy: { eventLog: section } }))
    const { findings } = await verifyEvidence(
      logRequest({ ...(badSection ? good : (bad ?? good)), policy: { eventLog: badSection ?? section } }),
    )
    t.ok(findings.length > 0, 'not acceptable')
    t.same([...new Set(findings.map((each) => each.code))], [code])
  })

t.test('addons are found where they are forbidden', async (t) => {
  const forbidden = { eventLog: { addons: 'forbidden' as const } }
  await finds(t, logRequest({ ...without(({ register }) => register === 12), policy: forbidden }))
  await finds(t, logRequest({ ...boot(), policy: forbidden }), 'addon', 'addon', 'addon')
})

t.test('the quote that covers a log has to keep its own rules', async (t) => {
  const policy = { eventLog: { secureBoot: 'on' as const }, tpm: { maximumResetCount: 1 } }
  await finds(t, logRequest({ ...boot(), policy }), 'reset-count')
  const silent = await verifyEvidence(logRequest({ ...boot(), policy: { tpm: {} } }))
  t.match(silent.findings, [{ code: 'policy-silent' }])
})

t.test('a log is authentic only as far as it replays to what was quoted', async (t) => {
  const events = boot().events
  const other = { quotes: [quoteFile({ pcrs: new Map([[4, bytes(1, 32)]]) })] }
  const { authentic, findings } = await verifyEvidence(logRequest({ events, more: other }))
  t.match({ authentic, findings }, { authentic: false, findings: [{ code: 'replay-mismatch' }] })
})
