/**
 * The two structures that a verifier must write: RFC 3279, 2.2.3 (Ecdsa-Sig-Value) and RFC 4055, 1.2 (keys for PSS).
 */
import type { DigestAlgorithm } from '../../base/digest.ts'

/**
 * SEQUENCE of the INTEGERs r and s; each from 1 to 127 bytes big-endian, leading zeros allowed. RFC 3279, 2.2.3.
 * Never throws: lengths are the caller's to keep.
 */
export function encodeEcdsaValue(r: Uint8Array, s: Uint8Array): Buffer {
  return element(0x30, Buffer.concat([unsigned(r), unsigned(s)]))
}

function unsigned(bytes: Uint8Array): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0)
  const minimal = start < 0 ? bytes.subarray(-1) : bytes.subarray(start)
  const sign = (minimal[0] ?? 0) >= 0x80 ? [Buffer.alloc(1)] : []
  return element(0x02, Buffer.concat([...sign, minimal]))
}

/** What the keys that `encodePssKey` writes are for. RFC 4055, 1.2; the salt in bytes. */
export const PSS_KEY_ALGORITHM = { hash: 'sha384', saltLength: 48 } as const satisfies {
  readonly hash: DigestAlgorithm
  readonly saltLength: number
}

/** AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes. */
const PSS_SHA384_SALT_48 = Buffer.from(
  '304106092a864886f70d01010a3034a00f300d06096086480165030402020500' +
    'a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130',
  'hex',
)

/**
 * SubjectPublicKeyInfo of an RSA key that may be used with that algorithm alone; `key` is an RSAPublicKey. RFC 4055,
 * 1.2. Never throws.
 */
export function encodePssKey(key: Uint8Array): Buffer {
  const bits = element(0x03, Buffer.concat([Buffer.alloc(1), key]))
  return element(0x30, Buffer.concat([PSS_SHA384_SALT_48, bits]))
}

/** Content of at most 65535 bytes. */
function element(tag: number, content: Uint8Array): Buffer {
  const { length } = content
  const long = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...(length < 0x80 ? [length] : long)]), content])
}
