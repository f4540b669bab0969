/** Every SNP vector of `index.yaml`, its fields and its verdict; every SNP rule of `negatives.yaml`. */
import t from 'tap'
import { parse } from 'yaml'
import { VerifyError } from '../../base/errors.ts'
import { outcomeOf, refusesToParse, refusesToVerify, refusesTruncation } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { parseCertificates } from '../../formats/pem.ts'
import { algorithmText } from '../../formats/signature-algorithm.ts'
import { encodeSnpReport } from '../../formats/snp/encode-report.ts'
import { parseSnpReport, type SnpReport } from '../../formats/snp/report.ts'
import { decodeTcb, type SnpTcb } from '../../formats/snp/tcb.ts'
import { type Certificate, commonName, parseCertificate } from '../../formats/x509.ts'
import { isSignedBy } from '../certificates/signature.ts'
import { verifySnpChain } from './chain.ts'
import { readEndorsement } from './endorsement.ts'
import { vcekIdentity } from './leaf.ts'
import { parseSnpEvidence } from './parse.ts'
import { AMD_ROOTS } from './roots.ts'
import { verifySnpReport } from './verify.ts'

interface Vector {
  readonly file: string
  readonly kind: string
  // biome-ignore lint/suspicious/noExplicitAny: a test reads the index as it is
  readonly expected: any
}

/** Every scalar as a string: YAML takes some of the hex for numbers. */
const index: readonly Vector[] = vectorsMissing
  ? []
  : parse(vectorText('index.yaml'), { schema: 'failsafe' }).vectors
const ofKind = (kind: string): readonly Vector[] => index.filter((entry) => entry.kind === kind)
const skip = { skip: vectorsMissing }

const LINES = ['milan', 'genoa', 'turin'] as const
const certificate = (file: string): Certificate => parseCertificate(vector(file))
const authority = (line: string, role: 'ark' | 'ask' | 'asvk'): Certificate =>
  certificate(`snp/certs/${line}_${role}.der`)
/** All of AMD's authorities at once: the right one must be found. */
const authorities = (): Certificate[] =>
  LINES.flatMap((line) => (['ark', 'ask', 'asvk'] as const).map((role) => authority(line, role)))

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const little = (value: bigint | undefined): string => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value ?? 0n)
  return hex(bytes)
}
const firmware = ({ major, minor, build }: SnpReport['currentFirmware']): string =>
  hex(Buffer.from([build, minor, major, 0]))

/** In the words of the index. */
function spelled(report: SnpReport): Record<string, unknown> {
  return {
    version: report.version,
    guest_svn: report.guestSvn,
    policy: `0x${report.policy.raw.toString(16)}`,
    family_id: hex(report.familyId),
    image_id: hex(report.imageId),
    vmpl: report.vmpl,
    sig_algo: 1,
    current_tcb: hex(report.currentTcb.raw),
    platform_info: `0x${report.platformInfo.raw.toString(16)}`,
    key_info: `0x${report.keyInfo.raw.toString(16)}`,
    report_data: hex(report.reportData),
    measurement: hex(report.measurement),
    host_data: hex(report.hostData),
    id_key_digest: hex(report.idKeyDigest),
    author_key_digest: hex(report.authorKeyDigest),
    report_id: hex(report.reportId),
    report_id_ma: hex(report.reportIdMa),
    reported_tcb: hex(report.reportedTcb.raw),
    cpuid_fam: report.cpuid?.family ?? 0,
    cpuid_mod: report.cpuid?.model ?? 0,
    cpuid_step: report.cpuid?.stepping ?? 0,
    chip_id: hex(report.chipId),
    committed_tcb: hex(report.committedTcb.raw),
    current_ver: firmware(report.currentFirmware),
    committed_ver: firmware(report.committedFirmware),
    launch_tcb: hex(report.launchTcb.raw),
    launch_mit_vector: little(report.launchMitigations),
    current_mit_vector: little(report.currentMitigations),
    signing_key: report.keyInfo.signingKey.toUpperCase(),
    author_key_en: Number(report.keyInfo.authorKeyEnabled),
    mask_chip_key: Number(report.keyInfo.maskChipKey),
  }
}

const components = ({ raw: _, ...tcb }: SnpTcb): object =>
  Object.fromEntries(Object.entries(tcb).map(([name, value]) => [name, String(value)]))

/** Within the leaf's validity, as the index has it. */
const timeFor = (leaf: Certificate): Date => new Date(leaf.notBefore.getTime() + 30 * 86_400_000)

t.test(
  'every SNP report of the index has its fields, and is accepted with its leaf certificate',
  skip,
  async (t) => {
    const reports = ofKind('snp-attestation-report')
    t.equal(reports.length, 10)
    for (const { file, expected } of reports) {
      const report = parseSnpReport(vector(file))
      const fields = spelled(report)
      for (const [name, value] of Object.entries(fields))
        t.equal(String(value), expected[name], `${file}: ${name}`)
      t.same(
        components(report.reportedTcb),
        expected.reported_tcb_fields,
        `${file}: components of REPORTED_TCB`,
      )
      t.same(encodeSnpReport(report), vector(file), `${file}: encoded again`)
      const leaf = certificate(expected.leaf_cert)
      const verified = verifySnpReport(
        report,
        { certificates: [...authorities(), leaf] },
        { at: timeFor(leaf) },
      )
      t.equal(expected.verdict, 'accept')
      t.equal(verified.chain.root.product, expected.product, `${file}: product`)
      t.equal(verified.signer.toUpperCase(), expected.signing_key)
      t.equal(verified.chipId, expected.signing_key === 'VLEK' ? 'masked' : 'certified')
      t.ok(
        verifySnpReport(report, verified.chain, { at: timeFor(leaf) }),
        `${file}: with the chain that was verified`,
      )
      refusesTruncation(t, vector(file), parseSnpReport, `${file} cut off`)
    }
  },
)

t.test(
  'every SNP leaf certificate of the index says what the index says, under AMD’s pinned keys',
  skip,
  async (t) => {
    const leaves = ofKind('snp-leaf-cert')
    t.equal(leaves.length, 10)
    for (const { file, expected } of leaves) {
      const leaf = certificate(file)
      t.equal(commonName(leaf.subject), expected.subject_cn, file)
      t.equal(commonName(leaf.issuer), expected.issuer_cn, file)
      t.equal(leaf.notBefore.getTime(), Date.parse(`${expected.not_before.replace(' ', 'T')}Z`), file)
      t.equal(leaf.notAfter.getTime(), Date.parse(`${expected.not_after.replace(' ', 'T')}Z`), file)
      const { endorsement } = verifySnpChain({ leaf, certificates: authorities(), at: timeFor(leaf) })
      const { extensions: wanted } = expected
      t.equal(endorsement.productName, wanted.product_name, file)
      t.equal(endorsement.hwId && hex(endorsement.hwId), wanted.hwid, file)
      t.equal(endorsement.cspId, wanted.csp_id, file)
      const { bootloader, tee, snp, microcode, fmc } = decodeTcb(
        endorsement.tcb,
        wanted.fmcSPL === undefined ? 'milan-genoa' : 'turin',
      )
      t.same(
        [fmc, bootloader, tee, snp, microcode].map((part) => part?.toString()),
        [wanted.fmcSPL, wanted.blSPL, wanted.teeSPL, wanted.snpSPL, wanted.ucodeSPL],
      )
    }
  },
)

t.test('every certificate of AMD’s authorities is signed by the pinned root of its line', skip, async (t) => {
  const files = ofKind('amd-ca-cert')
  t.equal(files.length, 9)
  for (const { file, expected } of files) {
    const subject = certificate(file)
    t.equal(commonName(subject.subject), expected.subject_cn)
    t.equal(commonName(subject.issuer), expected.issuer_cn)
    t.equal(`${algorithmText(subject.signatureAlgorithm)}, RSA-4096`, expected.signature)
    t.equal(subject.notAfter.getTime(), Date.parse(`${expected.not_after.replace(' ', 'T')}Z`))
    const root = AMD_ROOTS.find(({ anchor }) => Buffer.compare(anchor.name, subject.issuer.raw) === 0)
    const { signatureAlgorithm: algorithm, tbs: data, signature } = subject
    t.equal(
      `${root && isSignedBy(root.anchor.publicKey, { algorithm, data, signature })}`,
      expected.signature_ok,
      file,
    )
  }
})

t.test('the pinned roots are those of AMD’s certificates, validity and all', skip, async (t) => {
  for (const { anchor, product } of AMD_ROOTS) {
    const ark = authority(product, 'ark')
    t.same(anchor.publicKey.raw, ark.publicKey.raw, product)
    t.same(anchor.name, ark.subject.raw, product)
    t.same([anchor.notBefore, anchor.notAfter], [ark.notBefore, ark.notAfter], product)
  }
})

t.test('configfs-tsm evidence is verified with the certificates of its auxblob alone', skip, async (t) => {
  const [entry] = ofKind('snp-cert-table')
  const table = vector(entry?.file ?? '')
  const evidence = parseSnpEvidence(vector(entry?.expected.pairs_with), table)
  t.same(
    evidence.table.map(({ guid, offset, bytes }) => ({
      guid,
      offset: String(offset),
      length: String(bytes.length),
    })),
    entry?.expected.entries.map(({ guid_as_BE: guid, offset, length }: Record<string, unknown>) => ({
      guid,
      offset,
      length,
    })),
  )
  const at = new Date('2026-01-01T00:00:00Z')
  t.equal(verifySnpReport(evidence.report, evidence, { at }).chipId, 'certified')
  const extended = parseSnpEvidence(Buffer.concat([vector(entry?.expected.pairs_with), table]))
  t.ok(verifySnpReport(extended.report, extended, { at }), 'as an extended report in one file')
  const both = () => parseSnpEvidence(Buffer.concat([vector(entry?.expected.pairs_with), table]), table)
  refusesToParse(t, both, { code: 'trailing-bytes', offset: 1184 })
})

t.test('certificates that were tampered with are rejected', skip, async (t) => {
  const negatives = ofKind('snp-leaf-cert-negative')
  t.equal(negatives.length, 2)
  for (const { file, expected } of negatives) {
    const leaf = certificate(file)
    t.equal(commonName(leaf.issuer), expected.cert.issuer_cn)
    t.equal(readEndorsement(leaf).productName, expected.cert.extensions.product_name)
    const verify = () =>
      verifySnpReport(
        parseSnpReport(vector(expected.against)),
        { certificates: [...authorities(), leaf] },
        { at: timeFor(leaf) },
      )
    refusesToVerify(t, verify, 'certificate-signature', file)
  }
})

const AT = new Date('2026-07-01T00:00:00Z')
const MILAN = 'snp/milan_v3_vcek'
const changed = (file: string, at: number): Buffer => {
  const bytes = Buffer.from(vector(file))
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes
}

t.test('the SNP rules of negatives.yaml hold', skip, async (t) => {
  const leaf = certificate(`${MILAN}.cert.der`)
  const file = `${MILAN}.report.bin`
  const verify = (bytes: Uint8Array, certificates = [leaf, ...authorities()], at = AT) =>
    verifySnpReport(parseSnpReport(bytes), { certificates }, { at })
  t.ok(verify(vector(file)))
  refusesToVerify(t, () => verify(changed(file, 0x90)), 'report-signature', 'a bit of MEASUREMENT')
  refusesToVerify(t, () => verify(changed(file, 0x2a0)), 'report-signature', 'a bit of r')
  refusesToParse(t, () => verify(changed(file, 0x300 - 0x30)), {
    code: 'reserved-bit',
    field: 'SIGNATURE.R (padding)',
  })
  refusesToParse(t, () => verify(vector(file).subarray(0, 1183)), { code: 'truncated' }, '1183 bytes')
  refusesToParse(t, () => parseSnpEvidence(Buffer.concat([vector(file), Buffer.alloc(1)])), {
    code: 'truncated',
  })
  const genoa = certificate('snp/genoa_v3_vcek.cert.der')
  refusesToVerify(
    t,
    () => verify(vector(file), [genoa, ...authorities()]),
    'product-mismatch',
    'the leaf of another product',
  )
  const strangers = [authority('genoa', 'ask'), authority('genoa', 'ark')]
  refusesToVerify(
    t,
    () => verify(vector(file), [leaf, ...strangers]),
    'bad-chain',
    'the authorities of another product',
  )
  const vlek = certificate('snp/milan_v3_vlek.cert.der')
  const valid = new Date('2025-06-01T00:00:00Z')
  const vlekReport = vector('snp/milan_v3_vlek.report.bin')
  refusesToVerify(
    t,
    () => verify(vlekReport, [vlek, authority('milan', 'ask')], valid),
    'bad-chain',
    'ASK for ASVK',
  )
  t.ok(verify(vlekReport, [vlek, authority('milan', 'asvk')], valid))
  refusesToVerify(
    t,
    () => verify(vlekReport, [vlek, ...authorities()], new Date('2026-01-01')),
    'expired',
    'the VLEK of 2025',
  )
})

t.test('the bit that negatives.yaml names as r’s padding is one of s, and no signature', skip, async (t) => {
  const report = changed(`${MILAN}.report.bin`, 0x300)
  const certificates = [certificate(`${MILAN}.cert.der`), ...authorities()]
  refusesToVerify(
    t,
    () => verifySnpReport(parseSnpReport(report), { certificates }, { at: AT }),
    'report-signature',
  )
})

t.test('Turin’s TCB in the layout of Milan is not the one that is certified', skip, async (t) => {
  const report = parseSnpReport(vector('snp/turin_v5_vcek.report.bin'))
  const { tcb } = readEndorsement(certificate('snp/turin_v5_vcek.cert.der'))
  t.same(report.reportedTcb, decodeTcb(tcb, 'turin'))
  const misread = decodeTcb(report.reportedTcb.raw, 'milan-genoa')
  t.not(misread.snp, report.reportedTcb.snp)
  t.equal(misread.fmc, undefined)
})

t.test('any other leaf of the same product is for another chip, TCB or key', skip, async (t) => {
  const report = parseSnpReport(vector(`${MILAN}.report.bin`))
  const codes = ['milan_v3_dstack', 'milan_v3_oak_rk'].map((name) => {
    const certificates = [certificate(`snp/${name}.cert.der`), ...authorities()]
    const outcome = outcomeOf(() => verifySnpReport(report, { certificates }, { at: AT }))
    return outcome instanceof VerifyError ? outcome.code : String(outcome)
  })
  t.same(codes, ['tcb-mismatch', 'chip-mismatch'])
})

t.test('chains with PEM bundles as AMD’s service and clouds hand them out', skip, async (t) => {
  const bundle = parseCertificates(vector('azure/az-snp-vtpm_vcek.pem'))
  const [leaf] = bundle
  t.ok(leaf && verifySnpChain({ leaf, certificates: bundle, at: timeFor(leaf) }))
})

t.test('what tells certificates apart at AMD’s service comes from the report', skip, async (t) => {
  const identity = (name: string) => vcekIdentity(parseSnpReport(vector(`snp/${name}.report.bin`)))
  const turin = identity('turin_v5_vcek')
  t.equal(turin?.product, 'Turin')
  t.equal(turin && hex(turin.hwId), '59790fb1c39f35c1')
  t.equal(turin?.tcb.fmc, 1)
  t.equal(identity('genoa_bergamo_v5_vcek')?.product, 'Genoa')
  t.equal(identity('milan_v3_vcek')?.hwId.length, 64)
  t.equal(identity('milan_v3_vlek'), undefined)
  t.equal(identity('milan_v2_vcek'), undefined)
})
