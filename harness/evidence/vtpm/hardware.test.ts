/** From a pinned vendor root to a PCR: hardware report, the vTPM's key in it, the quote by that key. */
import t from 'tap'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { parseHclReport } from '../../formats/hcl-report.ts'
import { parseCertificates } from '../../formats/pem.ts'
import { parseSnpReport } from '../../formats/snp/report.ts'
import { parseCertificate } from '../../formats/x509.ts'
import { verifySnpReport } from '../snp/verify.ts'
import { verifyTdxQuote } from '../tdx/verify.ts'
import { verifyTpmQuote } from '../tpm/quote.ts'
import { parseAzureEvidence } from './azure-evidence.ts'
import { verifyHclEndorsement } from './hcl.ts'

const SKIP = { skip: vectorsMissing }
const NONCE = Buffer.from('challenge')
const milan = ['ask', 'ark'].map(
  (name) => vectorsMissing || parseCertificate(vector(`snp/certs/milan_${name}.der`)),
)
const authorities = milan.filter((each) => typeof each === 'object')

t.test("Azure on SNP: AMD's root, the report, the vTPM's AK, the PCRs", SKIP, async (t) => {
  const at = new Date('2025-06-01T00:00:00Z')
  for (const version of ['v0', 'v1']) {
    const evidence = parseAzureEvidence(vectorText(`azure/az-snp-vtpm_evidence-${version}.json`))
    const { hcl, quote, vcek = Buffer.alloc(0) } = evidence
    const endorsements = { certificates: [...parseCertificates(vcek), ...authorities] }
    const { report } = verifySnpReport(parseSnpReport(hcl.hardwareReport), endorsements, { at })
    const { ak } = verifyHclEndorsement(hcl, { kind: 'snp', ...report })
    t.equal(verifyTpmQuote(quote, ak, { nonce: NONCE }).pcrs[0]?.values.size, 24, version)
    const forged = Buffer.from(hcl.hardwareReport)
    forged[0x50] = (forged[0x50] ?? 0) ^ 1
    refusesToVerify(
      t,
      () => verifySnpReport(parseSnpReport(forged), endorsements, { at }),
      'report-signature',
    )
  }
})

t.test('an HCL report of Azure’s is signed by its own chip, and by no other', SKIP, async (t) => {
  const at = new Date('2024-06-01T00:00:00Z')
  const certificates = (file: string) => [...parseCertificates(vector(file)), ...authorities]
  const trustee = parseHclReport(vector('azure/hcl_snp_trustee.bin'))
  const own = { certificates: certificates('azure/az-snp-vtpm_vcek.pem') }
  const { report } = verifySnpReport(parseSnpReport(trustee.hardwareReport), own, { at })
  t.equal(verifyHclEndorsement(trustee, { kind: 'snp', ...report }).hardware, 'snp')
  // The index says so: kinvolk's report and certificates are of different captures.
  const kinvolk = parseHclReport(vector('azure/hcl_snp_kinvolk.bin'))
  const others = { certificates: certificates('azure/kinvolk_certs.pem') }
  t.throws(() => verifySnpReport(parseSnpReport(kinvolk.hardwareReport), others, { at }), {
    name: 'VerifyError',
  })
})

t.test(
  "Azure on TDX: Intel's root, the quote beside the report, the vTPM's AK, the PCRs",
  SKIP,
  async (t) => {
    const { hcl, quote, tdQuote } = parseAzureEvidence(vectorText('azure/az-tdx-vtpm_evidence-v1.json'))
    const at = new Date('2024-06-01T00:00:00Z')
    const verified = verifyTdxQuote(tdQuote ?? Buffer.alloc(0), undefined, { at })
    const { reportData } = verified.quote.body
    const { ak } = verifyHclEndorsement(hcl, { kind: 'tdx', reportData })
    t.equal(verifyTpmQuote(quote, ak, { nonce: NONCE }).pcrs[0]?.values.size, 24)
    const other = parseHclReport(vector('azure/hcl_tdx_kinvolk.bin'))
    refusesToVerify(t, () => verifyHclEndorsement(other, { kind: 'tdx', reportData }), 'binding-mismatch')
  },
)
