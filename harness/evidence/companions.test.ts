/** What comes beside evidence: lists, several quotes, an AK's certificate, an SVSM's manifest, an ID block; or does not. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { digest } from '../base/digest.ts'
import { FormatError } from '../base/errors.ts'
import { outcomeOf } from '../base/testing/rejects.ts'
import { syntheticLog } from '../formats/event-log/testing/synthetic-log.ts'
import { encodeIdAuthentication, encodeIdBlock } from '../formats/snp/id-block.ts'
import { parseSnpReport, SNP_REPORT_BYTES } from '../formats/snp/report.ts'
import { publicKeyObject } from '../formats/tpm2/public.ts'
import { parseCertificate } from '../formats/x509.ts'
import type { ResolvedPolicy } from './policy/resolve.ts'
import type { VerifyRequest } from './request.ts'
import { appraiseSnpReport } from './snp/appraise.ts'
import { parseSnpEvidence } from './snp/parse.ts'
import { verifySnpReport } from './snp/verify.ts'
import { appraiseTdxQuote } from './tdx/appraise.ts'
import { verifyTdxQuote } from './tdx/verify.ts'
import {
  emulatedAkArea,
  logRequest,
  quoteFile,
  snpRequest,
  tdxRequest,
  tpmRequest,
} from './testing/emulated-requests.ts'
import { bytes, finds, hex } from './testing/finds.ts'
import { honest } from './testing/honest-log.ts'
import { idBlockCase } from './testing/id-block.ts'
import { ukiBoot } from './testing/measured-boot.ts'
import {
  authority,
  commonNameOf,
  ecKeyPair,
  makeCertificate,
  makeCrl,
  publicKeyInfo,
  purposes,
} from './testing/pki.ts'
import { SnpSignerEmulation } from './testing/snp-signer.ts'
import { makeEk } from './testing/software-tpm.ts'
import { SIMULATED_TIME } from './testing/tdx-collateral.ts'
import { makeTdxPki } from './testing/tdx-pki.ts'
import { makeTdxQuote } from './testing/tdx-quote.ts'
import { verifyEvidence } from './verify-evidence.ts'

const codesOf = async (request: VerifyRequest) =>
  (await verifyEvidence(request)).findings.map(({ code }) => code)
const stranger = ecKeyPair('P-384')
const strange = makeCrl({ issuer: commonNameOf('somebody else'), signer: stranger })

t.test('crl-unused: a list that was given is of no issuer in the chain', async (t) => {
  await finds(t, snpRequest({ more: { crls: [strange] } }), 'crl-unused')
  await finds(t, tdxRequest({ more: { crls: [strange] } }), 'crl-unused')
  const { certificates } = snpRequest()
  const notAList = certificates.slice(0, 1)
  await finds(t, snpRequest({ more: { crls: notAList } }), 'crl-unused')
  const found = { certificates: [], crls: [strange], collateral: [] }
  await finds(t, snpRequest({ more: { found } }))
})

t.test('evidence-missing: a policy has rules for evidence that was not there', async (t) => {
  const secureBoot = { eventLog: { secureBoot: 'on' } } as const
  const claims = { hcl: { vmConfiguration: { 'secure-boot': true } } }
  const rules: ResolvedPolicy = { snp: {}, tpm: { clockSafe: 'required' }, ...secureBoot, ...claims }
  const missing = ['evidence-missing', 'evidence-missing', 'evidence-missing'] as const
  await finds(t, snpRequest({ policy: rules }), ...missing)
  await finds(t, tdxRequest({ policy: { ...rules, tdx: {} } }), ...missing)
  await finds(t, snpRequest({ policy: { snp: {}, tdx: { fmspcs: [hex(1, 6)] } } }))
  await finds(t, tpmRequest({ policy: { tpm: {}, snp: { vmpls: [0] } } }), 'evidence-missing')
  const log = { events: ukiBoot('pcr') }
  await finds(t, logRequest({ ...log, policy: { eventLog: {}, tpm: { clockSafe: 'required' } } }))
  await finds(t, logRequest({ ...log, policy: { eventLog: {}, ...claims } }), 'evidence-missing')
  await finds(t, snpRequest({ policy: { snp: {}, tpm: {}, hcl: {}, eventLog: {} } }), ...[])
})

t.test(
  'evidence-missing: a TD stands for a guest of SNP only where the policy has rules for TDs',
  async (t) => {
    const { values } = honest(ukiBoot('rtmr'), { registers: 'rtmr' })
    const rtmrs = [0, 1, 2, 3].map((index) => values.get(index) ?? bytes(0, 48))
    const td = tdxRequest({ quote: { body: { rtmrs } } })
    const { simulatedRoots } = td.policy
    const log = (policy: ResolvedPolicy): VerifyRequest => ({
      ...{ ...td, policy: { eventLog: {}, simulatedRoots, ...policy } },
      ...{ evidence: syntheticLog(ukiBoot('rtmr'), { banks: ['sha384'] }), quotes: [td.evidence] },
    })
    const snp = { launchDigests: [hex(1, 48)] }
    await finds(t, log({}))
    await finds(t, log({ snp }), 'evidence-missing')
    await finds(t, log({ snp, tdx: {} }))
  },
)

t.test('quotes-inconsistent: quotes given together are of different states', async (t) => {
  const events = ukiBoot('pcr')
  const { quotes } = logRequest({ events })
  const together = (second: Parameters<typeof quoteFile>[0]) =>
    logRequest({ events, more: { quotes: [...quotes, quoteFile(second)] } })
  await finds(t, together({ pcrs: new Map([[23, bytes(0, 32)]]) }))
  await finds(t, together({ pcrs: new Map([[23, bytes(0, 32)]]), resetCount: 9 }), 'quotes-inconsistent')
  await finds(t, together({ pcrs: new Map([[23, bytes(0, 32)]]), nonce: bytes(1, 8) }), 'quotes-inconsistent')
  t.ok((await codesOf(together({ pcrs: new Map([[14, bytes(5, 32)]]) }))).length > 0, 'another PCR 14')
  await finds(t, together({ pcrs: new Map([[23, bytes(5, 32)]]) }), 'quotes-inconsistent')
})

t.test('endorsement-missing: a quote was given without its signature', async (t) => {
  const events = ukiBoot('pcr')
  const { quotes } = logRequest({ events })
  const bare = Buffer.from(JSON.parse(quoteFile().toString()).message, 'hex')
  for (const given of [[bare], [...quotes, bare], [bare, ...quotes]]) {
    const { findings } = await verifyEvidence(logRequest({ events, more: { quotes: given } }))
    t.match(findings, [{ code: 'endorsement-missing', message: /its signature is missing/ }])
  }
})

const ROOT = commonNameOf('TPM root')
const rootKey = ecKeyPair('P-384')
const common = { issuer: ROOT, signer: rootKey }
const root = makeCertificate({
  ...common,
  subject: ROOT,
  publicKey: publicKeyInfo(rootKey),
  extensions: [authority()],
})
const akCertificate = (purpose = '2.23.133.8.3') =>
  makeCertificate({
    ...{ ...common, subject: commonNameOf('vTPM'), serial: 7, extensions: [purposes(purpose)] },
    publicKey: publicKeyInfo({ publicKey: publicKeyObject(emulatedAkArea()) }),
  })

t.test('an AK counts where an authority of the caller certified it', async (t) => {
  const request = (more: Partial<VerifyRequest> = {}, policy: ResolvedPolicy = { tpm: {} }) =>
    tpmRequest({ policy, more: { ak: akCertificate(), akRoots: [root], ...more } })
  await finds(t, request())
  t.match(
    (await verifyEvidence(request())).page.vouchedBy[0]?.text,
    /certified as a TPM's attestation key signed/,
  )
  await finds(t, request({ crls: [strange] }), 'crl-unused')
  await finds(t, request({}, { tpm: {}, revocation: 'required' }), 'revocation-unchecked')
  const current = makeCrl(common)
  await finds(t, request({ crls: [current] }, { tpm: {}, revocation: 'required' }))
  t.same(await codesOf(request({ ak: akCertificate('2.23.133.8.1') })), ['bad-certificate'], "an EK's")
  t.same(await codesOf(request({ ak: tpmRequest().ak })), ['truncated'], 'a bare key')
  const other = makeCertificate({
    ...common,
    subject: ROOT,
    signer: stranger,
    publicKey: publicKeyInfo(stranger),
    extensions: [authority()],
  })
  t.same(await codesOf(request({ akRoots: [other] })), ['certificate-signature'], "another's root")
  t.same(await codesOf(request({ akRoots: [] })), ['endorsement-missing'], 'no authority at all')
  const revoked = makeCrl({ ...common, revoked: [{ serial: 7 }] })
  t.same(await codesOf(request({ crls: [revoked] })), ['revoked'])
})

t.test("an SVSM's manifest is bound to the report with the nonce", async (t) => {
  const { area } = makeEk({ kind: 'rsa' })
  const nonce = bytes(3, 64)
  const claims = { reportData: digest('sha512', nonce, area.bytes) }
  const request = (more: Partial<VerifyRequest>, vmpl = 0) =>
    snpRequest({
      claims: { ...claims, vmpl },
      policy: { snp: {}, freshness: { nonce: 'required' } },
      more: { svsmManifest: area.bytes, nonce, ...more },
    })
  await finds(t, request({}))
  const { fields } = await verifyEvidence(request({}))
  t.equal(fields['svsm_vtpm_ek'], Buffer.from(area.bytes).toString('hex'))
  t.same(await codesOf(request({ nonce: bytes(4, 64) })), ['binding-mismatch'])
  t.same(await codesOf(request({ nonce: undefined })), ['binding-mismatch'])
  t.same(await codesOf(request({}, 1)), ['binding-mismatch'], 'the guest asked for the report')
  t.same(await codesOf(request({ svsmManifest: area.bytes.subarray(1) })), ['binding-mismatch'])
})

t.test('an ID block counts with its authentication, as bytes or in base64', async (t) => {
  const { block, authentication, claims } = idBlockCase()
  const idBlock = encodeIdBlock(block)
  const idAuth = encodeIdAuthentication(authentication)
  const request = (more: Partial<VerifyRequest>) => snpRequest({ claims, more: { idBlock, idAuth, ...more } })
  await finds(t, request({}))
  const base64 = (file: Buffer) => Buffer.from(`${file.toString('base64')}\n`)
  await finds(t, request({ idBlock: base64(idBlock), idAuth: base64(idAuth) }))
  t.same(await codesOf(request({ idAuth: undefined })), ['endorsement-missing'])
  t.same(await codesOf(request({ idBlock: undefined })), ['endorsement-missing'])
  const another = encodeIdBlock({ ...block, guestSvn: 9 })
  t.same(await codesOf(request({ idBlock: another })), ['id-block-signature'])
  t.same(await codesOf({ ...request({}), ...snpOf(claims) }), ['binding-mismatch'])
})

/** The same launch with another digest. */
function snpOf(claims: ReturnType<typeof idBlockCase>['claims']): Pick<VerifyRequest, 'evidence'> {
  return { evidence: snpRequest({ claims: { ...claims, measurement: bytes(9, 48) } }).evidence }
}

t.test(
  'simulated-root: what was verified with a root of an emulated TEE, and the policy does not name it',
  async (t) => {
    const simulated = new SnpSignerEmulation()
    const certificates = Object.values(simulated.certificates).map(parseCertificate)
    const at = new Date('2026-01-01T00:00:00Z')
    const report = parseSnpReport(simulated.report())
    const verified = verifySnpReport(report, { certificates, roots: [simulated.root] }, { at })
    const codes = (policy: ResolvedPolicy) =>
      appraiseSnpReport(verified, { policy, at }).map(({ code }) => code)
    t.same(codes({ snp: {} }), ['simulated-root'])
    t.same(codes({ snp: {}, simulatedRoots: [simulated.root.keyId] }), [])
    const pki = makeTdxPki()
    const { root } = pki
    const quote = verifyTdxQuote(makeTdxQuote(pki), undefined, { at: SIMULATED_TIME, root })
    const ofQuote = appraiseTdxQuote(quote, { policy: { tdx: {} }, at: SIMULATED_TIME }).map(
      ({ code }) => code,
    )
    t.ok(ofQuote.includes('simulated-root'))
  },
)

t.test('every code of a break and of a finding is asserted by some test', async (t) => {
  const source = (file: string) => readFileSync(join(import.meta.dirname, file), 'utf8')
  const union = (text: string, name: string) =>
    [...(text.split(`export type ${name} =`)[1]?.split('\n\n')[0] ?? '').matchAll(/'([a-z-]+)'/g)].map(
      ([, code]) => code,
    )
  const codes = [
    ...union(source('../base/errors.ts'), 'VerifyCode'),
    ...union(source('finding.ts'), 'FindingCode'),
  ]
  t.ok(codes.length > 90)
  const files = readdirSync(join(import.meta.dirname, '..'), { recursive: true, encoding: 'utf8' })
  const tests = files
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => source(join('..', file)))
    .join()
  const untested = codes.filter((code) => !tests.includes(`'${code}'`))
  t.same(untested, [])
})

t.test('a report with a certificate table that is cut off anywhere is refused', async (t) => {
  const simulated = new SnpSignerEmulation()
  const extended = Buffer.concat([simulated.report(), simulated.certificateTable()])
  t.equal(parseSnpEvidence(extended).certificates.length, 3)
  const accepted = Array.from({ length: extended.length }, (_, length) => length).filter(
    (length) => !(outcomeOf(() => parseSnpEvidence(extended.subarray(0, length))) instanceof FormatError),
  )
  t.same(accepted, [SNP_REPORT_BYTES], 'the report alone is one, and nothing else')
})
