import { createPublicKey } from 'node:crypto'
import t from 'tap'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { vector, vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { ATTEST_TYPES, type AttestType } from '../../formats/tpm2/attest.ts'
import { publicKeyObject } from '../../formats/tpm2/public.ts'
import { parseTpmSignature } from '../../formats/tpm2/signature.ts'
import { encodeAttest, makeAk, quote, signAttest } from '../testing/software-tpm.ts'
import { parseGoTpmToolsAttestation } from './files/go-tpm-tools.ts'
import { parseKeylimeQuote } from './files/keylime.ts'
import { type PcrBank, type TpmQuote, verifyTpmQuote } from './quote.ts'

const rsa = makeAk({ scheme: 'rsassa' })
const pss = makeAk({ scheme: 'rsapss', hash: 'sha384' })
const p256 = makeAk({ scheme: 'ecdsa' })
const p384 = makeAk({ scheme: 'ecdsa', hash: 'sha384', curve: 'P-384' })
const NONCE = Buffer.from('00112233', 'hex')

const BANKS: readonly PcrBank[] = [
  { bank: 'sha1', values: new Map([[0, Buffer.alloc(20, 1)]]) },
  {
    bank: 'sha256',
    values: new Map([
      [4, Buffer.alloc(32, 4)],
      [7, Buffer.alloc(32, 7)],
    ]),
  },
  { bank: 'sha384', values: new Map([[11, Buffer.alloc(48, 11)]]) },
]

t.test('a quote is verified with RSASSA, RSAPSS and ECDSA, over three banks at once', async (t) => {
  for (const [name, ak] of Object.entries({ rsa, pss, p256, p384 })) {
    const verified = verifyTpmQuote(quote(ak, { nonce: NONCE, pcrs: BANKS }), ak.area, { nonce: NONCE })
    t.strictSame(verified.pcrs, BANKS, name)
    t.match(verified, { akRestricted: true, clockInfo: { clock: 123_456n, resetCount: 3, restartCount: 1 } })
    const bare = verifyTpmQuote(quote(ak), publicKeyObject(ak.area))
    t.equal(bare.akRestricted, false, 'a bare key says nothing about what it signs')
  }
})

t.test('only values that the signed digest covers come out', async (t) => {
  const genuine = quote(p256, { pcrs: BANKS.slice(1, 2) })
  const more = [
    ...genuine.pcrs.map((each) => ({
      ...each,
      values: new Map([...each.values, [11, Buffer.alloc(32)] as const]),
    })),
    ...BANKS.slice(2),
  ]
  const verified = verifyTpmQuote({ ...genuine, pcrs: more }, p256.area)
  t.strictSame(verified.pcrs, BANKS.slice(1, 2))
  t.strictSame(verifyTpmQuote({ ...genuine, pcrs: [] }, p256.area).pcrs, [])
})

t.test('a changed byte anywhere in what was signed is refused', async (t) => {
  const genuine = quote(p256, { nonce: NONCE })
  const accepted: number[] = []
  for (let offset = 0; offset < genuine.attest.length; offset++) {
    const attest = Buffer.from(genuine.attest)
    attest[offset] = (attest[offset] ?? 0) ^ 1
    try {
      verifyTpmQuote({ ...genuine, attest }, p256.area, { nonce: NONCE })
      accepted.push(offset)
    } catch {
      // Which code it is depends on the field; that none is accepted is what counts.
    }
  }
  t.strictSame(accepted, [])
})

t.test('quote-signature: by another key, or over other bytes', async (t) => {
  const genuine = quote(rsa)
  refusesToVerify(t, () => verifyTpmQuote(genuine, makeAk({ scheme: 'rsassa' }).area), 'quote-signature')
  const other = { ...genuine, signature: quote(rsa, { nonce: NONCE }).signature }
  refusesToVerify(t, () => verifyTpmQuote(other, rsa.area), 'quote-signature')
  const ecdsa = quote(p256)
  for (const [r, s] of [
    [Buffer.alloc(1), Buffer.alloc(1)],
    [Buffer.alloc(33, 1), Buffer.alloc(32, 1)],
    [Buffer.alloc(66, 255), Buffer.alloc(66, 255)],
  ] as const) {
    const signature = { ...ecdsa.signature, scheme: 'ecdsa', r, s } as TpmQuote['signature']
    refusesToVerify(t, () => verifyTpmQuote({ ...ecdsa, signature }, p256.area), 'quote-signature')
  }
})

t.test('not-a-quote: whatever else a TPM signs', async (t) => {
  for (const type of (Object.keys(ATTEST_TYPES) as AttestType[]).filter((each) => each !== 'quote')) {
    const attest = encodeAttest(p256, { type })
    const signature = parseTpmSignature(signAttest(p256, attest, { scheme: 'ecdsa', hash: 'sha256' }))
    refusesToVerify(t, () => verifyTpmQuote({ attest, signature, pcrs: [] }, p256.area), 'not-a-quote', type)
  }
})

t.test('bad-signing-key: a key that signs anything, has another scheme, or is weak', async (t) => {
  const refuses = (name: string, evidence: TpmQuote, key: Parameters<typeof verifyTpmQuote>[1]) =>
    refusesToVerify(t, () => verifyTpmQuote(evidence, key), 'bad-signing-key', name)
  for (const [name, attributes] of [
    ['unrestricted', 0x0004_0072],
    ['decrypts too', 0x0007_0072],
    ['can leave its TPM', 0x0005_0070],
    ['does not sign', 0x0001_0072],
  ] as const) {
    const ak = makeAk({ scheme: 'ecdsa', attributes })
    refuses(name, quote(ak), ak.area)
  }
  const attest = encodeAttest(rsa, {})
  const inPss = parseTpmSignature(signAttest(rsa, attest, { scheme: 'rsapss', hash: 'sha256' }))
  refuses('another scheme than the key has', { attest, signature: inPss, pcrs: [] }, rsa.area)
  const sha1 = parseTpmSignature(signAttest(rsa, attest, { scheme: 'rsassa', hash: 'sha1' }))
  refuses('SHA-1', { attest, signature: sha1, pcrs: [] }, publicKeyObject(rsa.area))
  const short = makeAk({ scheme: 'rsassa', rsaBits: 1024 })
  refuses('RSA 1024', quote(short), short.area)
  refuses('RSA signature, EC key', quote(rsa), publicKeyObject(p256.area))
  refuses('ECDSA signature, RSA key', quote(p256), publicKeyObject(rsa.area))
  const k256 = createPublicKey({
    key: {
      kty: 'EC',
      crv: 'secp256k1',
      x: 'eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g',
      y: 'SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg',
    },
    format: 'jwk',
  })
  refuses('another curve', quote(p256), k256)
})

t.test('nonce-mismatch: an answer to another challenge', async (t) => {
  const genuine = quote(p256, { nonce: NONCE })
  for (const nonce of [
    Buffer.alloc(0),
    Buffer.of(0),
    NONCE.subarray(1),
    Buffer.concat([NONCE, Buffer.of(0)]),
  ])
    refusesToVerify(
      t,
      () => verifyTpmQuote(genuine, p256.area, { nonce }),
      'nonce-mismatch',
      nonce.toString('hex'),
    )
})

t.test('pcr-mismatch: other values, or too few', async (t) => {
  const genuine = quote(p256, { pcrs: BANKS })
  const withBank = (bank: PcrBank) => ({
    ...genuine,
    pcrs: [...BANKS.filter((each) => each.bank !== bank.bank), bank],
  })
  const refuses = (name: string, evidence: TpmQuote) =>
    refusesToVerify(t, () => verifyTpmQuote(evidence, p256.area), 'pcr-mismatch', name)
  refuses('another value', withBank({ bank: 'sha384', values: new Map([[11, Buffer.alloc(48, 12)]]) }))
  refuses('a short value', withBank({ bank: 'sha384', values: new Map([[11, Buffer.alloc(47, 11)]]) }))
  refuses('another PCR', withBank({ bank: 'sha384', values: new Map([[12, Buffer.alloc(48, 11)]]) }))
  refuses('a bank is missing', { ...genuine, pcrs: BANKS.slice(1) })
  const swapped = new Map([
    [4, Buffer.alloc(32, 7)],
    [7, Buffer.alloc(32, 4)],
  ])
  refuses('two values swapped', withBank({ bank: 'sha256', values: swapped }))
})

t.test('malformed structures are format errors, not verdicts', async (t) => {
  const genuine = quote(p256)
  for (let length = 0; length < genuine.attest.length; length++)
    t.throws(() => verifyTpmQuote({ ...genuine, attest: genuine.attest.subarray(0, length) }, p256.area), {
      name: 'FormatError',
    })
  const trailing = encodeAttest(p256, { trailing: Buffer.of(0) })
  const signature = parseTpmSignature(signAttest(p256, trailing, { scheme: 'ecdsa', hash: 'sha256' }))
  t.throws(() => verifyTpmQuote({ attest: trailing, signature, pcrs: [] }, p256.area), {
    code: 'trailing-bytes',
  })
})

t.test(
  "a cloud's quotes over three banks are verified with its AK and nonce",
  { skip: vectorsMissing },
  async (t) => {
    const attestation = parseGoTpmToolsAttestation(vector('tpm/gce-cos-85-nonce9009.pb'))
    const nonce = Buffer.from('9009', 'hex')
    const banks = attestation.quotes.flatMap((each) => verifyTpmQuote(each, attestation.ak, { nonce }).pcrs)
    t.strictSame(
      banks.map(({ bank, values }) => [bank, values.size]),
      [
        ['sha1', 24],
        ['sha256', 24],
        ['sha384', 24],
      ],
    )
    for (const each of attestation.quotes) {
      const other = { nonce: Buffer.from('9008', 'hex') }
      refusesToVerify(t, () => verifyTpmQuote(each, attestation.ak, other), 'nonce-mismatch')
    }
  },
)

t.test(
  "Keylime's example is read; its SHA-1 signature is not accepted",
  { skip: vectorsMissing },
  async (t) => {
    const evidence = parseKeylimeQuote(vectorText('tpm/keylime_test_quote.txt'))
    t.match(evidence.signature, { scheme: 'rsassa', hash: { name: 'sha1' } })
    t.strictSame(
      evidence.pcrs.map(({ bank, values }) => [bank, [...values.keys()]]),
      [['sha1', [16]]],
    )
    refusesToVerify(t, () => verifyTpmQuote(evidence, publicKeyObject(rsa.area)), 'bad-signing-key')
  },
)
