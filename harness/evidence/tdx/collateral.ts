import { FormatError } from '../../base/errors.ts'
import { type Crl, parseCrl } from '../../formats/crl.ts'
import type { JsonText } from '../../formats/json-text.ts'
import { looksLikePem, parseCertificates, parseCrls, parsePem } from '../../formats/pem.ts'
import type { Certificate } from '../../formats/x509.ts'
import { type QeIdentity, readQeIdentity } from './qe-identity.ts'
import {
  hexBytes,
  parseJson,
  qeIdentityOf,
  type SignedDocument,
  signedDocument,
  tcbInfoOf,
} from './signed-document.ts'
import { readTcbInfo, type TcbInfo } from './tcb-info.ts'

/**
 * What vouches for a platform's TCB, in any number and order: `verifyTdxQuote` takes what fits the quote. All of it is
 * untrusted until then. Intel PCS API v4.
 */
export interface TdxCollateral {
  readonly tcbInfos: readonly SignedDocument<TcbInfo>[]
  readonly qeIdentities: readonly SignedDocument<QeIdentity>[]
  /** Issuers of all kinds, and PCK certificates for quotes that do not carry theirs. */
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
}

/** Nothing of any kind. */
export const NO_COLLATERAL: TdxCollateral = { tcbInfos: [], qeIdentities: [], certificates: [], crls: [] }

/**
 * All parts in one, in order; nothing is left out. Never throws; the limits are those of the parts. Intel PCS API v4.
 */
export function mergeTdxCollateral(...parts: readonly TdxCollateral[]): TdxCollateral {
  return {
    tcbInfos: parts.flatMap(({ tcbInfos }) => tcbInfos),
    qeIdentities: parts.flatMap(({ qeIdentities }) => qeIdentities),
    certificates: parts.flatMap(({ certificates }) => certificates),
    crls: parts.flatMap(({ crls }) => crls),
  }
}

/**
 * Reads one file of collateral, whatever it is:
 * - TCB info or QE identity as the PCS answers, `{"tcbInfo":…,"signature":…}`;
 * - one document with everything (`tcb_info`, `tcb_info_signature`, `pck_crl`, …), as quote verification libraries
 *   exchange it: values as text, lists as hex, PEM (collateral 3.0) or DER (3.1), which may be arrays of bytes, each with
 *   the NUL that ends it in C or without;
 * - the documents of a PCCS for its administrator (`{"collaterals":{"tcbinfos":[…],…}}`);
 * - certificates and revocation lists, PEM or DER, or a list in hex as a PCCS answers.
 *
 * JSON has at most 2 MiB and 16 levels, PEM 4 MiB, a list 1 MiB. Throws FormatError, also for a document of which no
 * part is known: an unread file must not count as collateral. Intel PCS API v4; RFC 7468, 5 and 6.
 */
export function parseTdxCollateral(bytes: Uint8Array): TdxCollateral {
  const first = bytes.find((byte) => !isWhiteSpace(byte))
  if (first === OPEN_BRACE) return parseDocument(parseJson(bytes, 'collateral'))
  if (first === DER_SEQUENCE) return parseDer(bytes)
  return parseEncoded(Buffer.from(bytes).toString('latin1'))
}

const OPEN_BRACE = 0x7b
const DER_SEQUENCE = 0x30
const isWhiteSpace = (byte: number): boolean =>
  byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d

function parseDocument(document: JsonText): TdxCollateral {
  const members = document.members() ?? new Map<string, JsonText>()
  const collaterals = members.get('collaterals')
  const found = mergeTdxCollateral(
    fromDocument(tcbInfoOf(document), qeIdentityOf(document)),
    fromBundle(members),
    collaterals ? fromPccs(collaterals.members() ?? new Map()) : NO_COLLATERAL,
  )
  if (Object.values(found).every(({ length }) => length === 0)) {
    throw unknown('is JSON, but has none of tcbInfo, enclaveIdentity, tcb_info, qe_identity, collaterals')
  }
  return found
}

function fromDocument(
  tcbInfo: SignedDocument<TcbInfo> | undefined,
  qeIdentity: SignedDocument<QeIdentity> | undefined,
): TdxCollateral {
  return {
    ...NO_COLLATERAL,
    tcbInfos: tcbInfo ? [tcbInfo] : [],
    qeIdentities: qeIdentity ? [qeIdentity] : [],
  }
}

type Members = ReadonlyMap<string, JsonText>

/** The members of Intel's `sgx_ql_qve_collateral_t`, and signatures beside the values where a tool split them. */
function fromBundle(members: Members): TdxCollateral {
  const tcbInfo = bundled(members, 'tcb_info', { wrapped: tcbInfoOf, read: readTcbInfo })
  const qeIdentity = bundled(members, 'qe_identity', { wrapped: qeIdentityOf, read: readQeIdentity })
  const chains = [
    ...['tcb_info_issuer_chain', 'qe_identity_issuer_chain', 'pck_crl_issuer_chain', 'pck_certificate_chain'],
  ]
  return mergeTdxCollateral(
    fromDocument(tcbInfo, qeIdentity),
    ...[...chains, 'root_ca_crl', 'pck_crl'].map((name) => fromValue(members.get(name))),
  )
}

interface Bundled<Content> {
  readonly wrapped: (document: JsonText) => SignedDocument<Content> | undefined
  readonly read: (value: unknown) => Content
}

function bundled<Content>(
  members: Members,
  name: string,
  { wrapped, read }: Bundled<Content>,
): SignedDocument<Content> | undefined {
  const member = members.get(name)
  if (member === undefined) return undefined
  const document = typeof member.value === 'string' ? parseJson(unterminated(member.value), name) : member
  const whole = wrapped(document)
  if (whole) return whole
  return signedDocument(document, byteString(members.get(`${name}_signature`), `${name}_signature`), read)
}

/** The administrator's documents of Intel's PCCS (PUT /platformcollateral). */
function fromPccs(members: Members): TdxCollateral {
  const tcbInfos = (members.get('tcbinfos')?.elements() ?? []).map((entry) =>
    reparsed(entry.members()?.get('tdx_tcbinfo'), 'tdx_tcbinfo'),
  )
  const identity = reparsed(members.get('tdqeidentity'), 'tdqeidentity')
  const lists = members.get('pckcacrl')?.members() ?? new Map<string, JsonText>()
  const chains = members.get('certificates')?.members() ?? new Map<string, JsonText>()
  const pckChains = chains.get('SGX-PCK-Certificate-Issuer-Chain')?.members() ?? new Map<string, JsonText>()
  const values = [
    ...[lists.get('processorCrl'), lists.get('platformCrl'), members.get('rootcacrl')],
    ...[...chains.values()].filter(({ value }) => typeof value === 'string'),
    ...pckChains.values(),
  ]
  return mergeTdxCollateral(
    ...tcbInfos.map((document) => fromDocument(document && tcbInfoOf(document), undefined)),
    fromDocument(undefined, identity && qeIdentityOf(identity)),
    ...values.map((value) => fromValue(value)),
  )
}

/** A document inside a document: as an object, or as text that has one. */
function reparsed(member: JsonText | undefined, what: string): JsonText | undefined {
  if (member === undefined || member.value === null || member.value === '') return undefined
  return typeof member.value === 'string' ? parseJson(member.value, what) : member
}

/** Certificates or a list, however they were put into JSON; null and empty text stand for nothing. */
function fromValue(member: JsonText | undefined): TdxCollateral {
  const value = member?.value
  if (value === undefined || value === null) return NO_COLLATERAL
  if (typeof value === 'string') return parseText(unterminated(value))
  const bytes = byteString(member, 'revocation list')
  return bytes[0] === DER_SEQUENCE ? parseDer(bytes) : parseText(unterminated(bytes.toString('latin1')))
}

function parseText(text: string): TdxCollateral {
  if (text === '') return NO_COLLATERAL
  return parseEncoded(text.includes('%') ? percentDecoded(text) : text)
}

/** Lengths of texts in Intel's structure count the NUL at their end, and tools copy as much. */
function unterminated(text: string): string {
  return text.endsWith('\0') ? text.slice(0, -1) : text
}

/** Issuer chains stand in HTTP headers with percent encoding, and are copied from there as they are. */
function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw unknown('has a broken percent encoding', cause)
  }
}

/** Hex, or an array of the bytes as numbers. */
function byteString(member: JsonText | undefined, field: string): Buffer {
  const value = member?.value
  if (!Array.isArray(value)) return hexBytes(value, field)
  const isBytes = value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 0xff)
  if (!isBytes) throw unknown(`has ${field} as an array that is not of bytes`)
  return Buffer.from(value as number[])
}

/** PEM, or DER in hex or base64. */
function parseEncoded(text: string): TdxCollateral {
  const bytes = Buffer.from(text, 'latin1')
  if (looksLikePem(bytes)) return parsePemFile(bytes)
  const compact = text.trim()
  if (/^30[0-9a-fA-F]+$/.test(compact)) return parseDer(hexBytes(compact, 'collateral'))
  const decoded = Buffer.from(compact, 'base64')
  if (decoded[0] === DER_SEQUENCE && decoded.toString('base64') === compact) return parseDer(decoded)
  throw unknown('is neither JSON, PEM, DER, nor DER in hex or base64')
}

function parsePemFile(bytes: Uint8Array): TdxCollateral {
  const labels = new Set(parsePem(bytes).map(({ label }) => label))
  const certificates = labels.has('CERTIFICATE') ? parseCertificates(bytes) : []
  const crls = labels.has('X509 CRL') ? parseCrls(bytes) : []
  if (certificates.length + crls.length === 0) throw unknown('is PEM without certificates and lists')
  return { ...NO_COLLATERAL, certificates, crls }
}

/** A list and a certificate both are SEQUENCEs: the one that parses. */
function parseDer(bytes: Uint8Array): TdxCollateral {
  try {
    return { ...NO_COLLATERAL, crls: [parseCrl(bytes)] }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    try {
      return { ...NO_COLLATERAL, certificates: parseCertificates(bytes) }
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause
      throw unknown(`is DER, but neither a revocation list (${error.message}) nor a certificate`, cause)
    }
  }
}

function unknown(problem: string, cause?: unknown): FormatError {
  return new FormatError(`cannot read TDX collateral: the file ${problem}`, {
    ...{ code: 'bad-value', field: 'collateral', offset: 0, cause },
  })
}
