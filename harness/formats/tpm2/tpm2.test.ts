import t from 'tap'
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { refusesToParse, refusesTruncation } from '../../base/testing/rejects.ts'
import { parseAttest } from './attest.ts'
import { encodeCredentialFile, parseCredentialFile } from './credential.ts'
import { hashAlgorithm, hashAlgorithmId } from './hash-algorithms.ts'
import { readPcrSelections, selectedPcrs, writePcrSelections } from './pcr-selection.ts'
import { parseTpm2bPublic, parseTpmPublic, publicKeyObject, tpmName } from './public.ts'
import { parseTpmSignature } from './signature.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** A copy of `bytes` with others written over it. */
function patched(bytes: Uint8Array, offset: number, value: string): Buffer {
  const copy = Buffer.from(bytes)
  hex(value).copy(copy, offset)
  return copy
}

// --- TPMS_ATTEST ---

/** Field by field after Part 2, TPMS_ATTEST: magic, type, signer, data, clock, firmware, selection, digest. */
const ATTEST = hex(
  `ff544347 8018 0022 000b ${'aa'.repeat(32)} 0004 01020304 00000000000003e8 00000007 00000002 01 2026000000000000
   00000001 000b 03 810800 0020 ${'bb'.repeat(32)}`.replaceAll('\n', ''),
)

t.test('an attestation gives its nonce, clock, firmware version, selection and digest', async (t) => {
  const attest = parseAttest(ATTEST)
  t.equal(attest.type, 'quote')
  t.strictSame(Buffer.from(attest.extraData), hex('01020304'))
  t.strictSame(attest.clockInfo, { clock: 1000n, resetCount: 7, restartCount: 2, safe: true })
  t.equal(attest.firmwareVersion, 0x2026_0000_0000_0000n)
  t.strictSame(attest.quote?.selections, [{ algorithm: 0x000b, pcrs: [0, 7, 11] }])
  t.equal(Buffer.from(attest.quote?.pcrDigest ?? []).toString('hex'), 'bb'.repeat(32))
})

t.test('other attestations are kept as bytes, and are no quote', async (t) => {
  const attest = parseAttest(patched(ATTEST, 4, '8017'))
  t.match(attest, { type: 'certify', quote: undefined })
  t.equal(attest.attested.length, 44)
})

t.test('a malformed attestation is refused with field and offset', async (t) => {
  refusesTruncation(t, ATTEST, parseAttest)
  refusesToParse(t, () => parseAttest(patched(ATTEST, 0, 'fe')), {
    code: 'bad-magic',
    field: 'magic',
    offset: 0,
  })
  for (const type of ['0000', '8018'.replace('8', '0'), '8020', 'ffff'])
    refusesToParse(t, () => parseAttest(patched(ATTEST, 4, type)), {
      code: 'bad-value',
      field: 'type',
      offset: 4,
    })
  refusesToParse(t, () => parseAttest(Buffer.concat([ATTEST, hex('00')])), { code: 'trailing-bytes' })
  const safe = ATTEST.length - 34 - 10 - 8 - 1
  for (const value of ['02', 'ff'])
    refusesToParse(t, () => parseAttest(patched(ATTEST, safe, value)), {
      code: 'bad-value',
      field: 'clockInfo.safe',
      offset: safe,
    })
  const lengths: [number, string][] = [
    [6, 'qualifiedSigner.size'],
    [42, 'extraData.size'],
    [ATTEST.length - 34, 'pcrDigest.size'],
  ]
  for (const [offset, field] of lengths)
    refusesToParse(t, () => parseAttest(patched(ATTEST, offset, 'ffff')), {
      code: 'bad-value',
      field,
      offset,
    })
})

// --- PCR selections ---

t.test('PCR selections are read as they were written', async (t) => {
  const selections = [
    { algorithm: 0x0004, pcrs: [0, 8, 23] },
    { algorithm: 0x000c, pcrs: [] },
  ]
  const bytes = writePcrSelections(new ByteWriter({ what: 'test' }), selections).finish()
  const read = (input: Uint8Array) => readPcrSelections(new ByteReader(input, { what: 'test' }))
  t.strictSame(read(bytes), selections)
  t.strictSame(selectedPcrs(hex('000080')), [23])
  refusesTruncation(t, bytes, read)
  refusesToParse(t, () => read(hex('00000011')), { code: 'too-large', field: 'pcrSelect.count' })
  refusesToParse(t, () => read(hex('ffffffff')), { code: 'too-large', field: 'pcrSelect.count' })
  refusesToParse(t, () => read(hex('00000001 1234 03 000000')), {
    code: 'bad-value',
    field: 'pcrSelect.hash',
  })
  refusesToParse(t, () => read(hex('00000002 000b 01 01 000b 01 01')), {
    code: 'bad-value',
    field: 'pcrSelect.hash',
  })
  for (const size of ['00', '05', 'ff'])
    refusesToParse(t, () => read(hex(`00000001 000b ${size} 0000000000`)), {
      code: 'bad-value',
      field: 'pcrSelect.sizeofSelect',
    })
})

// --- TPMT_SIGNATURE ---

t.test('RSA and ECDSA signatures are read; everything else is refused', async (t) => {
  const rsa = hex('0014 000b 0004 01020304')
  t.match(parseTpmSignature(rsa), { scheme: 'rsassa', hash: { name: 'sha256' } })
  t.match(parseTpmSignature(hex('0016 000c 0001 01')), { scheme: 'rsapss', hash: { name: 'sha384' } })
  const ecdsa = hex('0018 000b 0002 0102 0001 03')
  t.match(parseTpmSignature(ecdsa), { scheme: 'ecdsa', r: hex('0102'), s: hex('03') })
  refusesTruncation(t, rsa, parseTpmSignature)
  refusesTruncation(t, ecdsa, parseTpmSignature)
  const cases: [string, string, string][] = [
    ['0005 000b 0001 01', 'bad-value', 'sigAlg'],
    ['0010', 'bad-value', 'sigAlg'],
    ['0014 1234 0001 01', 'bad-value', 'hash'],
    ['0014 000b 0000', 'bad-value', 'sig.size'],
    ['0014 000b ffff', 'bad-value', 'sig.size'],
    ['0018 000b 0000 0001 01', 'bad-value', 'signatureR.size'],
    ['0018 000b 0001 01 0043', 'bad-value', 'signatureS.size'],
    ['0014 000b 0001 01 00', 'trailing-bytes', 'end'],
  ]
  for (const [text, code, field] of cases)
    refusesToParse(t, () => parseTpmSignature(hex(text)), { code: code as 'bad-value', field }, text)
})

// --- TPMT_PUBLIC ---

/** An AK on P-256: the generator of the curve is as good a point as any. */
const GX = '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296'
const GY = '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5'
const ECC_AK = hex(`0023 000b 00050072 0000 0010 0018 000b 0003 0010 0020 ${GX} 0020 ${GY}`)
const RSA_EK = hex(`0001 000b 000300b2 0000 0006 0080 0043 0010 0400 00000000 0080 ${'c5'.repeat(128)}`)

t.test('a public area gives attributes, algorithms and the key', async (t) => {
  const ak = parseTpmPublic(ECC_AK)
  t.match(ak.attributes, { fixedTpm: true, restricted: true, sign: true, decrypt: false })
  t.match(ak, { scheme: 0x18, schemeHash: { name: 'sha256' }, symmetric: undefined, key: { curve: 'P-256' } })
  t.equal(publicKeyObject(ak).asymmetricKeyDetails?.namedCurve, 'prime256v1')
  const ek = parseTpmPublic(RSA_EK)
  t.match(ek, { symmetric: { keyBits: 128, mode: 0x43 }, key: { kind: 'rsa', bits: 1024, exponent: 65_537 } })
  t.equal(publicKeyObject(ek).asymmetricKeyDetails?.modulusLength, 1024)
  const wrapped = Buffer.concat([hex(ECC_AK.length.toString(16).padStart(4, '0')), ECC_AK])
  t.strictSame(parseTpm2bPublic(wrapped).key, ak.key)
})

t.test('a name is the digest of the public area behind its algorithm', async (t) => {
  const name = tpmName(parseTpmPublic(ECC_AK))
  t.equal(name.subarray(0, 2).toString('hex'), '000b')
  t.equal(name.length, 34)
  t.notSame(name, tpmName(parseTpmPublic(patched(ECC_AK, 7, '70'))), 'every attribute is part of it')
})

t.test('coordinates without their leading zeros are filled up', async (t) => {
  const short = hex(`0023 000b 00050072 0000 0010 0018 000b 0003 0010 0001 05 0020 ${GY}`)
  t.match(parseTpmPublic(short).key, { x: hex(`${'00'.repeat(31)}05`) })
})

t.test('a malformed public area is refused with field and offset', async (t) => {
  refusesTruncation(t, ECC_AK, parseTpmPublic)
  refusesTruncation(t, RSA_EK, parseTpmPublic)
  const ecc = (offset: number, value: string) => () => parseTpmPublic(patched(ECC_AK, offset, value))
  const rsa = (offset: number, value: string) => () => parseTpmPublic(patched(RSA_EK, offset, value))
  refusesToParse(t, ecc(0, '0008'), { code: 'bad-value', field: 'type', offset: 0 })
  refusesToParse(t, ecc(2, '1234'), { code: 'bad-value', field: 'nameAlg', offset: 2 })
  for (const bit of [0, 3, 12, 13, 14, 15, ...Array.from({ length: 12 }, (_, index) => 20 + index)])
    refusesToParse(t, ecc(4, (0x0005_0072 + 2 ** bit).toString(16).padStart(8, '0')), {
      code: 'reserved-bit',
      field: 'objectAttributes',
      offset: 4,
    })
  refusesToParse(t, ecc(8, 'ffff'), { code: 'bad-value', field: 'authPolicy.size', offset: 8 })
  refusesToParse(t, ecc(10, '000a'), { code: 'bad-value', field: 'symmetric', offset: 10 })
  refusesToParse(t, ecc(12, '1234'), { code: 'bad-value', field: 'scheme', offset: 12 })
  refusesToParse(t, ecc(14, '0000'), { code: 'bad-value', field: 'scheme.hashAlg' })
  refusesToParse(t, ecc(16, '0010'), { code: 'bad-value', field: 'curveID', offset: 16 })
  refusesToParse(t, ecc(18, '1234'), { code: 'bad-value', field: 'kdf' })
  for (const size of ['0000', '0021', 'ffff'])
    refusesToParse(t, ecc(20, size), { code: 'bad-value', field: 'unique.x.size' })
  refusesToParse(t, rsa(18, '0401'), { code: 'bad-value', field: 'keyBits', offset: 18 })
  for (const size of ['0000', '0001', '0081', 'ffff'])
    refusesToParse(t, rsa(24, size), { code: 'bad-value', field: 'unique.size' })
  refusesToParse(t, () => parseTpmPublic(Buffer.concat([ECC_AK, hex('00')])), { code: 'trailing-bytes' })
  refusesToParse(t, () => parseTpm2bPublic(hex('0000')), { code: 'bad-value', field: 'publicArea.size' })
  const offCurve = parseTpmPublic(patched(ECC_AK, ECC_AK.length - 1, 'f6'))
  refusesToParse(t, () => publicKeyObject(offCurve), { code: 'bad-value', field: 'unique' })
})

// --- Credentials and algorithms ---

t.test('the file of a credential is read as it was written', async (t) => {
  const credential = { idObject: hex('0002 aabb cc'), encryptedSecret: hex('dd') }
  const bytes = encodeCredentialFile(credential)
  t.equal(bytes.toString('hex'), 'badcc0de00000001' + '00050002aabbcc' + '0001dd')
  t.strictSame(parseCredentialFile(bytes), credential)
  refusesTruncation(t, bytes, parseCredentialFile)
  refusesToParse(t, () => parseCredentialFile(patched(bytes, 7, '02')), { code: 'bad-magic' })
  refusesToParse(t, () => parseCredentialFile(patched(bytes, 8, '0000')), { code: 'bad-value' })
  refusesToParse(t, () => parseCredentialFile(Buffer.concat([bytes, hex('00')])), { code: 'trailing-bytes' })
})

t.test('hash algorithms have the identifiers and lengths of the registry', async (t) => {
  t.match(hashAlgorithm(0x000c), { name: 'sha384', digestBytes: 48 })
  t.equal(hashAlgorithm(0x0006), undefined)
  t.equal(hashAlgorithmId('sha512'), 0x000d)
})
