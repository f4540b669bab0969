import t, { type Test } from 'tap'
import type { VerifyCode } from '../../base/errors.ts'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { parseCrl } from '../../formats/crl.ts'
import { integer, sequence } from '../../formats/testing/der-writer.ts'
import { parseCertificate } from '../../formats/x509.ts'
import * as pki from '../testing/pki.ts'
import { type ChainRequest, trustAnchor, type VerifiedChain, verifyChain } from './chain.ts'

const { authority, commonNameOf, extension, keyUsageBits, reason } = pki
const AT = new Date('2025-06-01T00:00:00Z')
const names = { root: commonNameOf('Root'), sub: commonNameOf('Sub') }
const keys = { root: pki.ecKeyPair(), sub: pki.ecKeyPair(), stranger: pki.ecKeyPair() }

const root = parseCertificate(
  pki.makeCertificate({
    ...{
      subject: names.root,
      issuer: names.root,
      publicKey: pki.publicKeyInfo(keys.root),
      signer: keys.root,
    },
    extensions: [authority(), keyUsageBits(5, 6)],
  }),
)
const makeSub = (change: Partial<pki.CertificateSpec> = {}) =>
  parseCertificate(
    pki.makeCertificate({
      ...{
        subject: names.sub,
        issuer: names.root,
        publicKey: pki.publicKeyInfo(keys.sub),
        signer: keys.root,
      },
      ...{ serial: 0x10001, extensions: [authority(0), keyUsageBits(5, 6)], ...change },
    }),
  )
/** The serial number 0, as AMD's leaves have it. */
const leaf = parseCertificate(
  pki.makeCertificate({
    ...{ subject: commonNameOf('Leaf'), issuer: names.sub, publicKey: pki.publicKeyInfo(pki.ecKeyPair()) },
    ...{ signer: keys.sub, serial: 0 },
  }),
)
const anchors = [trustAnchor(root, 'test root')]
const sub = makeSub()

function verify(change: Partial<ChainRequest> = {}): VerifiedChain {
  return verifyChain({ leaf, certificates: [root, sub], anchors, at: AT, ...change })
}

function refuses(t: Test, code: VerifyCode, change: Partial<ChainRequest>, name?: string): void {
  refusesToVerify(t, () => verify(change), code, name)
}

const list = (change: Partial<pki.CrlSpec> = {}) =>
  parseCrl(pki.makeCrl({ issuer: names.root, signer: keys.root, ...change }))
const subList = (change: Partial<pki.CrlSpec> = {}) =>
  list({ issuer: names.sub, signer: keys.sub, ...change })

t.test('verifyChain refuses what its issuer revoked', async (t) => {
  refuses(t, 'revoked', { crls: [list({ revoked: [{ serial: 0x10001 }] })] }, 'an authority')
  refuses(t, 'revoked', { crls: [subList({ revoked: [{ serial: 0, extensions: [reason(1)] }] })] }, 'a leaf')
  refuses(t, 'revoked', { crls: [list(), list({ revoked: [{ serial: 0x10001 }] })] }, 'one of two lists')
  const chain = verify({ crls: [list({ revoked: [{ serial: 0 }] }), subList()], revocation: 'required' })
  t.equal(chain.revocationChecked, 2, 'the same serial of another issuer is another certificate')
  t.equal(verify({ crls: [list()] }).revocationChecked, 1)
  const soon = new Date('2025-07-01T00:00:00Z')
  t.same(verify({ crls: [list({ nextUpdate: soon })] }).notAfter, soon, 'the chain holds until the list ends')
})

t.test('verifyChain refuses lists that are missing, forged, out of time or not understood', async (t) => {
  refuses(t, 'crl-missing', { revocation: 'required' })
  refuses(t, 'crl-missing', { revocation: 'required', crls: [list()] }, 'none for the leaf')
  refuses(t, 'crl-missing', { revocation: 'authorities', crls: [subList()] }, 'none for the authority')
  t.ok(verify({ revocation: 'authorities', crls: [list()] }))
  t.ok(
    verify({ crls: [list({ issuer: commonNameOf('Stranger'), signer: keys.stranger })] }),
    'strangers do not matter',
  )
  refuses(t, 'crl-signature', { crls: [list({ signer: keys.stranger })] })
  refuses(t, 'crl-signature', { crls: [list(), list({ signer: keys.stranger })] }, 'one of two forged')
  refuses(t, 'crl-expired', { crls: [list({ nextUpdate: new Date('2025-05-31T23:59:59Z') })] })
  refuses(t, 'crl-expired', { crls: [list({ nextUpdate: null })] }, 'a list without an end')
  refuses(t, 'crl-not-yet-valid', { crls: [list({ thisUpdate: new Date('2025-06-02T00:00:00Z') })] })
  const partial = [extension('2.5.29.28', sequence(), 'critical')]
  refuses(t, 'bad-certificate', { crls: [list({ extensions: partial })] }, 'a partial list')
  const delta = [extension('2.5.29.27', integer(1), 'critical')]
  refuses(t, 'bad-certificate', { crls: [list({ extensions: delta })] }, 'a delta list')
  const indirect = [{ serial: 9, extensions: [extension('2.5.29.29', sequence(), 'critical')] }]
  refuses(t, 'bad-certificate', { crls: [list({ revoked: indirect })] }, 'an indirect list')
  const noLists = makeSub({ extensions: [authority(), keyUsageBits(5)] })
  refuses(
    t,
    'bad-certificate',
    { certificates: [noLists], crls: [subList()] },
    'an issuer that may not sign lists',
  )
})
