/**
 * A TPM made of node:crypto, for tests: keys with real public areas, quotes in the real binary format, and the opening
 * of credentials. Written from the specification's other side: it decrypts where the code under test encrypts.
 */
import {
  constants,
  createDecipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
  sign,
} from 'node:crypto'
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { DIGEST_LENGTHS, type DigestAlgorithm, digest } from '../../base/digest.ts'
import { ATTEST_TYPES, type AttestType, TPM_GENERATED } from '../../formats/tpm2/attest.ts'
import type { Credential } from '../../formats/tpm2/credential.ts'
import { hashAlgorithmId } from '../../formats/tpm2/hash-algorithms.ts'
import { type PcrSelection, writePcrSelections } from '../../formats/tpm2/pcr-selection.ts'
import {
  ECC_CURVES,
  type EccCurve,
  parseTpmPublic,
  type TpmPublic,
  tpmName,
} from '../../formats/tpm2/public.ts'
import { parseTpmSignature, SIGNATURE_SCHEMES, type SignatureScheme } from '../../formats/tpm2/signature.ts'
import { readSized, writeSized } from '../../formats/tpm2/sized-buffer.ts'
import { kdfa, kdfe } from '../tpm/kdf.ts'
import type { PcrBank, TpmQuote } from '../tpm/quote.ts'

export interface SoftwareKey {
  readonly privateKey: KeyObject
  readonly area: TpmPublic
}

export interface AkSpec {
  readonly scheme: SignatureScheme
  readonly hash?: DigestAlgorithm
  readonly curve?: EccCurve
  readonly rsaBits?: number
  /** TPMA_OBJECT; default: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign. */
  readonly attributes?: number
}

const AK_ATTRIBUTES = 0x0005_0072
const EK_ATTRIBUTES = 0x0003_00b2
const NULL = 0x0010

export function makeAk(spec: AkSpec): SoftwareKey {
  const { scheme, hash = 'sha256', curve = 'P-256', rsaBits = 2048, attributes = AK_ATTRIBUTES } = spec
  const { privateKey } = makeKeyPair(scheme === 'ecdsa' ? curve : rsaBits)
  const parameters = new ByteWriter({ what: 'parameters' })
    .u16be(NULL, 'symmetric')
    .u16be(SIGNATURE_SCHEMES[scheme], 'scheme')
    .u16be(hashAlgorithmId(hash), 'hash')
  return { privateKey, area: publicArea({ privateKey, attributes, parameters: parameters.finish() }) }
}

export interface EkSpec {
  readonly kind: 'rsa' | EccCurve
  readonly nameHash?: DigestAlgorithm
  readonly aesBits?: number
  readonly attributes?: number
}

export function makeEk({
  kind,
  nameHash = 'sha256',
  aesBits = 128,
  attributes = EK_ATTRIBUTES,
}: EkSpec): SoftwareKey {
  const { privateKey } = makeKeyPair(kind === 'rsa' ? 2048 : kind)
  const parameters = new ByteWriter({ what: 'parameters' })
    .u16be(0x0006, 'symmetric')
    .u16be(aesBits, 'keyBits')
    .u16be(0x0043, 'mode')
    .u16be(NULL, 'scheme')
  return {
    privateKey,
    area: publicArea({ privateKey, attributes, parameters: parameters.finish(), nameHash }),
  }
}

function makeKeyPair(kind: EccCurve | number): { readonly privateKey: KeyObject } {
  if (typeof kind === 'number') return generateKeyPairSync('rsa', { modulusLength: kind })
  return generateKeyPairSync('ec', { namedCurve: kind })
}

function publicArea(input: {
  readonly privateKey: KeyObject
  readonly attributes: number
  /** Symmetric algorithm and scheme. */
  readonly parameters: Uint8Array
  readonly nameHash?: DigestAlgorithm
}): TpmPublic {
  const { privateKey, attributes, parameters, nameHash = 'sha256' } = input
  const { kty, crv, x, y, n } = createPublicKey(privateKey).export({ format: 'jwk' })
  const writer = new ByteWriter({ what: 'TPMT_PUBLIC' })
    .u16be(kty === 'RSA' ? 1 : 0x23, 'type')
    .u16be(hashAlgorithmId(nameHash), 'nameAlg')
    .u32be(attributes, 'objectAttributes')
    .u16be(0, 'authPolicy')
    .bytes(parameters, 'parameters')
  const bytes = (text: string | undefined) => Buffer.from(text ?? '', 'base64url')
  if (kty === 'RSA') {
    const modulus = bytes(n)
    writer.u16be(modulus.length * 8, 'keyBits').u32be(0, 'exponent')
    return parseTpmPublic(writeSized(writer, modulus, 'unique').finish())
  }
  writer.u16be(ECC_CURVES[crv as EccCurve].id, 'curveID').u16be(NULL, 'kdf')
  return parseTpmPublic(writeSized(writeSized(writer, bytes(x), 'x'), bytes(y), 'y').finish())
}

export interface QuoteSpec {
  readonly nonce?: Uint8Array
  readonly pcrs?: readonly PcrBank[]
  readonly type?: AttestType
  readonly resetCount?: number
  /** Behind the structure, within what is signed. */
  readonly trailing?: Uint8Array
}

const DEFAULT_PCRS: readonly PcrBank[] = [{ bank: 'sha256', values: new Map([[7, Buffer.alloc(32, 7)]]) }]

/** What TPM2_Quote returns, and the values beside it. */
export function quote(ak: SoftwareKey, spec: QuoteSpec = {}): TpmQuote {
  const { pcrs = DEFAULT_PCRS } = spec
  const { scheme, hash } = schemeOf(ak.area)
  const attest = encodeAttest(ak, { ...spec, pcrs })
  return { attest, signature: parseTpmSignature(signAttest(ak, attest, { scheme, hash })), pcrs }
}

export function encodeAttest(ak: SoftwareKey, spec: QuoteSpec): Buffer {
  const { nonce = Buffer.alloc(0), pcrs = DEFAULT_PCRS, type = 'quote', resetCount = 3 } = spec
  const writer = new ByteWriter({ what: 'TPMS_ATTEST' })
    .bytes(TPM_GENERATED, 'magic')
    .u16be(ATTEST_TYPES[type], 'type')
  writeSized(writeSized(writer, tpmName(ak.area), 'qualifiedSigner'), nonce, 'extraData')
  writer.u64be(123_456n, 'clock').u32be(resetCount, 'resetCount').u32be(1, 'restartCount').u8(1, 'safe')
  writer.u64be(0x2026_0101_0000_0000n, 'firmwareVersion')
  const selections = pcrs.map(
    ({ bank, values }): PcrSelection => ({ algorithm: hashAlgorithmId(bank), pcrs: [...values.keys()] }),
  )
  const { hash } = schemeOf(ak.area)
  writePcrSelections(writer, selections)
  writeSized(writer, digest(hash, ...pcrs.flatMap(({ values }) => [...values.values()])), 'pcrDigest')
  return writer.bytes(spec.trailing ?? Buffer.alloc(0), 'trailing').finish()
}

function schemeOf({ scheme, schemeHash }: TpmPublic): {
  readonly scheme: SignatureScheme
  readonly hash: DigestAlgorithm
} {
  const found = (Object.keys(SIGNATURE_SCHEMES) as SignatureScheme[]).find(
    (each) => SIGNATURE_SCHEMES[each] === scheme,
  )
  if (!found || !schemeHash?.bank) throw new TypeError('the key has no signature scheme')
  return { scheme: found, hash: schemeHash.bank }
}

/** A TPMT_SIGNATURE over any bytes. */
export function signAttest(
  { privateKey }: SoftwareKey,
  bytes: Uint8Array,
  { scheme, hash }: { readonly scheme: SignatureScheme; readonly hash: DigestAlgorithm },
): Buffer {
  const writer = new ByteWriter({ what: 'TPMT_SIGNATURE' })
    .u16be(SIGNATURE_SCHEMES[scheme], 'sigAlg')
    .u16be(hashAlgorithmId(hash), 'hash')
  if (scheme === 'ecdsa') {
    const raw = sign(hash, bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    const half = raw.length / 2
    return writeSized(writeSized(writer, raw.subarray(0, half), 'r'), raw.subarray(half), 's').finish()
  }
  const padding = scheme === 'rsapss' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
  return writeSized(
    writer,
    sign(hash, bytes, { key: privateKey, padding, saltLength: DIGEST_LENGTHS[hash] }),
    'sig',
  ).finish()
}

/** TPM2_ActivateCredential: the secret, where the TPM holds both the EK and an object of `akName`; throws otherwise. */
export function activateCredential(ek: SoftwareKey, akName: Uint8Array, credential: Credential): Buffer {
  const hash = ek.area.nameAlgorithm.bank ?? 'sha256'
  const seed = openSeed(ek, hash, credential.encryptedSecret)
  const reader = new ByteReader(credential.idObject, { what: 'TPMS_ID_OBJECT' })
  const integrity = readSized(reader, 'integrityHMAC')
  const encrypted = reader.rest()
  const hmacKey = kdfa(hash, { key: seed, label: 'INTEGRITY' }, DIGEST_LENGTHS[hash] * 8)
  const expected = createHmac(hash, hmacKey).update(encrypted).update(akName).digest()
  if (!expected.equals(integrity)) throw new Error('TPM_RC_INTEGRITY')
  const bits = ek.area.symmetric?.keyBits ?? 128
  const key = kdfa(hash, { key: seed, label: 'STORAGE', contextU: akName }, bits)
  const decipher = createDecipheriv(`aes-${bits}-cfb`, key, Buffer.alloc(16))
  const plain = Buffer.concat([decipher.update(encrypted), decipher.final()])
  return Buffer.from(readSized(new ByteReader(plain, { what: 'credential' }), 'secret'))
}

function openSeed(ek: SoftwareKey, hash: DigestAlgorithm, encryptedSecret: Uint8Array): Buffer {
  const { key } = ek.area
  if (key.kind === 'rsa')
    return privateDecrypt(
      {
        key: ek.privateKey,
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: hash,
        oaepLabel: Buffer.from('IDENTITY\0'),
      },
      encryptedSecret,
    )
  const reader = new ByteReader(encryptedSecret, { what: 'TPMS_ECC_POINT' })
  const x = readSized(reader, 'x')
  const y = readSized(reader, 'y')
  const jwk = {
    kty: 'EC',
    crv: key.curve,
    x: Buffer.from(x).toString('base64url'),
    y: Buffer.from(y).toString('base64url'),
  }
  const z = diffieHellman({
    privateKey: ek.privateKey,
    publicKey: createPublicKey({ key: jwk, format: 'jwk' }),
  })
  return kdfe(hash, { z, label: 'IDENTITY', partyU: x, partyV: key.x }, DIGEST_LENGTHS[hash] * 8)
}
