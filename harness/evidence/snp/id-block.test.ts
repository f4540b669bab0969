import t from 'tap'
import { digest } from '../../base/digest.ts'
import type { VerifyCode } from '../../base/errors.ts'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { encodeEcdsaPublicKey } from '../../formats/snp/ecdsa.ts'
import {
  encodeIdAuthentication,
  encodeIdBlock,
  parseIdAuthentication,
  parseIdBlock,
  type SnpIdAuthentication,
  type SnpIdBlock,
} from '../../formats/snp/id-block.ts'
import { parseSnpReport } from '../../formats/snp/report.ts'
import { parseCertificate } from '../../formats/x509.ts'
import { AUTHOR_KEY, abiKey, abiSignature, boundClaims, ID_BLOCK, ID_KEY } from '../testing/id-block.ts'
import { type SnpClaims, SnpSignerEmulation } from '../testing/snp-signer.ts'
import { verifySnpIdBlock } from './id-block.ts'
import { type VerifiedSnpReport, verifySnpReport } from './verify.ts'

const processor = new SnpSignerEmulation()

function verified(claims: SnpClaims): VerifiedSnpReport {
  const { leaf, intermediate } = processor.certificates
  const certificates = [leaf, intermediate].map(parseCertificate)
  const at = new Date('2025-06-01T00:00:00Z')
  return verifySnpReport(
    parseSnpReport(processor.report(claims)),
    { certificates, roots: [processor.root] },
    { at },
  )
}

interface IdCase {
  readonly block?: Partial<Omit<SnpIdBlock, 'raw'>>
  readonly authentication?: Partial<SnpIdAuthentication>
  readonly claims?: SnpClaims
}

function verifyId({ block, authentication, claims }: IdCase = {}) {
  const bytes = encodeIdBlock({ ...ID_BLOCK, ...block })
  const idKey = abiKey(ID_KEY)
  const author = { signature: abiSignature(AUTHOR_KEY, idKey.raw), key: abiKey(AUTHOR_KEY) }
  const auth = { idSignature: abiSignature(ID_KEY, bytes), idKey, author, ...authentication }
  const parsed = parseIdAuthentication(encodeIdAuthentication(auth))
  const report = verified({ ...boundClaims(), ...claims })
  return verifySnpIdBlock(report, { block: parseIdBlock(bytes), authentication: parsed })
}

t.test('verifySnpIdBlock binds the owner’s and the author’s key to the report', async (t) => {
  t.same(verifyId().idKeyDigest, digest('sha384', abiKey(ID_KEY).raw))
  t.same(verifyId().authorKeyDigest, digest('sha384', abiKey(AUTHOR_KEY).raw))
  const none = { authorKeyDigest: Buffer.alloc(48), keyInfo: { authorKeyEnabled: false } }
  const alone = { idKey: abiKey(ID_KEY), idSignature: abiSignature(ID_KEY, encodeIdBlock(ID_BLOCK)) }
  const report = verified({
    measurement: ID_BLOCK.launchDigest,
    familyId: ID_BLOCK.familyId,
    imageId: ID_BLOCK.imageId,
    guestSvn: 4,
    idKeyDigest: digest('sha384', alone.idKey.raw),
    ...none,
  })
  const block = parseIdBlock(encodeIdBlock(ID_BLOCK))
  t.equal(verifySnpIdBlock(report, { block, authentication: alone }).authorKeyDigest, undefined)
})

t.test('verifySnpIdBlock refuses signatures of others and reports of another launch', async (t) => {
  const refusesId = (code: VerifyCode, wrong: IdCase, name: string) =>
    refusesToVerify(t, () => verifyId(wrong), code, name)
  const data = encodeIdBlock(ID_BLOCK)
  refusesId(
    'id-block-signature',
    { authentication: { idSignature: abiSignature(AUTHOR_KEY, data) } },
    'another key signed',
  )
  const zero = { r: Buffer.alloc(48), s: Buffer.alloc(48) }
  refusesId('id-block-signature', { authentication: { idSignature: zero } }, 'no signature')
  const author = { signature: abiSignature(ID_KEY, abiKey(ID_KEY).raw), key: abiKey(AUTHOR_KEY) }
  refusesId('id-block-signature', { authentication: { author } }, 'the author did not sign')
  const off = { x: Buffer.alloc(48, 1), y: Buffer.alloc(48, 1) }
  const offCurve = { ...off, raw: encodeEcdsaPublicKey(off) }
  refusesId('id-block-signature', { authentication: { idKey: offCurve } }, 'a point off the curve')
  const changes: IdCase['block'][] = [
    { launchDigest: Buffer.alloc(48, 9) },
    { familyId: Buffer.alloc(16, 9) },
    { imageId: Buffer.alloc(16, 9) },
    { guestSvn: 9 },
    { policy: 0x30001n },
  ]
  for (const block of changes)
    refusesId('binding-mismatch', { block: block ?? {} }, Object.keys(block ?? {}).join())
  refusesId('binding-mismatch', { claims: { idKeyDigest: Buffer.alloc(48) } }, 'ID_KEY_DIGEST')
  refusesId('binding-mismatch', { claims: { authorKeyDigest: Buffer.alloc(48, 1) } }, 'AUTHOR_KEY_DIGEST')
  const none = { authorKeyDigest: Buffer.alloc(48), keyInfo: { authorKeyEnabled: false } }
  refusesId('binding-mismatch', { claims: none }, 'AUTHOR_KEY_EN is 0, with an author')
  const alone = { idKey: abiKey(ID_KEY), idSignature: abiSignature(ID_KEY, data) }
  const report = verified(boundClaims())
  const block = parseIdBlock(data)
  refusesToVerify(
    t,
    () => verifySnpIdBlock(report, { block, authentication: alone }),
    'binding-mismatch',
    'AUTHOR_KEY_EN is 1, without an author',
  )
})

t.test('verifySnpIdBlock accepts what another project signed', { skip: vectorsMissing }, async (t) => {
  const expected: Record<string, string> = JSON.parse(vectorText('measure/idblock/expected.json'))
  const bytes = (name: string) => Buffer.from(expected[name] ?? '', 'base64')
  const block = parseIdBlock(bytes('id_block_base64'))
  const authentication = parseIdAuthentication(vector('measure/idblock/test_auth_block.bin'))
  t.equal(Buffer.from(block.launchDigest).toString('hex'), expected['launch_digest'])
  const claims: SnpClaims = {
    measurement: block.launchDigest,
    idKeyDigest: bytes('id_key_digest_base64'),
    authorKeyDigest: bytes('auth_key_digest_base64'),
    keyInfo: { authorKeyEnabled: true },
  }
  t.ok(verifySnpIdBlock(verified(claims), { block, authentication }))
})
