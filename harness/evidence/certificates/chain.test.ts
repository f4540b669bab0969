import t, { type Test } from 'tap'
import type { VerifyCode } from '../../base/errors.ts'
import { outcomeOf, refusesToVerify } from '../../base/testing/rejects.ts'
import { boolean, der, integer, printable, sequence } from '../../formats/testing/der-writer.ts'
import { type Certificate, commonName, parseCertificate } from '../../formats/x509.ts'
import {
  authority,
  type CertificateSpec,
  commonNameOf,
  ecKeyPair,
  extension,
  type KeyPair,
  keyUsageBits,
  makeCertificate,
  publicKeyInfo,
  purposes,
  rsaKeyPair,
} from '../testing/pki.ts'
import { type ChainRequest, checkStillValid, trustAnchor, type VerifiedChain, verifyChain } from './chain.ts'

const AT = new Date('2025-06-01T00:00:00Z')
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const AK_CERTIFICATE = '2.23.133.8.3'

const names = { root: commonNameOf('Root'), sub: commonNameOf('Sub'), leaf: commonNameOf('Leaf') }
const keys = { root: ecKeyPair(), sub: ecKeyPair(), leaf: ecKeyPair(), stranger: ecKeyPair() }
/** Made once: a key of 2048 bits takes a quarter of a second. */
const rsa = rsaKeyPair()

type Change = Partial<CertificateSpec>

function certificate(
  spec: Change & Pick<CertificateSpec, 'subject' | 'issuer'> & { key: KeyPair; by: KeyPair },
): Certificate {
  const { key, by, ...rest } = spec
  return parseCertificate(makeCertificate({ publicKey: publicKeyInfo(key), signer: by, ...rest }))
}

const rootExtensions = [authority(), keyUsageBits(5, 6)]
const makeRoot = (change: Change = {}): Certificate =>
  certificate({
    subject: names.root,
    issuer: names.root,
    key: keys.root,
    by: keys.root,
    extensions: rootExtensions,
    ...change,
  })
const makeSub = (change: Change = {}): Certificate =>
  certificate({
    ...{ subject: names.sub, issuer: names.root, key: keys.sub, by: keys.root, serial: 0x10001 },
    ...{ extensions: [authority(0), keyUsageBits(5, 6)], ...change },
  })
const makeLeaf = (change: Change = {}): Certificate =>
  certificate({ subject: names.leaf, issuer: names.sub, key: keys.leaf, by: keys.sub, serial: 0, ...change })

const root = makeRoot()
const sub = makeSub()
const leaf = makeLeaf()
const anchors = [trustAnchor(root, 'test root')]

function verify(change: Partial<ChainRequest> = {}): VerifiedChain {
  return verifyChain({ leaf, certificates: [root, sub], anchors, at: AT, ...change })
}

function refuses(t: Test, code: VerifyCode, change: Partial<ChainRequest>, name?: string): void {
  refusesToVerify(t, () => verify(change), code, name)
}

t.test(
  'verifyChain finds the path in any order, with or without the root, and says how long it holds',
  async (t) => {
    for (const certificates of [
      [root, sub],
      [sub, root],
      [sub],
      [leaf, leaf, sub, makeLeaf({ serial: 7 })],
    ]) {
      const chain = verify({ certificates })
      t.same(
        chain.path.map(({ subject }) => commonName(subject)),
        ['Leaf', 'Sub'],
      )
      t.equal(chain.anchor.label, 'test root')
    }
    const brief = makeSub({ notAfter: new Date('2026-01-01T00:00:00Z') })
    const chain = verify({ certificates: [brief] })
    t.equal(chain.notAfter.toISOString(), '2026-01-01T00:00:00.000Z')
    t.equal(chain.notBefore.toISOString(), '2024-01-01T00:00:00.000Z')
    checkStillValid(chain, chain.notAfter)
    refusesToVerify(t, () => checkStillValid(chain, new Date('2026-01-01T00:00:01Z')), 'expired')
    refusesToVerify(t, () => checkStillValid(chain, new Date('2023-12-31T23:59:59Z')), 'not-yet-valid')
    t.equal(chain.revocationChecked, 0)
  },
)

t.test('verifyChain verifies RSASSA-PSS, RSASSA-PKCS1-v1_5 and ECDSA on three curves', async (t) => {
  const signers: [KeyPair, CertificateSpec['algorithm']][] = [
    [rsa, 'rsa-pss-sha384'],
    [rsa, 'rsa-pss-sha256'],
    [rsa, 'rsa-sha256'],
    ...(['P-256', 'P-384', 'P-521'] as const).map((curve): (typeof signers)[0] => [
      ecKeyPair(curve),
      undefined,
    ]),
  ]
  for (const [by, algorithm] of signers) {
    const own = algorithm ? { algorithm } : {}
    const rsaRoot = certificate({
      subject: names.root,
      issuer: names.root,
      key: by,
      by,
      extensions: rootExtensions,
      ...own,
    })
    const direct = certificate({ subject: names.leaf, issuer: names.root, key: keys.leaf, by, ...own })
    const request = { leaf: direct, certificates: [], anchors: [trustAnchor(rsaRoot, 'root')], at: AT }
    t.equal(verifyChain(request).path.length, 1, direct.signatureAlgorithm.kind)
    const raw = Buffer.from(direct.raw)
    raw[raw.length - 1] = (raw.at(-1) ?? 0) ^ 1
    refusesToVerify(
      t,
      () => verifyChain({ ...request, leaf: parseCertificate(raw) }),
      'certificate-signature',
    )
  }
})

t.test('verifyChain refuses a path that does not lead to the anchor', async (t) => {
  refuses(t, 'endorsement-missing', { certificates: [] })
  refuses(t, 'bad-chain', { certificates: [root] }, 'no issuer of that name')
  refuses(t, 'bad-chain', { certificates: Array.from({ length: 65 }, () => root) }, 'too many certificates')
  const other = makeSub({ publicKey: publicKeyInfo(keys.stranger) })
  refuses(t, 'certificate-signature', { certificates: [other] }, 'issuer of the name with another key')
  refuses(t, 'certificate-signature', { leaf: makeLeaf({ signer: keys.stranger }) }, 'forged leaf')
  refuses(
    t,
    'certificate-signature',
    { certificates: [makeSub({ signer: keys.stranger }), root] },
    'forged authority',
  )
  t.ok(verify({ certificates: [other, sub] }), 'a stranger of the same name does not hide the issuer')
  const rsaStranger = makeSub({ publicKey: publicKeyInfo(rsa) })
  t.ok(verify({ certificates: [rsaStranger, sub] }), 'nor one whose key is of another kind')
  refuses(t, 'bad-certificate', { certificates: [rsaStranger] }, 'a key that cannot have made the signature')
})

t.test('verifyChain refuses a root that only looks like the anchor', async (t) => {
  const fake = {
    subject: names.root,
    issuer: names.root,
    key: keys.stranger,
    by: keys.stranger,
    extensions: rootExtensions,
  }
  const fakeRoot = certificate(fake)
  const fakeSub = makeSub({ signer: keys.stranger })
  refuses(t, 'unknown-root', { certificates: [fakeRoot, fakeSub] }, 'same name, another key')
  refuses(t, 'unknown-root', { leaf: fakeRoot, certificates: [] }, 'self-signed leaf')
  refuses(
    t,
    'unknown-root',
    { anchors: [trustAnchor(fakeRoot, 'another')], certificates: [sub, root] },
    'another anchor',
  )
  refuses(t, 'unknown-root', { anchors: [], certificates: [sub, root] }, 'no anchor')
  for (const [name, subject] of Object.entries({
    'NUL in the name': commonNameOf('Root\0.example'),
    'the same characters in another string type': commonNameOf(printable('Root')),
    'another case': commonNameOf('root'),
    'a trailing space': commonNameOf('Root '),
  })) {
    const twin = certificate({ ...fake, key: keys.root, by: keys.root, subject, issuer: subject })
    const under = makeSub({ issuer: subject })
    refuses(t, 'unknown-root', { certificates: [twin, under] }, name)
    t.not(commonName(twin.subject), undefined)
  }
  t.equal(commonName(certificate({ ...fake, subject: commonNameOf('Root\0.x') }).subject), 'Root\\x00.x')
})

t.test('verifyChain compares names by their bytes, not by their characters', async (t) => {
  const reencoded = makeSub({ subject: commonNameOf(printable('Sub')) })
  refuses(t, 'bad-chain', { certificates: [reencoded] }, 'PrintableString for UTF8String')
  const both = certificate({
    ...{ subject: names.leaf, issuer: commonNameOf(printable('Sub')), key: keys.leaf, by: keys.sub },
  })
  t.ok(verify({ leaf: both, certificates: [reencoded] }), 'both encoded alike')
})

t.test('verifyChain refuses what is not valid at the time, and reads no clock', async (t) => {
  const past = new Date('2025-01-01T00:00:00Z')
  const future = new Date('2026-01-01T00:00:00Z')
  refuses(t, 'expired', { leaf: makeLeaf({ notAfter: past }) })
  refuses(t, 'expired', { certificates: [makeSub({ notAfter: past })] }, 'expired authority')
  refuses(t, 'not-yet-valid', { leaf: makeLeaf({ notBefore: future }) })
  refuses(t, 'not-yet-valid', { certificates: [makeSub({ notBefore: future })] }, 'authority not yet valid')
  refuses(t, 'expired', { anchors: [trustAnchor(makeRoot({ notAfter: past }), 'old root')] }, 'expired root')
  refuses(
    t,
    'not-yet-valid',
    { anchors: [trustAnchor(makeRoot({ notBefore: future }), 'new root')] },
    'future root',
  )
  refuses(t, 'not-yet-valid', { at: new Date('x') }, 'no time at all')
  t.ok(verify({ at: leaf.notBefore }), 'the first second')
  t.ok(verify({ at: leaf.notAfter }), 'the last second')
  t.ok(verify({ at: past, leaf: makeLeaf({ notAfter: past }) }), 'what is expired now was valid then')
  const renewed = [makeSub({ notAfter: past }), sub]
  t.ok(verify({ certificates: renewed }), 'of two certificates of one key the valid one is taken')
  t.ok(verify({ certificates: renewed.toReversed() }))
})

t.test('verifyChain refuses authorities that may not issue', async (t) => {
  const bad = (extensions: readonly Uint8Array[], name: string) =>
    refuses(t, 'bad-certificate', { certificates: [makeSub({ extensions })] }, name)
  bad([], 'no basicConstraints')
  bad([extension('2.5.29.19', sequence(), 'critical')], 'cA absent')
  bad([extension('2.5.29.19', sequence(boolean('false')), 'critical')], 'cA false')
  bad([authority(), keyUsageBits(0, 6)], 'no keyCertSign')
  bad([authority(), extension('2.5.29.30', sequence(), 'critical')], 'name constraints')
  bad([authority(), extension('1.2.3.4', Buffer.alloc(1), 'critical')], 'unknown critical extension')
  t.ok(
    verify({ certificates: [makeSub({ extensions: [authority(), extension('1.2.3.4', Buffer.alloc(1))] })] }),
  )
  t.ok(verify({ certificates: [makeSub({ extensions: [authority()] })] }), 'no keyUsage restricts nothing')
  const posing = makeLeaf({ issuer: names.leaf, subject: commonNameOf('Leaf 2'), signer: keys.leaf })
  refuses(t, 'bad-certificate', { leaf: posing, certificates: [leaf, sub] }, 'a leaf as an authority')
})

t.test('verifyChain keeps pathLenConstraint and bounds the length of a path', async (t) => {
  const stack = (depth: number, pathLength?: number): Partial<ChainRequest> => {
    const subs = Array.from({ length: depth }, (_, index) =>
      certificate({
        subject: commonNameOf(`Sub ${index}`),
        issuer: index === 0 ? names.root : commonNameOf(`Sub ${index - 1}`),
        ...{ key: keys.sub, by: index === 0 ? keys.root : keys.sub },
        extensions: [authority(index === 0 ? pathLength : undefined)],
      }),
    )
    return { leaf: makeLeaf({ issuer: commonNameOf(`Sub ${depth - 1}`) }), certificates: subs }
  }
  t.equal(verify(stack(2, 1)).path.length, 3)
  t.equal(verify(stack(7)).path.length, 8)
  refuses(t, 'bad-certificate', stack(2, 0), 'pathLenConstraint 0 with an authority below')
  refuses(t, 'bad-certificate', stack(4, 2), 'pathLenConstraint 2 with three below')
  refuses(t, 'bad-chain', stack(8), 'nine certificates')
  refuses(t, 'bad-chain', stack(60), 'sixty certificates')
  const a = commonNameOf('A')
  const b = commonNameOf('B')
  const loop = [
    certificate({ subject: a, issuer: b, key: keys.sub, by: keys.sub }),
    certificate({ subject: b, issuer: a, key: keys.sub, by: keys.sub }),
  ]
  refuses(t, 'bad-chain', { leaf: makeLeaf({ issuer: a }), certificates: loop }, 'a loop')
})

t.test('verifyChain refuses a leaf that does not meet what its use requires', async (t) => {
  const require = { curve: 'P-384', keyUsage: 'digitalSignature', extendedKeyUsage: AK_CERTIFICATE } as const
  t.ok(
    verify({
      leaf: makeLeaf({ extensions: [purposes(CLIENT_AUTH, AK_CERTIFICATE), keyUsageBits(0)] }),
      require,
    }),
  )
  t.ok(verify({ require: { curve: 'P-384', keyUsage: 'digitalSignature' } }), 'no keyUsage restricts nothing')
  refuses(t, 'bad-certificate', { require }, 'no extended key usage')
  refuses(
    t,
    'bad-certificate',
    { leaf: makeLeaf({ extensions: [purposes(CLIENT_AUTH)] }), require },
    'another purpose',
  )
  const any = makeLeaf({ extensions: [purposes('2.5.29.37.0')] })
  refuses(t, 'bad-certificate', { leaf: any, require }, 'anyExtendedKeyUsage')
  const encipher = makeLeaf({ extensions: [keyUsageBits(2)] })
  refuses(
    t,
    'bad-certificate',
    { leaf: encipher, require: { keyUsage: 'digitalSignature' } },
    'another key usage',
  )
  const p256 = makeLeaf({ publicKey: publicKeyInfo(ecKeyPair('P-256')) })
  refuses(t, 'bad-certificate', { leaf: p256, require: { curve: 'P-384' } }, 'another curve')
  const withRsa = makeLeaf({ publicKey: publicKeyInfo(rsa) })
  refuses(t, 'bad-certificate', { leaf: withRsa, require: { curve: 'P-384' } }, 'an RSA key')
})

t.test('verifyChain refuses weak and unknown cryptography', async (t) => {
  const weak = rsaKeyPair(1024)
  const rsaRoot = (key: KeyPair, algorithm: 'rsa-sha1' | 'rsa-sha256') =>
    makeRoot({ publicKey: publicKeyInfo(key), signer: key, algorithm })
  refusesToVerify(t, () => trustAnchor(rsaRoot(weak, 'rsa-sha256'), 'weak'), 'bad-certificate', 'RSA 1024')
  refusesToVerify(t, () => trustAnchor(rsaRoot(rsa, 'rsa-sha1'), 'weak'), 'bad-certificate', 'SHA-1')
  const offCurve = Buffer.from(publicKeyInfo(keys.sub))
  offCurve[offCurve.length - 1] = (offCurve.at(-1) ?? 0) ^ 1
  refuses(t, 'bad-certificate', { certificates: [makeSub({ publicKey: offCurve })] }, 'a point off its curve')
  // An explicit prime field whose generator was chosen to fit somebody's key (CVE-2020-0601).
  const parameters = sequence(integer(1), sequence(), sequence(), der(0x04), integer(1))
  const chosen = sequence(
    sequence(Buffer.from('06072a8648ce3d0201', 'hex'), parameters),
    der(0x03, Buffer.concat([Buffer.from([0, 4]), Buffer.alloc(96, 1)])),
  )
  refuses(
    t,
    'bad-certificate',
    { certificates: [makeSub({ publicKey: chosen })] },
    'a curve by its parameters',
  )
  refusesToVerify(t, () => trustAnchor(leaf, 'leaf'), 'bad-certificate', 'a leaf as an anchor')
  refusesToVerify(t, () => trustAnchor(sub, 'sub'), 'certificate-signature', 'an authority that is no root')
})

t.test('a certificate with one bit changed anywhere never verifies', async (t) => {
  const wrong: number[] = []
  for (let at = 0; at < leaf.raw.length; at++) {
    const bytes = Buffer.from(leaf.raw)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
    if (outcomeOf(() => verify({ leaf: parseCertificate(bytes) })) === 'accepted') wrong.push(at)
  }
  t.same(wrong, [])
})
