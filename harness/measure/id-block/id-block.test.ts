import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { FormatError, UsageError } from '../../base/errors.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { checkIdBlock, encodeIdBlock, parseIdAuth, parseIdBlock, signIdBlock } from './id-block.ts'
import { encodePublicKey, isSignedBy, keyDigest, parsePublicKey } from './keys.ts'

const { privateKey: idKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const { privateKey: authorKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const launchDigest = Buffer.alloc(48, 0xab)
const policy = 0x30000n

t.test('the block, keys and signatures of virtee/sev', { skip: vectorsMissing }, async (t) => {
  const expected = JSON.parse(vectorText('measure/idblock/expected.json'))
  const block = encodeIdBlock({
    launchDigest: Buffer.from(expected.launch_digest, 'hex'),
    policy,
  })
  t.equal(block.toString('base64'), expected.id_block_base64)
  const auth = vector('measure/idblock/test_auth_block.bin')
  const parsed = checkIdBlock({ block, auth })
  t.equal(keyDigest(parsed.idKey).toString('base64'), expected.id_key_digest_base64)
  t.ok(parsed.authorKey)
  t.equal(parsed.authorKey && keyDigest(parsed.authorKey).toString('base64'), expected.auth_key_digest_base64)
  t.ok(isSignedBy(parsed.idKey, block, vector('measure/idblock/test_id_sig.bin')))
  t.ok(
    parsed.authorKey &&
      isSignedBy(parsed.authorKey, parsed.idKeyBytes, vector('measure/idblock/test_auth_sig.bin')),
  )
})

t.test('a signed block holds what went in, and both signatures', async (t) => {
  const { block, auth } = signIdBlock(
    { launchDigest, familyId: Buffer.alloc(16, 1), imageId: Buffer.alloc(16, 2), guestSvn: 7, policy },
    { idKey, authorKey },
  )
  t.equal(block.length, 96)
  t.equal(auth.length, 4096)
  t.match(parseIdBlock(block), { guestSvn: 7, policy, familyId: Buffer.alloc(16, 1) })
  const checked = checkIdBlock({ block, auth })
  t.ok(keyDigest(checked.idKey).equals(keyDigest(idKey)))
  t.ok(checked.authorKey && keyDigest(checked.authorKey).equals(keyDigest(authorKey)))
})

t.test('without an author key its fields are zero', async (t) => {
  const { block, auth } = signIdBlock({ launchDigest, policy }, { idKey })
  t.equal(checkIdBlock({ block, auth }).authorKey, undefined)
  t.ok(auth.subarray(0x680).every((byte) => byte === 0))
})

t.test('a changed block or key is refused', async (t) => {
  const { block, auth } = signIdBlock({ launchDigest, policy }, { idKey, authorKey })
  const refuses = (changed: { block?: Buffer; auth?: Buffer }, message: RegExp) =>
    t.throws(() => checkIdBlock({ block, auth, ...changed }), { name: UsageError.name, message })
  refuses({ block: flipped(block, 0) }, /ID block is not signed/)
  refuses({ auth: flipped(auth, 0x680) }, /ID key is not signed by the author key/)
  const other = signIdBlock({ launchDigest: Buffer.alloc(48), policy }, { idKey, authorKey })
  refuses({ auth: other.auth }, /ID block is not signed/)
})

function flipped(bytes: Buffer, offset: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[offset] = (copy[offset] ?? 0) ^ 1
  return copy
}

function refusesTruncation(t: Test, bytes: Uint8Array, parse: (bytes: Uint8Array) => unknown): void {
  const accepted = Array.from({ length: bytes.length }, (_, length) => length).filter((length) => {
    try {
      parse(bytes.subarray(0, length))
      return true
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      return false
    }
  })
  t.same(accepted, [])
}

t.test('truncation at every offset, trailing bytes and every reserved byte are refused', async (t) => {
  const { block, auth } = signIdBlock({ launchDigest, policy }, { idKey, authorKey })
  refusesTruncation(t, block, parseIdBlock)
  refusesTruncation(t, auth, parseIdAuth)
  t.throws(() => parseIdBlock(Buffer.concat([block, Buffer.alloc(1)])), { code: 'trailing-bytes' })
  t.throws(() => parseIdBlock(flipped(block, 80)), { code: 'bad-value', field: 'VERSION' })
  const reserved = [
    [0x08, 0x40],
    [0x644, 0x680],
    [0xc84, 0x1000],
    // Beyond 48 bytes of a number, and behind Y.
    [0x244 + 48, 0x244 + 72],
    [0x244 + 144, 0x644],
  ] as const
  for (const [from, to] of reserved)
    for (let offset = from; offset < to; offset++)
      t.throws(() => parseIdAuth(flipped(auth, offset)), { code: 'reserved-bit' }, `0x${offset.toString(16)}`)
})

t.test('keys that SNP does not take are refused', async (t) => {
  const { privateKey: p256 } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { privateKey: ed25519 } = generateKeyPairSync('ed25519')
  for (const key of [p256, ed25519, createPublicKey(idKey)])
    t.throws(() => signIdBlock({ launchDigest, policy }, { idKey: key }), { name: UsageError.name })
  t.throws(() => encodeIdBlock({ launchDigest: Buffer.alloc(32), policy }), FormatError)
  const noPoint = encodePublicKey(idKey)
  t.throws(() => parsePublicKey(flipped(noPoint, 4)), { code: 'bad-value', field: 'QX' })
})

t.test('hostile authentication information is a FormatError or a key, nothing else', async (t) => {
  const { auth } = signIdBlock({ launchDigest, policy }, { idKey, authorKey })
  fc.assert(
    fc.property(fc.nat(auth.length - 1), fc.integer({ min: 1, max: 255 }), (offset, change) => {
      const changed = Buffer.from(auth)
      changed[offset] = (changed[offset] ?? 0) ^ change
      try {
        parseIdAuth(changed)
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
      }
    }),
  )
  t.pass()
})
