/** Every mutation of the shared list, through the same function as the command line, with the code that it must have. */
import t from 'tap'
import { parse } from 'yaml'
import { vector, vectorsMissing, vectorText } from '../base/testing/vectors.ts'
import { request, type VectorFiles, verdictOf } from './testing/vector-requests.ts'

interface Mutation {
  readonly target: string
  readonly mutation: string
  readonly expected: string
}

interface Case {
  readonly evidence: string | Uint8Array
  readonly files: VectorFiles
  /** The one code of a refusal; `accept` and `authentic` for what must be no refusal. */
  readonly verdict: string
  /** The same request without the mutation: a case whose control fails proves nothing. */
  readonly control?: { readonly evidence?: string; readonly files?: VectorFiles }
}

const MILAN = 'snp/milan_v3_vcek.report.bin'
const MILAN_FILES = { certs: ['snp/milan_v3_vcek.cert.der', 'snp/certs'], at: '2026-06-01' }
const VLEK = 'snp/milan_v3_vlek.report.bin'
const VLEK_FILES = { certs: ['snp/milan_v3_vlek.cert.der', 'snp/certs'], at: '2025-06-01' }
const TURIN = 'snp/turin_v5_vcek.report.bin'
const TDX = 'tdx/v4_uptodate.quote.bin'
const TDX_FILES = { collateral: ['tdx/v4_uptodate.collateral.json'], at: '2025-07-01' }
const GCE = 'tpm/gce-cos-85-nonce9009.pb'
const nonce = (hex: string) => Buffer.from(hex, 'hex')

function flipped(file: string, at: number): Buffer {
  const bytes = Buffer.from(vector(file))
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes
}

const snp = (evidence: Uint8Array, verdict: string): Case => ({
  ...{ evidence, verdict, files: MILAN_FILES, control: { evidence: MILAN } },
})
const tdx = (evidence: Uint8Array, verdict: string): Case => ({
  ...{ evidence, verdict, files: TDX_FILES, control: { evidence: TDX } },
})

const QE_AUTHENTICATION_DATA = 48 + 584 + 4 + 64 + 64 + 6 + 384 + 64 + 2

/** In the order of negatives.yaml; each is found by its words, so that a change of the list is noticed. */
const CASES: Readonly<Record<string, () => Case>> = {
  'flip bit 0 of byte 0x90 (MEASUREMENT)': () => snp(flipped(MILAN, 0x90), 'report-signature'),
  'flip bit 0 of byte 0x2a0 (signature r)': () => snp(flipped(MILAN, 0x2a0), 'report-signature'),
  'flip bit 0 of byte 0x300 (r padding, bytes 48..71 must be 0)': () =>
    // Byte 0x300 belongs to s, the padding of r begins at 0x2d0: both are tried, see below.
    snp(flipped(MILAN, 0x2d0), 'reserved-bit'),
  'truncate to 1183 bytes': () => snp(vector(MILAN).subarray(0, 1183), 'truncated'),
  'append 1 zero byte': () => snp(Buffer.concat([vector(MILAN), Buffer.alloc(1)]), 'truncated'),
  'mix leaf of another chip/product': () => ({
    evidence: MILAN,
    files: { certs: ['snp/genoa_v3_vcek.cert.der', 'snp/certs'], at: '2026-06-01' },
    verdict: 'product-mismatch',
    control: { files: MILAN_FILES },
  }),
  'use genoa ASK/ARK for the milan leaf': () => ({
    evidence: MILAN,
    files: { certs: ['snp/milan_v3_vcek.cert.der', 'snp/certs/genoa_ask.der', 'snp/certs/genoa_ark.der'] },
    verdict: 'bad-chain',
    control: { files: MILAN_FILES },
  }),
  'use milan ASK instead of ASVK': () => ({
    evidence: VLEK,
    files: { ...VLEK_FILES, certs: ['snp/milan_v3_vlek.cert.der', 'snp/certs/milan_ask.der'] },
    verdict: 'bad-chain',
    control: { files: VLEK_FILES },
  }),
  'VLEK not_after 2025-12-10': () => ({
    evidence: VLEK,
    files: { ...VLEK_FILES, at: '2026-01-01' },
    verdict: 'expired',
    control: { files: VLEK_FILES },
  }),
  'decode TCB with the Milan/Genoa layout': () => ({
    // A report that claims Milan's CPUID has its TCBs read in Milan's layout, where Turin's bytes are reserved.
    evidence: asMilan(TURIN),
    files: { certs: ['snp/turin_v5_vcek.cert.der', 'snp/certs'], at: '2026-06-01' },
    verdict: 'reserved-bit',
    control: { evidence: TURIN },
  }),
  'flip bit 0 of byte 48+136 (MRTD)': () => tdx(flipped(TDX, 48 + 136), 'quote-signature'),
  'flip a bit inside QE authentication data': () => tdx(flipped(TDX, QE_AUTHENTICATION_DATA), 'qe-binding'),
  'drop the trailing 70 zero bytes': () => tdx(vector(TDX).subarray(0, -70), 'accept'),
  'replace header tee_type 0x81 by 0x00': () => tdx(withTeeType(0), 'bad-value'),
  'collateral past nextUpdate': () => ({
    evidence: TDX,
    files: { ...TDX_FILES, at: '2025-08-01' },
    verdict: 'collateral-expired',
    control: { files: TDX_FILES },
  }),
  'FMSPC mismatch': () => ({
    evidence: TDX,
    files: { collateral: ['tdx/collateral_pcs_2026-03/tcb_info_50806f000000.json'], at: '2026-03-20' },
    verdict: 'fmspc-mismatch',
    control: { files: TDX_FILES },
  }),
  're-serialise JSON (whitespace/key order) and verify signature over it': () => ({
    evidence: 'tdx/v5_emr.quote.bin',
    files: {
      ...{ at: '2026-03-20', collateral: ['tdx/collateral_pcs_2026-03/tcb_signing_chain.pem'] },
      collateralBytes: [reserialised('tdx/collateral_pcs_2026-03/tcb_info_90c06f000000.json')],
    },
    verdict: 'collateral-signature',
    control: {
      files: {
        at: '2026-03-20',
        collateral: ['tcb_signing_chain.pem', 'tcb_info_90c06f000000.json'].map(
          (name) => `tdx/collateral_pcs_2026-03/${name}`,
        ),
      },
    },
  }),
  'as is (root)': () => ({
    ...{ evidence: 'tdx/v4_untrusted_root.quote.bin', files: {}, verdict: 'unknown-root' },
  }),
  'as is (log)': () => ({
    evidence: 'eventlog/ccel_live.bin',
    files: { quotes: ['tdx/v4_live_ccel.quote.bin'] },
    verdict: 'replay-mismatch',
    control: { evidence: 'eventlog/ccel_live2.bin' },
  }),
  'expect nonce 0x9008': () => ({
    evidence: GCE,
    files: { ak: GCE, nonce: nonce('9008') },
    verdict: 'nonce-mismatch',
    control: { files: { ak: GCE, nonce: nonce('9009') } },
  }),
}

/** No quote covers this log; harness/evidence/event-log/ has both with registers made for it. */
const OTHERS: Readonly<Record<string, string>> = {
  'swap two events of PCR4': 'event-log/vectors.test.ts: no quote for this log is among the vectors',
  'change event data but keep digest (type EV_SEPARATOR)': 'event-log/vectors.test.ts: the same',
  'flip one byte in .initrd': 'the file is not among the vectors; measure predicts PCR 4 and 11',
  'flip one byte of the optional header CheckSum':
    'the file is not among the vectors; formats/pe has Authenticode',
}

function asMilan(file: string): Buffer {
  const bytes = Buffer.from(vector(file))
  bytes.set([0x19, 0x01], 0x188)
  return bytes
}

function withTeeType(type: number): Buffer {
  const bytes = Buffer.from(vector(TDX))
  bytes.writeUInt32LE(type, 4)
  return bytes
}

function reserialised(file: string): Buffer {
  return Buffer.from(JSON.stringify(JSON.parse(vectorText(file)), null, 1))
}

const mutations: readonly Mutation[] = vectorsMissing ? [] : parse(vectorText('negatives.yaml')).mutations

function nameOf({ target, mutation }: Mutation): string {
  if (mutation !== 'as is') return mutation
  return target.startsWith('eventlog') ? 'as is (log)' : 'as is (root)'
}

t.test('every mutation of the list is tried or has a reason', { skip: vectorsMissing }, async (t) => {
  const names = mutations.map(nameOf)
  t.same(
    names.filter((name) => !(name in CASES) && !(name in OTHERS)),
    [],
  )
  t.same(
    [...Object.keys(CASES), ...Object.keys(OTHERS)].filter((name) => !names.includes(name)),
    [],
  )
})

for (const mutation of mutations) {
  const name = nameOf(mutation)
  const make = CASES[name]
  if (!make) continue
  t.test(`${mutation.target}: ${name}`, async (t) => {
    const { evidence, files, verdict, control } = make()
    const got = await verdictOf(request(evidence, files))
    if (verdict === 'accept') t.match(got, { authentic: true, acceptable: true })
    else t.match(got, { authentic: false, acceptable: false, findings: [{ code: verdict }] })
    if (!control) return
    const before = typeof evidence === 'string' ? evidence : ''
    const unchanged = await verdictOf(request(control.evidence ?? before, control.files ?? files))
    t.equal(unchanged.authentic, true, `the control: ${JSON.stringify(unchanged.findings)}`)
  })
}

t.test('padding of both components of the signature must be zero', { skip: vectorsMissing }, async (t) => {
  for (const at of [0x2d0, 0x2e7, 0x318, 0x32f, 0x330, 0x49f])
    t.match(await verdictOf(request(flipped(MILAN, at), MILAN_FILES)), {
      findings: [{ code: 'reserved-bit' }],
    })
  const s = await verdictOf(request(flipped(MILAN, 0x300), MILAN_FILES))
  t.match(s, { authentic: false }, 'byte 0x300 belongs to s')
})
