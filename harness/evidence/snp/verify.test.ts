import t, { type Test } from 'tap'
import type { VerifyCode } from '../../base/errors.ts'
import { outcomeOf, refusesToParse, refusesToVerify } from '../../base/testing/rejects.ts'
import { parseCrl } from '../../formats/crl.ts'
import { CERTIFICATE_GUIDS, encodeCertificateTable } from '../../formats/snp/certificate-table.ts'
import { parseSnpReport } from '../../formats/snp/report.ts'
import { decodeTcb, encodeTcb, SNP_PRODUCTS } from '../../formats/snp/tcb.ts'
import { ia5, integer, octetString } from '../../formats/testing/der-writer.ts'
import { parseCertificate } from '../../formats/x509.ts'
import { commonNameOf, ecKeyPair, extension, makeCrl, publicKeyInfo, rsaKeyPair } from '../testing/pki.ts'
import { type SnpClaims, SnpSignerEmulation, type SnpSignerOptions } from '../testing/snp-signer.ts'
import { inOrder } from './p384.ts'
import { parseSnpEvidence } from './parse.ts'
import { type SnpEndorsements, type VerifiedSnpReport, verifySnpReport } from './verify.ts'

const AT = new Date('2025-06-01T00:00:00Z')

/** Of the emulation's own, trusting its root. */
function endorsements(emulation: SnpSignerEmulation): SnpEndorsements {
  const { leaf, intermediate } = emulation.certificates
  return { certificates: [leaf, intermediate].map(parseCertificate), roots: [emulation.root] }
}

interface Case {
  readonly emulation?: SnpSignerEmulation
  readonly claims?: SnpClaims
  readonly bytes?: Uint8Array
  readonly given?: Partial<SnpEndorsements>
  readonly at?: Date
}

/** Made once: keys take time. */
const milan = new SnpSignerEmulation()
const vlek = new SnpSignerEmulation({ signer: 'vlek' })

function verify({ emulation = milan, claims, bytes, given, at = AT }: Case = {}): VerifiedSnpReport {
  const report = parseSnpReport(bytes ?? emulation.report(claims))
  return verifySnpReport(report, { ...endorsements(emulation), ...given }, { at })
}

function refuses(t: Test, code: VerifyCode, wrong: Case, name?: string): void {
  refusesToVerify(t, () => verify(wrong), code, name)
}

const changed = (change: SnpSignerOptions['change'], options: SnpSignerOptions = {}): Case => ({
  emulation: new SnpSignerEmulation({ keys: milan.keys, ...options, ...(change && { change }) }),
})

t.test('reports of every product, version and signer are authentic under their own root', async (t) => {
  for (const product of SNP_PRODUCTS)
    for (const signer of ['vcek', 'vlek'] as const) {
      const emulation = new SnpSignerEmulation({ keys: milan.keys, product, signer })
      for (const version of [2, 3, 4, 5] as const) {
        // A VLEK's report has no CHIP_ID, which is all that tells Turin's version 2 apart.
        if (version === 2 && product === 'turin' && signer === 'vlek') continue
        const verified = verify({ emulation, claims: { version } })
        t.equal(verified.signer, signer)
        t.equal(
          verified.chipId,
          signer === 'vcek' ? 'certified' : 'masked',
          `${product} ${signer} ${version}`,
        )
        t.equal(verified.chain.root.simulated, true)
      }
    }
})

t.test(
  'a chain that was verified serves further reports, within its validity and for its kind of key',
  async (t) => {
    const { chain } = verify()
    const other = parseSnpReport(milan.report({ reportData: Buffer.alloc(64, 7) }))
    t.same(verifySnpReport(other, chain, { at: AT }).report.reportData, Buffer.alloc(64, 7))
    refusesToVerify(t, () => verifySnpReport(other, chain, { at: new Date('2035-01-01') }), 'expired')
    refusesToVerify(t, () => verifySnpReport(other, chain, { at: new Date('2023-01-01') }), 'not-yet-valid')
    const byVlek = parseSnpReport(vlek.report())
    refusesToVerify(t, () => verifySnpReport(byVlek, chain, { at: AT }), 'bad-signing-key')
    const forged = parseSnpReport(new SnpSignerEmulation().report({ chipId: other.chipId }))
    refusesToVerify(t, () => verifySnpReport(forged, chain, { at: AT }), 'report-signature')
  },
)

t.test('no simulated root is AMD’s', async (t) => {
  const { certificates } = endorsements(milan)
  const root = parseCertificate(milan.certificates.root)
  const report = parseSnpReport(milan.report())
  const verifyAsAmd = (given: SnpEndorsements['certificates']) => () =>
    verifySnpReport(report, { certificates: given }, { at: AT })
  refusesToVerify(t, verifyAsAmd([...certificates, root]), 'unknown-root')
  refusesToVerify(t, verifyAsAmd(certificates), 'bad-chain', 'without the root there is no issuer')
})

t.test('a report that nobody signed is not authentic', async (t) => {
  refuses(t, 'bad-signing-key', { claims: { keyInfo: { signingKey: 'none' } } })
  refuses(t, 'bad-signing-key', { claims: { keyInfo: { maskChipKey: true } } }, 'masked chip key')
  t.ok(verify({ emulation: vlek, claims: { keyInfo: { maskChipKey: true } } }), 'a VLEK signs all the same')
})

t.test('endorsements that are missing, others or not issued as AMD issues them are refused', async (t) => {
  const leaf = parseCertificate(milan.certificates.leaf)
  const intermediate = parseCertificate(milan.certificates.intermediate)
  refuses(t, 'endorsement-missing', { given: { certificates: [intermediate] } }, 'no leaf')
  refuses(
    t,
    'endorsement-missing',
    { given: { certificates: endorsements(vlek).certificates } },
    'only a VLEK',
  )
  refuses(
    t,
    'endorsement-missing',
    { emulation: vlek, given: { certificates: [leaf, intermediate] } },
    'only a VCEK',
  )
  refuses(t, 'bad-chain', { given: { certificates: [leaf] } }, 'no ASK')
  const wrongIssuer = commonNameOf('SEV-VLEK-Milan')
  const crossed = { intermediate: { subject: wrongIssuer }, leaf: { issuer: wrongIssuer } }
  refuses(t, 'bad-chain', changed(crossed), 'a VCEK by the ASVK')
  const weak = { intermediate: { algorithm: 'rsa-sha256' as const } }
  refuses(t, 'bad-certificate', changed(weak), 'PKCS#1 v1.5 signature')
  refuses(t, 'bad-certificate', changed({ leaf: { publicKey: publicKeyInfo(ecKeyPair('P-256')) } }), 'P-256')
  refuses(
    t,
    'bad-certificate',
    changed({ intermediate: { extensions: [] } }),
    'an intermediate that is no authority',
  )
  refuses(t, 'certificate-signature', changed({ leaf: { signer: rsaKeyPair() } }), 'a forged leaf')
  refuses(
    t,
    'certificate-signature',
    changed({ intermediate: { signer: rsaKeyPair() } }),
    'a forged intermediate',
  )
  const past = new Date('2025-01-01T00:00:00Z')
  refuses(t, 'expired', changed({ leaf: { notAfter: past } }))
  refuses(t, 'expired', changed({ intermediate: { notAfter: past } }), 'an expired intermediate')
  refuses(t, 'expired', changed({ root: { notAfter: past } }), 'an expired root')
  refuses(t, 'not-yet-valid', changed({ leaf: { notBefore: new Date('2025-06-01T00:00:01Z') } }))
})

t.test('the root’s revocation list decides about the ASK', async (t) => {
  const issuer = parseCertificate(milan.certificates.root).subject.raw
  const list = (revoked: number[], nextUpdate = new Date('2026-01-01T00:00:00Z')) =>
    parseCrl(
      makeCrl({
        issuer,
        signer: milan.keys.root,
        nextUpdate,
        revoked: revoked.map((serial) => ({ serial })),
      }),
    )
  const given = (crl: ReturnType<typeof list>) => ({
    given: { crls: [crl], revocation: 'authorities' as const },
  })
  t.equal(verify(given(list([0x10002]))).chain.chain.revocationChecked, 1)
  refuses(t, 'revoked', given(list([0x10001])))
  refuses(t, 'crl-missing', { given: { revocation: 'authorities' } })
  refuses(t, 'crl-expired', given(list([], new Date('2025-05-01T00:00:00Z'))))
  const forged = parseCrl(makeCrl({ issuer, signer: vlek.keys.root }))
  refuses(t, 'crl-signature', given(forged))
})

/** The leaf's extensions with one of them replaced, or left out. */
function leafWith(arc: string, value: Uint8Array | undefined, options: SnpSignerOptions = {}): Case {
  const emulation = new SnpSignerEmulation({ keys: milan.keys, ...options })
  const id = `1.3.6.1.4.1.3704.1.${arc}`
  const start = extension(id, Buffer.alloc(0)).subarray(2, -2)
  const extensions = emulation.leafExtensions().flatMap((encoded) => {
    if (encoded.indexOf(start) !== 2) return [encoded]
    return value ? [extension(id, value)] : []
  })
  return changed({ leaf: { extensions } }, options)
}

t.test('a leaf certificate must say what AMD’s leaf certificates say', async (t) => {
  const hwId = Buffer.alloc(64, 0x33)
  t.ok(verify(leafWith('4', octetString(hwId), { hwId })), 'a hwID with its tag')
  refuses(t, 'bad-certificate', leafWith('4', undefined), 'no hwID')
  refuses(t, 'bad-certificate', leafWith('4', Buffer.alloc(63)), 'a short hwID')
  refuses(t, 'bad-certificate', leafWith('2', undefined), 'no product')
  refuses(t, 'bad-certificate', leafWith('2', ia5('Naples-B1')), 'an unknown product')
  refuses(t, 'bad-certificate', leafWith('3.8', undefined), 'no microcode SPL')
  refuses(t, 'bad-certificate', leafWith('5', undefined, { signer: 'vlek' }), 'no cloud provider')
  for (const [arc, value] of [
    ['3.8', integer(256)],
    ['3.8', ia5('1')],
    ['2', octetString(Buffer.from('Milan'))],
    ['2', ia5('Mil\x1ban')],
  ] as const)
    refusesToParse(t, () => verify(leafWith(arc, value)), { code: 'bad-value' }, arc)
})

const tcb = (change: object, layout: 'milan-genoa' | 'turin' = 'milan-genoa') =>
  decodeTcb(encodeTcb({ fmc: 1, bootloader: 4, tee: 0, snp: 24, microcode: 219, ...change }, layout), layout)

t.test('the certificate must be for the product, TCB and chip of the report', async (t) => {
  refuses(t, 'product-mismatch', leafWith('2', ia5('Genoa')), 'a Genoa leaf under a Milan root')
  refuses(
    t,
    'product-mismatch',
    { claims: { cpuid: { family: 25, model: 17, stepping: 1 } } },
    'a Genoa report',
  )
  const anyLayout = new SnpSignerEmulation({
    keys: milan.keys,
    tcb: { bootloader: 4, tee: 0, snp: 0, microcode: 219 },
  })
  const shortChipId = Buffer.concat([Buffer.alloc(8, 1), Buffer.alloc(56)])
  const likeTurin = { version: 2, chipId: shortChipId } as const
  refuses(t, 'product-mismatch', { emulation: anyLayout, claims: likeTurin }, 'a version 2 report of Turin')
  for (const part of ['bootloader', 'tee', 'snp', 'microcode'])
    refuses(t, 'tcb-mismatch', { claims: { reportedTcb: tcb({ [part]: 99 }) } }, part)
  const turin = new SnpSignerEmulation({ keys: milan.keys, product: 'turin' })
  refuses(t, 'tcb-mismatch', { emulation: turin, claims: { reportedTcb: tcb({ fmc: 2 }, 'turin') } }, 'FMC')
  refuses(t, 'tcb-mismatch', leafWith('3.4', integer(1)), 'a reserved SPL')
  t.ok(
    verify({ claims: { currentTcb: tcb({ snp: 25 }) } }),
    'CURRENT_TCB is not what the key is derived from',
  )
  refuses(t, 'chip-mismatch', { claims: { chipId: Buffer.alloc(64, 1) } })
  const { chipId } = parseSnpReport(turin.report())
  const longer = Buffer.from(chipId)
  longer[8] = 1
  refuses(t, 'chip-mismatch', { emulation: turin, claims: { chipId: longer } }, 'more than 8 bytes on Turin')
  t.equal(verify({ claims: { chipId: Buffer.alloc(64) } }).chipId, 'masked')
  t.equal(verify({ emulation: vlek, claims: { chipId: Buffer.alloc(64, 1) } }).chipId, 'uncertified')
})

t.test('of several leaf certificates the one for the report’s TCB and chip is taken', async (t) => {
  const others = [1, 2].map(
    (snp) => new SnpSignerEmulation({ keys: milan.keys, tcb: { bootloader: 1, tee: 0, snp, microcode: 1 } }),
  )
  const { certificates } = endorsements(milan)
  const bag = [...others.map((other) => parseCertificate(other.certificates.leaf)), ...certificates]
  t.ok(verify({ given: { certificates: bag } }))
  const broken = parseCertificate(leafWith('3.8', ia5('x')).emulation?.certificates.leaf ?? Buffer.alloc(0))
  t.ok(verify({ given: { certificates: [broken, ...bag] } }), 'one that cannot be read is not the one')
})

t.test('a changed bit anywhere in what is signed, or in the signature, is never authentic', async (t) => {
  const bytes = milan.report({ version: 5 })
  const { chain } = verify()
  const authentic: string[] = []
  for (let at = 0; at < 0x2a0 + 48; at++) {
    const copy = Buffer.from(bytes)
    copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8))
    if (outcomeOf(() => verifySnpReport(parseSnpReport(copy), chain, { at: AT })) === 'accepted')
      authentic.push(`${at}`)
  }
  t.same(authentic, [])
})

const ORDER = Buffer.from(
  'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
  'hex',
)

t.test('components of the signature must lie between 0 and the order of the curve', async (t) => {
  const above = Buffer.from(ORDER)
  above[47] = (above[47] ?? 0) + 1
  for (const [name, value] of Object.entries({
    zero: Buffer.alloc(48),
    order: ORDER,
    above,
    max: Buffer.alloc(48, 0xff),
  }))
    for (const at of [0x2a0, 0x2e8]) {
      const bytes = milan.report()
      bytes.set(Buffer.from(value).reverse(), at)
      refuses(t, 'report-signature', { bytes }, `${at === 0x2a0 ? 'r' : 's'} ${name}`)
      t.notOk(inOrder(value), name)
    }
})

t.test('evidence with its certificates is verified with nothing else', async (t) => {
  const auxblob = milan.certificateTable()
  const list = makeCrl({
    issuer: parseCertificate(milan.certificates.root).subject.raw,
    signer: milan.keys.root,
  })
  const evidence = parseSnpEvidence(milan.report(), auxblob)
  t.ok(verifySnpReport(evidence.report, { ...evidence, roots: [milan.root] }, { at: AT }))
  t.equal(evidence.certificates.length, 3)
  const withList = encodeCertificateTable([
    { guid: CERTIFICATE_GUIDS.crl, bytes: list },
    { guid: '11111111-2222-3333-4444-555555555555', bytes: Buffer.from('the host’s own') },
  ])
  t.equal(parseSnpEvidence(milan.report(), withList).crls.length, 1)
  t.equal(parseSnpEvidence(milan.report(), withList).certificates.length, 0)
  t.same(parseSnpEvidence(milan.report()).table, [])
  const broken = encodeCertificateTable([{ guid: CERTIFICATE_GUIDS.vcek, bytes: Buffer.alloc(1) }])
  refusesToParse(t, () => parseSnpEvidence(milan.report(), broken), {})
})
