/** Every kind of input has a limit (the table in `formats/README.md`): one more than that is refused before it is read. */
import t from 'tap'
import { FormatError, UsageError } from '../base/errors.ts'
import { outcomeOf } from '../base/testing/rejects.ts'
import { parseCrl } from '../formats/crl.ts'
import { parseEventLog } from '../formats/event-log/parse.ts'
import { parseSystemdLog } from '../formats/event-log/systemd-log.ts'
import { parseHclReport } from '../formats/hcl-report.ts'
import { parseCertificates } from '../formats/pem.ts'
import { parseCertificateTable } from '../formats/snp/certificate-table.ts'
import {
  ID_AUTH_BYTES,
  ID_BLOCK_BYTES,
  parseIdAuthentication,
  parseIdBlock,
} from '../formats/snp/id-block.ts'
import { parseSnpReport, SNP_REPORT_BYTES } from '../formats/snp/report.ts'
import { parseServicesManifest } from '../formats/svsm-manifest.ts'
import { parseTdxQuote } from '../formats/tdx/quote.ts'
import { octetString } from '../formats/testing/der-writer.ts'
import { parseTpm2bPublic } from '../formats/tpm2/public.ts'
import { parseCertificate } from '../formats/x509.ts'
import { parsePolicy } from './policy/parse.ts'
import { parseTdxCollateral } from './tdx/collateral.ts'
import { snpRequest } from './testing/emulated-requests.ts'
import { parseGoTpmToolsAttestation } from './tpm/files/go-tpm-tools.ts'
import { parseKeylimeQuote } from './tpm/files/keylime.ts'
import { readAttestationKey } from './tpm/quote-file.ts'
import { unwrap } from './unwrap.ts'
import { verifyEvidence } from './verify-evidence.ts'
import { parseAzureEvidence } from './vtpm/azure-evidence.ts'

const KIB = 1024
const MIB = 1024 * KIB
const AT = new Date('2026-01-01T00:00:00Z')

/** White space is what a reader of text would skip; zeros what others would. */
const spaces = (length: number, start = ''): Buffer => Buffer.from(start.padEnd(length, ' '))

/** A value of `length` bytes in a SEQUENCE that says so. */
function derOf(length: number): Buffer {
  const bytes = octetString(Buffer.alloc(length))
  bytes[0] = 0x30
  return bytes
}

const LIMITS: readonly (readonly [what: string, limit: number, read: (bytes: number) => unknown])[] = [
  ['a file of any kind', 32 * MIB, (bytes) => unwrap({ evidence: Buffer.alloc(bytes), kind: 'event-log' })],
  ['a text', 32 * MIB, (bytes) => unwrap({ evidence: Buffer.alloc(bytes, '00 '), kind: 'event-log' })],
  ['white space', 32 * MIB, (bytes) => unwrap({ evidence: spaces(bytes), kind: 'event-log' })],
  ['TDX quote', 64 * KIB, (bytes) => parseTdxQuote(Buffer.alloc(bytes))],
  ['TDX quote in JSON', 4 * MIB, (bytes) => unwrap({ evidence: spaces(bytes, '{'), kind: 'tdx-quote' })],
  ['HCL report', 64 * KIB, (bytes) => parseHclReport(Buffer.alloc(bytes))],
  ["Azure's JSON", MIB, (bytes) => parseAzureEvidence(''.padEnd(bytes))],
  ['event log', 16 * MIB, (bytes) => parseEventLog(Buffer.alloc(bytes, 0xff))],
  ["systemd's log", 4 * MIB, (bytes) => parseSystemdLog(Buffer.alloc(bytes))],
  ["Keylime's quote", 64 * KIB, (bytes) => parseKeylimeQuote('r'.padEnd(bytes, 'A'))],
  ["go-tpm-tools' attestation", 4 * MIB, (bytes) => parseGoTpmToolsAttestation(Buffer.alloc(bytes))],
  [
    'attestation key',
    64 * KIB,
    (bytes) => readAttestationKey(spaces(bytes, '-----BEGIN PUBLIC KEY-----'), AT),
  ],
  ['certificate table', MIB, (bytes) => parseCertificateTable(Buffer.alloc(bytes))],
  ['certificates in a file', 4 * MIB, (bytes) => parseCertificates(spaces(bytes, '-----BEGIN A-----'))],
  ['certificate', 64 * KIB, (bytes) => parseCertificate(derOf(bytes))],
  ['revocation list', MIB, (bytes) => parseCrl(Buffer.alloc(bytes))],
  ['TDX collateral', 2 * MIB, (bytes) => parseTdxCollateral(spaces(bytes, '{'))],
  ["SVSM's manifest", MIB, (bytes) => parseServicesManifest(Buffer.alloc(bytes))],
]

for (const [what, limit, read] of LIMITS)
  t.test(`${what}: at most ${limit} bytes`, async (t) => {
    const code = (bytes: number) => {
      const outcome = outcomeOf(() => read(bytes))
      return outcome instanceof FormatError ? outcome.code : String(outcome)
    }
    t.equal(code(limit + 8), 'too-large')
    t.not(code(limit - 8), 'too-large', 'it is that limit, and no smaller one')
  })

t.test('what has one length has no other', async (t) => {
  for (const [parse, length] of [
    [parseSnpReport, SNP_REPORT_BYTES],
    [parseIdBlock, ID_BLOCK_BYTES],
    [parseIdAuthentication, ID_AUTH_BYTES],
  ] as const)
    for (const bytes of [length - 1, length + 1])
      t.ok(outcomeOf(() => parse(Buffer.alloc(bytes))) instanceof FormatError, `${parse.name}: ${bytes}`)
  t.match(
    outcomeOf(() => parseTpm2bPublic(Buffer.alloc(4099, 0x10))),
    { field: 'publicArea.size' },
  )
})

t.test('a policy of more than 1 MiB, or nested without end, is refused with its place', async (t) => {
  const refuses = (text: string, message: RegExp) => {
    const error = outcomeOf(() => parsePolicy(text, { file: 'policy.yaml' }))
    t.ok(error instanceof UsageError && error.code === 'bad-config', String(error).slice(0, 80))
    t.match(error, { message })
  }
  refuses(`# ${'x'.repeat(MIB)}\nsnp: {}\n`, /^policy[.]yaml:1:1: a policy of 104858\d bytes/)
  const wide = `# ${'\u20ac'.repeat(MIB / 3)}\nsnp: {}\n`
  t.ok(wide.length < MIB)
  refuses(wide, /a policy of 104858\d bytes is not read, at most 1048576 are/)
  refuses('['.repeat(20_000), /^policy[.]yaml:1:\d+: /)
})

t.test('a file above every limit is a finding, not a crash', async (t) => {
  const evidence = Buffer.alloc(32 * MIB + 1)
  const { authentic, findings } = await verifyEvidence({ ...snpRequest(), evidence })
  t.match({ authentic, findings }, { authentic: false, findings: [{ code: 'too-large' }] })
})
