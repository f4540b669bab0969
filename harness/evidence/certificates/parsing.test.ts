import 'reflect-metadata'
import { X509Certificate } from 'node:crypto'
import { X509Crl } from '@peculiar/x509'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { FormatError } from '../../base/errors.ts'
import { outcomeOf, refusesToParse, refusesTruncation } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing } from '../../base/testing/vectors.ts'
import { parseCrl } from '../../formats/crl.ts'
import { encodePem, parseCertificates, parseCrls, parsePem } from '../../formats/pem.ts'
import { keyText } from '../../formats/public-key-info.ts'
import { algorithmText } from '../../formats/signature-algorithm.ts'
import * as write from '../../formats/testing/der-writer.ts'
import { type Certificate, commonName, nameText, parseCertificate } from '../../formats/x509.ts'
import { basicConstraints, extendedKeyUsage, keyUsage } from '../../formats/x509-extensions.ts'
import * as pki from '../testing/pki.ts'
import { encodeEcdsaValue } from './signature-encoding.ts'

const key = pki.ecKeyPair()
const spec: pki.CertificateSpec = {
  subject: pki.commonNameOf('Leaf'),
  issuer: pki.commonNameOf('Issuer'),
  publicKey: pki.publicKeyInfo(key),
  signer: key,
  serial: 0xfedc,
  extensions: [pki.authority(3), pki.keyUsageBits(0, 5), pki.purposes('2.23.133.8.3', '2.5.29.37.0')],
}
const made = pki.makeCertificate(spec)

/** Node's own reader, OpenSSL, is the second opinion. */
function agreesWithOpenssl(t: Test, certificate: Certificate, name: string): void {
  const other = new X509Certificate(Buffer.from(certificate.raw))
  const names = (text: string) => text.split('\n').map((line) => line.slice(line.indexOf('=') + 1))
  const values = ({ attributes }: Certificate['subject']) => attributes.map(({ text }) => text)
  t.equal(BigInt(`0x${certificate.serial}`), BigInt(`0x${other.serialNumber}`), `${name}: serial`)
  t.same(values(certificate.subject), names(other.subject), `${name}: subject`)
  t.same(values(certificate.issuer), names(other.issuer), `${name}: issuer`)
  t.same(certificate.notBefore, other.validFromDate, `${name}: notBefore`)
  t.same(certificate.notAfter, other.validToDate, `${name}: notAfter`)
  t.equal(basicConstraints(certificate)?.ca ?? false, other.ca, `${name}: authority`)
  t.same(certificate.publicKey.raw, other.publicKey.export({ format: 'der', type: 'spki' }), `${name}: key`)
  const { modulusLength, namedCurve } = other.publicKey.asymmetricKeyDetails ?? {}
  const curve = namedCurve === 'prime256v1' ? 'P-256' : namedCurve === 'secp384r1' ? 'P-384' : namedCurve
  t.equal(keyText(certificate.publicKey), modulusLength ? `RSA ${modulusLength}` : `EC ${curve}`, name)
}

t.test('parseCertificate reads what OpenSSL reads in generated certificates', async (t) => {
  const certificate = parseCertificate(made)
  agreesWithOpenssl(t, certificate, 'made')
  t.same(basicConstraints(certificate), { ca: true, pathLength: 3 })
  t.same([...(keyUsage(certificate) ?? [])], ['digitalSignature', 'keyCertSign'])
  t.same(extendedKeyUsage(certificate), ['2.23.133.8.3', '2.5.29.37.0'])
  t.equal(algorithmText(certificate.signatureAlgorithm), 'ECDSA SHA-384')
  const rsa = pki.rsaKeyPair()
  const other = pki.makeCertificate({
    ...spec,
    publicKey: pki.publicKeyInfo(rsa),
    signer: rsa,
    extensions: [],
  })
  agreesWithOpenssl(t, parseCertificate(other), 'RSA')
  t.equal(algorithmText(parseCertificate(other).signatureAlgorithm), 'RSASSA-PSS SHA-384 salt 48')
  t.equal(keyUsage(parseCertificate(other)), undefined)
  t.equal(extendedKeyUsage(parseCertificate(other)), undefined)
})

t.test('parseCertificate shows names without letting them write to a terminal', async (t) => {
  const named = (value: Uint8Array) =>
    nameText(parseCertificate(pki.makeCertificate({ ...spec, subject: pki.commonNameOf(value) })).subject)
  t.equal(named(write.utf8('a\0b\x1b[31m')), 'CN=a\\x00b\\x1b[31m')
  t.equal(named(write.der(0x1e, Buffer.from('00e900520a', 'hex').subarray(0, 4))), 'CN=éR')
  t.equal(named(write.der(0x14, Buffer.from([0xe9]))), 'CN=é')
  t.equal(named(write.octetString(Buffer.from([1, 2]))), 'CN=#0102')
  const two = write.sequence(
    ...['a', 'b'].map((text) => write.set(write.sequence(write.oid('2.5.4.3'), write.utf8(text)))),
  )
  const twice = parseCertificate(pki.makeCertificate({ ...spec, subject: two }))
  t.equal(commonName(twice.subject), undefined, 'two common names are none')
  t.equal(nameText(twice.subject), 'CN=a, CN=b')
})

t.test('parseCertificate refuses contradictions, duplicates and excess', async (t) => {
  const twice = pki.makeCertificate({ ...spec, extensions: [pki.authority(), pki.authority()] })
  refusesToParse(t, () => parseCertificate(twice), { code: 'bad-value', field: 'extnID' })
  const many = Array.from({ length: 65 }, (_, index) => pki.extension(`1.2.3.${index}`, Buffer.alloc(1)))
  const full = pki.makeCertificate({ ...spec, extensions: many })
  refusesToParse(t, () => parseCertificate(full), { code: 'too-large', field: 'extensions' })
  const large = pki.makeCertificate({ ...spec, extensions: [pki.extension('1.2.3', Buffer.alloc(70_000))] })
  refusesToParse(t, () => parseCertificate(large), { code: 'too-large', field: 'Certificate' })
  const long = pki.makeCertificate({ ...spec, serial: Buffer.alloc(22, 1) })
  refusesToParse(t, () => parseCertificate(long), { code: 'too-large', field: 'serialNumber' })
  refusesToParse(t, () => parseCertificate(Buffer.concat([made, Buffer.alloc(1)])), {
    code: 'trailing-bytes',
  })
  // The algorithm outside of the signed part says SHA-256, the one inside SHA-384.
  const swapped = Buffer.from(made)
  const at = made.lastIndexOf(Buffer.from('2a8648ce3d040303', 'hex'))
  swapped[at + 7] = 2
  refusesToParse(t, () => parseCertificate(swapped), { code: 'bad-value', field: 'signature' })
  const empty = write.sequence(write.set())
  const nameless = pki.makeCertificate({ ...spec, subject: empty })
  refusesToParse(t, () => parseCertificate(nameless), { code: 'truncated', field: 'subject' })
})

t.test('parseCertificate refuses every truncation and survives every changed byte', async (t) => {
  refusesTruncation(t, made, parseCertificate)
  const wrong: string[] = []
  for (let at = 0; at < made.length; at++)
    for (const value of [0, 1, 0x7f, 0x80, 0x84, 0xff]) {
      const bytes = Buffer.from(made)
      bytes[at] = value
      const outcome = outcomeOf(() => read(bytes))
      if (outcome !== 'accepted' && !(outcome instanceof FormatError)) wrong.push(`${at}: ${String(outcome)}`)
    }
  t.same(wrong, [])
})

function read(bytes: Uint8Array): void {
  const certificate = parseCertificate(bytes)
  basicConstraints(certificate)
  keyUsage(certificate)
  extendedKeyUsage(certificate)
}

/** That reader leaves a leading zero out. */
const number = (serial: string): bigint => BigInt(`0x${serial}`)

const crlSpec: pki.CrlSpec = {
  issuer: pki.commonNameOf('Issuer'),
  signer: key,
  revoked: [{ serial: 0xff01, extensions: [pki.reason(1)] }, { serial: 2 }],
}

t.test('parseCrl reads what an independent reader reads', async (t) => {
  const bytes = pki.makeCrl(crlSpec)
  const crl = parseCrl(bytes)
  const other = new X509Crl(bytes)
  t.same(crl.thisUpdate, other.thisUpdate)
  t.same(crl.nextUpdate, other.nextUpdate)
  t.same(
    [...crl.revoked.keys()].map(number),
    other.entries.map(({ serialNumber }) => number(serialNumber)),
  )
  t.equal(crl.revoked.get('00ff01')?.reason, other.entries[0]?.reason)
  t.equal(parseCrl(pki.makeCrl({ ...crlSpec, nextUpdate: null, revoked: [] })).nextUpdate, undefined)
  refusesTruncation(t, bytes, parseCrl)
  refusesToParse(t, () => parseCrl(Buffer.alloc(1024 * 1024 + 1)), { code: 'too-large' })
  const odd = { ...crlSpec, revoked: [{ serial: 1, extensions: [pki.reason(11)] }] }
  refusesToParse(t, () => parseCrl(pki.makeCrl(odd)), { code: 'bad-value', field: 'reasonCode' })
})

t.test('parsePem takes the blocks of a file and nothing that only looks like one', async (t) => {
  const text = encodePem('CERTIFICATE', made)
  const bundle = Buffer.from(`Issuer: x\n${text}between\r\n${text.replaceAll('\n', '\r\n')}after\0`)
  t.equal(parseCertificates(bundle).length, 2)
  t.equal(parseCertificates(Buffer.concat([made, made])).length, 2, 'DER, one after the other')
  t.same(parsePem(bundle)[0]?.bytes, made)
  t.equal(parseCrls(Buffer.from(encodePem('X509 CRL', pki.makeCrl(crlSpec)))).length, 1)
  t.equal(parseCrls(pki.makeCrl(crlSpec)).length, 1)
  const refused: [string, string][] = [
    ['-----BEGIN CERTIFICATE-----\nMIIB', 'truncated'],
    ['-----BEGIN certificate-----\n-----END certificate-----', 'bad-value'],
    ['-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----', 'bad-value'],
    ['-----BEGIN CERTIFICATE-----\nM*IB\n-----END CERTIFICATE-----', 'bad-value'],
    ['-----BEGIN CERTIFICATE-----\nMIIBx\n-----END CERTIFICATE-----', 'bad-value'],
    [encodePem('PUBLIC KEY', made), 'bad-value'],
    ['-----BEGIN ', 'bad-value'],
    [encodePem('A', Buffer.alloc(1)).repeat(65), 'too-large'],
  ]
  for (const [input, code] of refused)
    refusesToParse(
      t,
      () => parseCertificates(Buffer.from(input)),
      { code: code as 'bad-value' },
      input.slice(0, 40),
    )
  refusesToParse(t, () => parseCertificates(Buffer.alloc(5 * 1024 * 1024)), { code: 'too-large' })
  refusesToParse(t, () => parseCrls(Buffer.from(text)), { code: 'bad-value' })
})

t.test('parseCertificates and parseCrls answer any bytes with a value or a FormatError', async (t) => {
  const seeds = [made, pki.makeCrl(crlSpec), Buffer.from(encodePem('CERTIFICATE', made))]
  const change = fc.tuple(fc.nat(), fc.nat(255))
  fc.assert(
    fc.property(fc.nat(seeds.length - 1), fc.array(change, { maxLength: 6 }), (index, changes) => {
      const bytes = Buffer.from(seeds[index] ?? [])
      for (const [at, value] of changes) bytes[at % bytes.length] = value
      return [parseCertificates, parseCrls].every((parse) => {
        const outcome = outcomeOf(() => parse(bytes))
        return outcome === 'accepted' || outcome instanceof FormatError
      })
    }),
    { numRuns: 1000 },
  )
  t.pass('1000 inputs')
})

const VENDOR_CERTIFICATES = [
  ...['milan', 'genoa', 'turin'].flatMap((name) =>
    ['ark', 'ask', 'asvk'].map((role) => `snp/certs/${name}_${role}.der`),
  ),
  'snp/milan_v3_vcek.cert.der',
  'snp/milan_v3_vlek.cert.der',
  'snp/turin_v5_vcek.cert.der',
  'azure/kinvolk_certs.pem',
  'azure/az-snp-vtpm_vcek.pem',
  'tdx/intel_qvl_sample/pckCert.pem',
  'tdx/intel_qvl_sample/trustedRootCaCert.pem',
  'tdx/collateral_pcs_2026-03/tcb_signing_chain.pem',
]

t.test(
  'parseCertificates reads the vendors’ certificates as OpenSSL does',
  { skip: vectorsMissing },
  async (t) => {
    for (const file of VENDOR_CERTIFICATES)
      for (const certificate of parseCertificates(vector(file))) agreesWithOpenssl(t, certificate, file)
  },
)

const VENDOR_LISTS = [
  'tdx/collateral_pcs_2026-03/pck_crl_platform.der',
  'tdx/collateral_pcs_2026-03/root_ca_crl.der',
  'tdx/collateral_automata_2025-07/pck_platform_crl.der',
  'tdx/collateral_google_2023/rootcrl.der',
  'tdx/intel_qvl_sample/intermediateCaCrl.der',
]

t.test(
  'parseCrl reads the vendors’ lists as an independent reader does',
  { skip: vectorsMissing },
  async (t) => {
    for (const file of VENDOR_LISTS) {
      const crl = parseCrl(vector(file))
      const other = new X509Crl(vector(file))
      t.same([crl.thisUpdate, crl.nextUpdate], [other.thisUpdate, other.nextUpdate], file)
      t.same(
        [...crl.revoked.keys()].map(number),
        other.entries.map(({ serialNumber }) => number(serialNumber)),
        file,
      )
      refusesTruncation(t, vector(file), parseCrl, `${file} cut off`)
    }
  },
)

t.test('encodeEcdsaValue writes numbers as DER has them, whatever their first bytes', async (t) => {
  const hex = (r: string, s: string) =>
    encodeEcdsaValue(Buffer.from(r, 'hex'), Buffer.from(s, 'hex')).toString('hex')
  t.equal(hex('01', '7f'), '300602010102017f')
  t.equal(hex('80', '0080'), '3008020200800202' + '0080')
  t.equal(hex('0000', '00ff01'), '3008020100020300ff01')
  const wide = 'ff'.repeat(66)
  t.equal(hex(wide, wide), `30818a${`024300${wide}`.repeat(2)}`)
})
