import t from 'tap'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { tpmName } from '../../formats/tpm2/public.ts'
import { activateCredential, makeAk, makeEk } from '../testing/software-tpm.ts'
import { makeCredential, verifyActivation } from './credential.ts'
import { kdfa, kdfe } from './kdf.ts'

const ak = makeAk({ scheme: 'ecdsa' })
const SECRET = Buffer.from('0123456789abcdef0123456789abcdef', 'hex')

t.test('the TPM with the EK opens the credential for its AK', async (t) => {
  const eks = [
    makeEk({ kind: 'rsa' }),
    makeEk({ kind: 'P-256' }),
    makeEk({ kind: 'P-384', nameHash: 'sha384', aesBits: 256 }),
  ]
  for (const ek of eks) {
    const credential = makeCredential({ ek: ek.area, akName: tpmName(ak.area), secret: SECRET })
    const returned = activateCredential(ek, tpmName(ak.area), credential)
    t.doesNotThrow(() => verifyActivation(SECRET, returned))
    const again = makeCredential({ ek: ek.area, akName: tpmName(ak.area), secret: SECRET })
    t.notSame(again.encryptedSecret, credential.encryptedSecret, 'each has a seed of its own')
    t.throws(() => activateCredential(ek, tpmName(makeAk({ scheme: 'ecdsa' }).area), credential), /INTEGRITY/)
    t.throws(() => activateCredential(makeEk({ kind: 'P-256' }), tpmName(ak.area), credential), 'another EK')
  }
})

t.test('bad-credential: another secret came back', async (t) => {
  for (const returned of [Buffer.alloc(0), SECRET.subarray(1), Buffer.alloc(SECRET.length)])
    refusesToVerify(t, () => verifyActivation(SECRET, returned), 'bad-credential')
  try {
    verifyActivation(SECRET, Buffer.alloc(16))
  } catch (error) {
    t.notMatch(JSON.stringify(error) + String(error), SECRET.toString('hex'), 'the secret is not shown')
  }
})

t.test('bad-signing-key: a credential is made for endorsement keys only', async (t) => {
  const cases = [
    makeEk({ kind: 'P-256', attributes: 0x0002_00b2 }),
    makeEk({ kind: 'P-256', attributes: 0x0003_00b0 }),
    makeEk({ kind: 'P-256', attributes: 0x0007_00b2 }),
    makeEk({ kind: 'P-256', aesBits: 129 }),
    ak,
  ]
  for (const { area } of cases)
    refusesToVerify(
      t,
      () => makeCredential({ ek: area, akName: tpmName(ak.area), secret: SECRET }),
      'bad-signing-key',
    )
})

t.test('a secret longer than the digest of the EK does not fit', async (t) => {
  const ek = makeEk({ kind: 'P-256' }).area
  t.throws(() => makeCredential({ ek, akName: tpmName(ak.area), secret: Buffer.alloc(33) }), RangeError)
})

t.test('key derivation gives as many bits as were asked for', async (t) => {
  const input = { key: Buffer.alloc(32, 1), label: 'STORAGE' }
  t.equal(kdfa('sha256', input, 128).length, 16)
  t.equal(kdfa('sha256', input, 512).length, 64)
  t.notSame(kdfa('sha256', input, 512).subarray(0, 16), kdfa('sha256', input, 128), 'the length is hashed')
  const parties = {
    z: Buffer.alloc(32, 1),
    label: 'IDENTITY',
    partyU: Buffer.alloc(32),
    partyV: Buffer.alloc(32),
  }
  t.equal(kdfe('sha256', parties, 384).length, 48)
})
