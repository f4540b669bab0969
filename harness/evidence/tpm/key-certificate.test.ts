import t from 'tap'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { parseCrl } from '../../formats/crl.ts'
import { publicKeyObject } from '../../formats/tpm2/public.ts'
import { parseCertificate } from '../../formats/x509.ts'
import { trustAnchor } from '../certificates/chain.ts'
import {
  authority,
  commonNameOf,
  ecKeyPair,
  makeCertificate,
  makeCrl,
  publicKeyInfo,
  purposes,
} from '../testing/pki.ts'
import { makeAk, makeEk, quote } from '../testing/software-tpm.ts'
import { type TpmKeyCertificateRequest, verifyTpmKeyCertificate } from './key-certificate.ts'
import { verifyTpmQuote } from './quote.ts'

const AT = new Date('2026-01-01T00:00:00Z')
const AK_PURPOSE = '2.23.133.8.3'
const EK_PURPOSE = '2.23.133.8.1'
const ROOT = commonNameOf('TPM root')
const rootKey = ecKeyPair('P-384')
const root = makeCertificate({
  subject: ROOT,
  issuer: ROOT,
  publicKey: publicKeyInfo(rootKey),
  signer: rootKey,
  extensions: [authority()],
})
const anchors = [trustAnchor(parseCertificate(root), 'TPM root')]
const ak = makeAk({ scheme: 'ecdsa' })

function certificate(purpose: string, key = ak): Buffer {
  const publicKey = publicKeyInfo({ publicKey: publicKeyObject(key.area) })
  const extensions = purpose === '' ? [] : [purposes(purpose)]
  return makeCertificate({
    subject: commonNameOf('vTPM'),
    issuer: ROOT,
    publicKey,
    signer: rootKey,
    serial: 7,
    extensions,
  })
}

function request(bytes: Buffer, change: Partial<TpmKeyCertificateRequest> = {}): TpmKeyCertificateRequest {
  return { leaf: parseCertificate(bytes), certificates: [], anchors, at: AT, purpose: 'ak', ...change }
}

t.test('a certified AK vouches for its quotes', async (t) => {
  const { key, chain } = verifyTpmKeyCertificate(request(certificate(AK_PURPOSE), { key: ak.area }))
  t.equal(chain.anchor.label, 'TPM root')
  t.match(verifyTpmQuote(quote(ak), key), { kind: 'tpm-quote' })
  const ek = makeEk({ kind: 'rsa' })
  const forEk = request(certificate(EK_PURPOSE, ek), { purpose: 'ek', key: ek.area })
  t.ok(verifyTpmKeyCertificate(forEk).key.equals(publicKeyObject(ek.area)))
})

t.test('bad-certificate: issued for something else', async (t) => {
  for (const purpose of ['', EK_PURPOSE, '1.3.6.1.5.5.7.3.1'])
    refusesToVerify(
      t,
      () => verifyTpmKeyCertificate(request(certificate(purpose))),
      'bad-certificate',
      purpose,
    )
  const asEk = request(certificate(AK_PURPOSE), { purpose: 'ek' })
  refusesToVerify(t, () => verifyTpmKeyCertificate(asEk), 'bad-certificate')
})

t.test('binding-mismatch: the certificate of another key', async (t) => {
  const other = request(certificate(AK_PURPOSE), { key: makeAk({ scheme: 'ecdsa' }).area })
  refusesToVerify(t, () => verifyTpmKeyCertificate(other), 'binding-mismatch')
  refusesToVerify(
    t,
    () => verifyTpmKeyCertificate({ ...other, key: makeAk({ scheme: 'rsassa' }).area }),
    'binding-mismatch',
  )
})

t.test('what is wrong with the chain is wrong here too', async (t) => {
  const good = certificate(AK_PURPOSE)
  const late = request(good, { at: new Date('2035-01-01T00:00:00Z') })
  refusesToVerify(t, () => verifyTpmKeyCertificate(late), 'expired')
  const crl = parseCrl(makeCrl({ issuer: ROOT, signer: rootKey, revoked: [{ serial: 7 }] }))
  refusesToVerify(t, () => verifyTpmKeyCertificate(request(good, { crls: [crl] })), 'revoked')
  const otherKey = ecKeyPair('P-384')
  const other = makeCertificate({
    subject: ROOT,
    issuer: ROOT,
    publicKey: publicKeyInfo(otherKey),
    signer: otherKey,
    extensions: [authority()],
  })
  const unpinned = request(good, { anchors: [trustAnchor(parseCertificate(other), 'another root')] })
  refusesToVerify(t, () => verifyTpmKeyCertificate(unpinned), 'certificate-signature')
})
