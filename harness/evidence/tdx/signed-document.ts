import { FormatError } from '../../base/errors.ts'
import { JsonText } from '../../formats/json-text.ts'
import { type QeIdentity, readQeIdentity } from './qe-identity.ts'
import { readTcbInfo, type TcbInfo } from './tcb-info.ts'

/**
 * A JSON document with a detached ECDSA signature (P-256 with SHA-256) over its exact text, as the PCS sends it (Intel
 * PCS API v4): `{"tcbInfo":{…},"signature":"…"}`. Nothing here is verified yet.
 */
export interface SignedDocument<Content> {
  readonly content: Content
  /** What the signature covers: the text of the value, as it was sent. */
  readonly signedBytes: Uint8Array
  /** r and s, 32 bytes each, big-endian. */
  readonly signature: Uint8Array
}

/** Larger than any document of the PCS (7 KiB) or of a PCCS for a whole fleet of models. */
const MAX_DOCUMENT_BYTES = 2 * 1024 * 1024
/** The PCS nests 6 levels, the documents of a PCCS 3 more. */
const MAX_DEPTH = 16
const SIGNATURE_BYTES = 64

/** JSON of at most 2 MiB and 16 levels, no key twice. Throws FormatError: `too-large`, `bad-value`. RFC 8259. */
export function parseJson(input: Uint8Array | string, what: string): JsonText {
  return JsonText.parse(input, { what, maxBytes: MAX_DOCUMENT_BYTES, maxDepth: MAX_DEPTH })
}

/**
 * A value and its signature, from `{"tcbInfo":…,"signature":…}`; undefined where the object has no such member. Throws
 * FormatError. Intel PCS API v4, "Get TDX TCB Info".
 */
export function tcbInfoOf(document: JsonText): SignedDocument<TcbInfo> | undefined {
  return signedMember(document, 'tcbInfo', readTcbInfo)
}

/** The same for `{"enclaveIdentity":…,"signature":…}`. Throws FormatError. Intel PCS API v4, "Get TDX QE Identity". */
export function qeIdentityOf(document: JsonText): SignedDocument<QeIdentity> | undefined {
  return signedMember(document, 'enclaveIdentity', readQeIdentity)
}

/**
 * The value alone, its signature of 64 bytes from elsewhere. Throws FormatError for another length, or what `read`
 * throws. Intel PCS API v4; ECDSA P-256 with SHA-256.
 */
export function signedDocument<Content>(
  value: JsonText,
  signature: Uint8Array,
  read: (value: unknown) => Content,
): SignedDocument<Content> {
  if (signature.length !== SIGNATURE_BYTES) {
    throw new FormatError(
      `cannot parse ${value.what}: its signature has ${signature.length} bytes, must have ${SIGNATURE_BYTES}`,
      { code: 'bad-value', field: 'signature', offset: 0 },
    )
  }
  return { content: read(value.value), signedBytes: value.bytes, signature }
}

function signedMember<Content>(
  document: JsonText,
  name: string,
  read: (value: unknown) => Content,
): SignedDocument<Content> | undefined {
  const members = document.members()
  const value = members?.get(name)
  if (value === undefined) return undefined
  return signedDocument(value, hexBytes(members?.get('signature')?.value, `${name} signature`), read)
}

/**
 * Bytes in hex of either case, at least one. Throws FormatError `bad-value` where `value` is no string of two digits a
 * byte.
 */
export function hexBytes(value: unknown, field: string): Buffer {
  if (typeof value !== 'string' || value.length % 2 !== 0 || !/^[0-9a-fA-F]+$/.test(value)) {
    throw new FormatError(`cannot parse ${field}: it is not hex`, { code: 'bad-value', field, offset: 0 })
  }
  return Buffer.from(value, 'hex')
}
