/** Telling the kind of a file must not cost more than reading it; and text that stands for bytes is the same evidence. */
import fc from 'fast-check'
import t from 'tap'
import { outcomeOf, refusesToParse } from '../base/testing/rejects.ts'
import { vector, vectorsMissing } from '../base/testing/vectors.ts'
import { syntheticLog } from '../formats/event-log/testing/synthetic-log.ts'
import { encodePem } from '../formats/pem.ts'
import { CERTIFICATE_GUIDS } from '../formats/snp/certificate-table.ts'
import { encodeIdAuthentication, encodeIdBlock } from '../formats/snp/id-block.ts'
import { parseSnpReport, type SnpReport } from '../formats/snp/report.ts'
import type { SnpTcb } from '../formats/snp/tcb.ts'
import type { VerifyRequest } from './request.ts'
import { parseSnpEvidence } from './snp/parse.ts'
import { logRequest, snpRequest, tdxRequest } from './testing/emulated-requests.ts'
import { honest } from './testing/honest-log.ts'
import { idBlockCase } from './testing/id-block.ts'
import { ukiBoot } from './testing/measured-boot.ts'
import { SnpSignerEmulation } from './testing/snp-signer.ts'
import { request } from './testing/vector-requests.ts'
import { plainBytes } from './text-forms.ts'
import { unwrap } from './unwrap.ts'
import { verifyEvidence } from './verify-evidence.ts'

const of = (text: string) => unwrap({ evidence: Buffer.from(text), kind: 'tdx-quote' })

t.test(
  'a quote in JSON is hex or base64, in a document of limited size and depth, without a key twice',
  async (t) => {
    t.same(of(' {"quote":"04Ff","event_log":"[]"}').bytes, Buffer.from('04ff', 'hex'))
    t.same(of('{"quote":"BP8=","cc_eventlog":null}').bytes, Buffer.from('04ff', 'hex'))
    const refuses = (text: string, expected: Parameters<typeof refusesToParse>[2]) =>
      refusesToParse(t, () => of(text), expected, text.slice(0, 40))
    refuses(`{"quote":${'['.repeat(20)}`, { code: 'too-large' })
    refuses(`{"quote":"${'00'.repeat(2 * 1024 * 1024)}"}`, { code: 'too-large' })
    refuses('{"quote":"04","quote":"05"}', { code: 'bad-value' })
    for (const text of [
      '{"quote":"040!"}',
      '{"quote":4}',
      '{"quote":"!"}',
      '{"quote":',
      '{}',
      '{"a":{"quote":"04"}}',
    ])
      refuses(text, { code: 'bad-value' })
  },
)

t.test('hex and base64 of any length are the bytes that they stand for', async (t) => {
  const bytes = fc.uint8Array({ minLength: 48, maxLength: 300 })
  const lines = (text: string) => `${text.replaceAll(/(.{64})/g, '$1\n')}\n`
  fc.assert(
    fc.property(bytes, (each) => {
      const data = Buffer.from(each)
      const hex = data.toString('hex')
      const forms = [hex, `0x${hex.toUpperCase()}`, data.toString('base64'), data.toString('base64url')]
      return forms
        .flatMap((form) => [form, lines(form)])
        .every((form) => Buffer.from(plainBytes(Buffer.from(form))).equals(data))
    }),
    { numRuns: 50 },
  )
  const asTheyAre = [
    '',
    'AAAA',
    '00'.repeat(31),
    `${'A'.repeat(64)}?`,
    `${'A'.repeat(65)}`,
    `{${'0'.repeat(80)}}`,
  ]
  for (const text of asTheyAre)
    t.equal(plainBytes(Buffer.from(text)).toString(), Buffer.from(text).toString(), text)
})

t.test('a report and a quote are the same evidence in hex and in base64', async (t) => {
  for (const made of [snpRequest(), tdxRequest()])
    for (const form of ['hex', 'base64'] as const) {
      const evidence = Buffer.from(Buffer.from(made.evidence).toString(form))
      t.match(await verifyEvidence({ ...made, evidence }), { authentic: true, acceptable: true }, form)
    }
})

t.test(
  'text is taken for bytes once: hex of base64 is no evidence, whatever the kind is said to be',
  async (t) => {
    const log = logRequest({ events: ukiBoot('pcr') })
    const [quote = Buffer.alloc(0)] = log.quotes
    const pieces = [
      ['event-log', log],
      ['tpm-quote', { ...log, evidence: quote, quotes: [] }],
    ] as const
    for (const [kind, made] of pieces) {
      const once = Buffer.from(Buffer.from(made.evidence).toString('base64'))
      const twice = Buffer.from(once.toString('hex'))
      t.match(
        await verifyEvidence({ ...made, kind, evidence: once }),
        { authentic: true },
        `${kind}, control`,
      )
      t.match(await verifyEvidence({ ...made, kind, evidence: twice }), { authentic: false }, kind)
    }
  },
)

t.test('what is no evidence is told from it, and where it belongs', async (t) => {
  const refuses = (evidence: Buffer, message: RegExp) =>
    t.match(
      outcomeOf(() => unwrap({ evidence })),
      { code: 'bad-magic', message },
    )
  // A multiple of three bytes has no padding: as text it could pass for base64.
  refuses(Buffer.from(encodePem('PUBLIC KEY', Buffer.alloc(120, 7)).repeat(2)), /--certs/)
  refuses(Buffer.concat([Buffer.from('CCEL'), Buffer.alloc(52)]), /tables\/data\/CCEL/)
})

t.test('zeros are no event log, and no other evidence', async (t) => {
  refusesToParse(t, () => unwrap({ evidence: Buffer.alloc(64) }), { code: 'bad-magic' })
})

// --- SNP reports in JSON ---

const numbers = (bytes: Uint8Array) => [...bytes]
const tcb = ({
  fmc = null,
  bootloader,
  tee,
  snp,
  microcode,
}: Omit<SnpTcb, 'fmc'> & { fmc?: number | null }) => ({
  ...{ fmc, bootloader, tee, snp, microcode },
})
const RAW = '(raw)'

/** As serde writes the structures of the `sev` crate; numbers of 64 bits by their digits, as JavaScript could not. */
function jsonOf(report: SnpReport, change: Record<string, unknown> = {}): string {
  const raw = Buffer.from(report.raw)
  const fields = {
    ...{ version: report.version, guest_svn: report.guestSvn, policy: `${RAW}${report.policy.raw}` },
    ...{ family_id: numbers(report.familyId), image_id: numbers(report.imageId) },
    ...{ vmpl: report.vmpl, sig_algo: 1, current_tcb: tcb(report.currentTcb) },
    ...{ plat_info: `${RAW}${report.platformInfo.raw}`, key_info: report.keyInfo.raw },
    ...{ report_data: numbers(report.reportData), measurement: numbers(report.measurement) },
    ...{ host_data: numbers(report.hostData), id_key_digest: numbers(report.idKeyDigest) },
    ...{ author_key_digest: numbers(report.authorKeyDigest), report_id: numbers(report.reportId) },
    ...{ report_id_ma: numbers(report.reportIdMa), reported_tcb: tcb(report.reportedTcb) },
    cpuid_fam_id: report.cpuid?.family ?? null,
    cpuid_mod_id: report.cpuid?.model ?? null,
    cpuid_step: report.cpuid?.stepping ?? null,
    ...{ chip_id: numbers(report.chipId), committed_tcb: tcb(report.committedTcb) },
    ...{ current: report.currentFirmware, committed: report.committedFirmware },
    launch_tcb: tcb(report.launchTcb),
    launch_mit_vector: report.launchMitigations === undefined ? null : `${RAW}${report.launchMitigations}`,
    current_mit_vector: report.currentMitigations === undefined ? null : `${RAW}${report.currentMitigations}`,
    signature: { r: numbers(raw.subarray(0x2a0, 0x2e8)), s: numbers(raw.subarray(0x2e8, 0x330)) },
    ...change,
  }
  return JSON.stringify(fields).replaceAll(/"\(raw\)(\d+)"/g, '$1')
}

const documentOf = (report: string, chain: unknown = null): Buffer =>
  Buffer.from(`{"attestation_report":${report},"cert_chain":${JSON.stringify(chain)}}`)

t.test('a report in JSON is put together again, byte by byte, in every version and layout', async (t) => {
  const claims = { launchMitigations: 2n ** 64n - 1n, currentMitigations: 2n ** 53n + 1n }
  const reports = [
    ...([2, 3] as const).map((version) => snpRequest({ claims: { version } }).evidence),
    snpRequest({ claims: { version: 5, ...claims } }).evidence,
    snpRequest({ platform: { product: 'turin' }, claims: { version: 5 } }).evidence,
  ]
  for (const report of reports) {
    const { kind, bytes } = unwrap({ evidence: documentOf(jsonOf(parseSnpReport(report))) })
    t.equal(kind, 'snp-report')
    t.same(Buffer.from(bytes), Buffer.from(report))
  }
})

t.test(
  "a report in JSON brings its certificates, and is believed for the signature's sake alone",
  async (t) => {
    const processor = new SnpSignerEmulation()
    const { root, intermediate, leaf } = processor.certificates
    const chain = [
      { cert_type: 'VCEK', data: numbers(leaf) },
      { cert_type: 'ASK', data: numbers(intermediate) },
      { cert_type: { OTHER: '00000000-0000-0000-0000-000000000001' }, data: [1] },
      { cert_type: 'Empty', data: [] },
    ]
    const report = parseSnpReport(processor.report())
    const verdict = (change: Record<string, unknown>) =>
      verifyEvidence(
        snpRequest({
          policy: { snp: {}, simulatedRoots: [processor.root.keyId] },
          more: { evidence: documentOf(jsonOf(report, change), chain), certificates: [root] },
        }),
      )
    t.match(await verdict({}), { kind: 'snp-report', authentic: true, acceptable: true })
    const { table } = parseSnpEvidence(unwrap({ evidence: documentOf(jsonOf(report), chain) }).bytes)
    t.same(
      table.map(({ guid }) => guid),
      [CERTIFICATE_GUIDS.vcek, CERTIFICATE_GUIDS.ask],
    )
    for (const change of [{ guest_svn: 1 }, { chip_id: null }, { measurement: numbers(Buffer.alloc(48, 1)) }])
      t.match(await verdict(change), { authentic: false, findings: [{ code: 'report-signature' }] })
  },
)

t.test('what is no report in JSON is refused with its field and where it stands', async (t) => {
  const report = parseSnpReport(snpRequest().evidence)
  const refuses = (evidence: Buffer, expected: Parameters<typeof refusesToParse>[2], name: string) =>
    refusesToParse(t, () => unwrap({ evidence }), expected, name)
  const cases: [string, unknown, number][] = [
    ['version', '3', 0],
    ['version', -1, 0],
    ['version', 2 ** 32, 0],
    ['policy', 1.5, 8],
    ['report_data', [1, 2], 0x50],
    ['report_data', Array.from({ length: 64 }, () => 256), 0x50],
    ['report_data', 'AA==', 0x50],
    ['current_tcb', [1], 0x38],
    ['current', 5, 0x1e8],
    ['cpuid_step', 256, 0x18a],
    ['signature', [], 0x2a0],
  ]
  for (const [field, value, offset] of cases)
    refuses(
      documentOf(jsonOf(report, { [field]: value })),
      { code: 'bad-value', field, offset },
      `${field} ${value}`,
    )
  const parts = { fmc: null, bootloader: 1, tee: 2, snp: 3 }
  const short = documentOf(jsonOf(report, { launch_tcb: parts }))
  refuses(short, { field: 'launch_tcb.microcode', offset: 0x1f0 }, 'a component is missing')
  const chains: [unknown, Parameters<typeof refusesToParse>[2]][] = [
    ['x', { field: 'cert_chain' }],
    [[1], { field: 'cert_chain' }],
    [[{ cert_type: 'VCEK', data: 'x' }], { field: 'cert_chain.data' }],
    [Array.from({ length: 17 }, () => ({})), { code: 'too-large' }],
  ]
  for (const [chain, expected] of chains)
    refuses(documentOf(jsonOf(report), chain), expected, JSON.stringify(chain).slice(0, 40))
  for (const text of [
    '{"attestation_report":5}',
    '{"attestation_report":{}}',
    '{"attestation_report":',
    '{"a":{"attestation_report":{}}}',
  ])
    refuses(Buffer.from(text), { code: 'bad-value' }, text)
  refuses(Buffer.from(`{"attestation_report":${'['.repeat(20)}`), { code: 'too-large' }, 'depth')
})

t.test("Trustee's sample of an SNP report is Genoa's, and authentic", { skip: vectorsMissing }, async (t) => {
  const files = { certs: ['snp/certs/genoa_ask.der'], policy: { snp: {} } }
  const document = vector('kbs/evidence.json')
  t.match(await verifyEvidence(request(document, files)), {
    ...{ kind: 'snp-report', authentic: true, acceptable: true, fields: { version: 3, policy: '0x30000' } },
  })
  const { findings } = await verifyEvidence(
    request(document, { ...files, certs: ['snp/certs/milan_ask.der'] }),
  )
  t.match(findings, [{ code: 'bad-chain' }])
})

t.test("an Azure host's answer to a guest is read as certificates", async (t) => {
  const made = snpRequest()
  const [root = new Uint8Array(), ask, leaf] = made.certificates.map((each) => Buffer.from(each))
  const pem = (bytes = Buffer.alloc(0)) =>
    `-----BEGIN CERTIFICATE-----\n${bytes.toString('base64')}\n-----END CERTIFICATE-----\n`
  const thim = (members: object) => [root, Buffer.from(JSON.stringify(members))]
  const answer = { vcekCert: pem(leaf), tcbm: '03', certificateChain: pem(ask), cacheControl: '86400' }
  t.match(await verifyEvidence({ ...made, certificates: thim(answer) }), { acceptable: true })
  for (const members of [{}, { certificateChain: pem(ask) }])
    t.match(await verifyEvidence({ ...made, certificates: thim(members) }), { authentic: false })
  // An object without a text of its own is no TypeError.
  for (const vcekCert of [5, [pem(leaf)], { toString: 1 }])
    t.match(await verifyEvidence({ ...made, certificates: thim({ vcekCert, certificateChain: null }) }), {
      findings: [{ code: 'bad-value', expected: 'a well-formed vcekCert' }],
    })
})

t.test('what comes beside evidence may be hex or base64 too', async (t) => {
  const text = (form: 'hex' | 'base64') => (each: Uint8Array) => Buffer.from(Buffer.from(each).toString(form))
  const log = logRequest({ events: ukiBoot('pcr') })
  const { values } = honest(ukiBoot('rtmr'), { registers: 'rtmr' })
  const rtmrs = [0, 1, 2, 3].map((index) => values.get(index) ?? Buffer.alloc(48))
  const td = tdxRequest({ quote: { body: { rtmrs } }, policy: { tdx: {}, eventLog: {} } })
  const ofTd = { ...td, evidence: syntheticLog(ukiBoot('rtmr'), { banks: ['sha384'] }) }
  const { block, authentication, claims } = idBlockCase()
  const snp = snpRequest({ claims })
  for (const form of ['hex', 'base64'] as const) {
    const as = text(form)
    const believed = (request: VerifyRequest, what: string) =>
      verifyEvidence(request).then((verdict) => t.match(verdict, { authentic: true }, `${what} in ${form}`))
    await believed({ ...log, ak: as(log.ak ?? Buffer.alloc(0)), quotes: log.quotes.map(as) }, 'AK, quote')
    const member = Buffer.from(JSON.stringify({ quote: as(td.evidence).toString() }))
    for (const quotes of [[as(td.evidence)], [member]]) await believed({ ...ofTd, quotes }, 'TD quote')
    await believed({ ...snp, certificates: snp.certificates.map(as) }, 'certificates')
    const [idBlock, idAuth] = [as(encodeIdBlock(block)), as(encodeIdAuthentication(authentication))]
    await believed({ ...snp, idBlock, idAuth }, 'ID block')
  }
})
