/** What kind of evidence a file is, by its first fields. A guess: the parser of the kind has the last word. */
import { FormatError } from '../base/errors.ts'
import { JsonText } from '../formats/json-text.ts'
import { looksLikePem } from '../formats/pem.ts'
import type { EvidenceKind } from './kind.ts'
import { reportFromJson } from './snp/json-report.ts'
import { decodeBase64, plainBytes } from './text-forms.ts'

/** A piece of evidence out of its wrapping. */
export interface Unwrapped {
  readonly kind: EvidenceKind
  /** Evidence without what only carried it; containers that hold several things are left to the kind. */
  readonly bytes: Uint8Array
}

/** Above every limit of a parser of ours, the largest of which is 16 MiB: as hex it is this long. */
const MAX_BYTES = 32 * 1024 * 1024

/**
 * Tells the kind of at most 32 MiB, by the first fields of SNP's ATTESTATION_REPORT, a TDX quote's header, TPMS_ATTEST,
 * a TCG event, an HCL report; or by the members of a JSON document. Text that is hex or base64 of any of them is
 * decoded first. Throws FormatError where the kind is not given and cannot be told, or a container is malformed.
 */
export function unwrap({
  evidence,
  kind,
}: {
  readonly evidence: Uint8Array
  readonly kind?: EvidenceKind | undefined
}): Unwrapped {
  if (evidence.length > MAX_BYTES)
    throw unknown('too-large', `it has ${evidence.length} bytes, at most ${MAX_BYTES} are read`)
  // PEM without padding would pass for base64.
  const bytes = looksLikePem(evidence) ? evidence : plainBytes(evidence)
  const found = kind ?? detect(bytes)
  if (!isJson(bytes)) return { kind: found, bytes }
  if (found === 'tdx-quote') return { kind: found, bytes: bareQuote(bytes) }
  return { kind: found, bytes: found === 'snp-report' ? reportFromJson(bytes) : bytes }
}

const TPM_GENERATED = 0xff544347
const TEE_TYPES = [0, 0x81]
const HEAD_BYTES = 64

function detect(bytes: Uint8Array): EvidenceKind {
  if (bytes.length === 0) throw unknown('truncated', 'it is empty')
  const head = Buffer.alloc(HEAD_BYTES)
  head.set(bytes.subarray(0, HEAD_BYTES))
  const kind =
    byMagic(head) ?? (isText(head) ? byText(bytes) : undefined) ?? byFields(head, bytes) ?? byContainer(head)
  if (kind !== undefined) return kind
  throw unknown('bad-magic', noEvidence(head, bytes))
}

/** What people take for evidence, said with where it belongs. */
function noEvidence(head: Buffer, bytes: Uint8Array): string {
  if (looksLikePem(bytes))
    return 'it is PEM; certificates, lists and keys come beside evidence (--certs, --crl, --ak)'
  if (head.toString('latin1', 0, 4) === 'CCEL')
    return 'it is the ACPI table; the log itself is /sys/firmware/acpi/tables/data/CCEL'
  return `it begins with ${head.toString('hex', 0, Math.min(16, bytes.length))}`
}

function byMagic(head: Buffer): EvidenceKind | undefined {
  if (head.toString('latin1', 0, 4) === 'HCLA') return 'hcl-report'
  // TPMS_ATTEST, and the same in a TPM2B.
  const isAttest = head.readUInt32BE(0) === TPM_GENERATED || head.readUInt32BE(2) === TPM_GENERATED
  return isAttest ? 'tpm-quote' : undefined
}

function isText(head: Buffer): boolean {
  const first = head.toString('latin1').trimStart().charCodeAt(0)
  return first === 0x7b || first === 0x1e || /^r[A-Za-z0-9+/]{16}/.test(head.toString('latin1'))
}

/** JSON by the members that only one kind has; Keylime's quote by its "r". */
function byText(bytes: Uint8Array): EvidenceKind | undefined {
  if (bytes[0] === 0x1e) return 'event-log'
  if (bytes[0] === 0x72) return 'tpm-quote'
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const has = (name: string) => text.includes(`"${name}"`)
  if (has('attestation_report')) return 'snp-report'
  if (has('hcl_report') || (has('report') && has('vcek'))) return 'hcl-report'
  if (has('tpm_quote') || (has('message') && has('signature') && has('pcrs'))) return 'tpm-quote'
  return has('quote') ? 'tdx-quote' : undefined
}

/** Versions that do not exist yet are reports too: their parser says so. */
const MAX_REPORT_VERSION = 16
const SIGNATURE_ALGORITHM_AT = 0x34
const MAX_TCG_TYPE = 0x14
const FIRST_EFI_TYPE = 0x8000_0001
const LAST_EFI_TYPE = 0x8000_00e1
const MAX_PCR = 23

/** Versions, types and sizes, where they stand in each structure. */
function byFields(head: Buffer, bytes: Uint8Array): EvidenceKind | undefined {
  const version = head.readUInt16LE(0)
  // An SNP report has a version of 32 bits where a quote has the type of its key, which is never 0.
  const keyType = head.readUInt16LE(2)
  if (
    version >= 3 &&
    version <= 5 &&
    keyType >= 1 &&
    keyType <= 3 &&
    TEE_TYPES.includes(head.readUInt32LE(4))
  )
    return 'tdx-quote'
  const report = head.readUInt32LE(0)
  if (report >= 1 && report <= MAX_REPORT_VERSION && head.readUInt32LE(SIGNATURE_ALGORITHM_AT) === 1)
    return 'snp-report'
  return isEvent(head, bytes.length) ? 'event-log' : undefined
}

/**
 * The first entry of a log: PCR, type, SHA-1 digest, size of its data; not all zero, as the unused rest of a log is.
 */
function isEvent(head: Buffer, length: number): boolean {
  if (head.every((byte) => byte === 0)) return false
  const type = head.readUInt32LE(4)
  const isType = type <= MAX_TCG_TYPE || (type >= FIRST_EFI_TYPE && type <= LAST_EFI_TYPE)
  return head.readUInt32LE(0) <= MAX_PCR && isType && head.readUInt32LE(28) <= length - 32
}

/**
 * For files that may be a quote of a TD or of a TPM: by the first 8 bytes, in hex and base64 too, or by the members of
 * a JSON document. Never throws.
 */
export function isTdxQuote(file: Uint8Array): boolean {
  const bytes = plainBytes(file)
  const head = Buffer.alloc(HEAD_BYTES)
  head.set(bytes.subarray(0, HEAD_BYTES))
  return (isJson(bytes) ? byText(bytes) : byFields(head, bytes)) === 'tdx-quote'
}

/**
 * The quote of such a file: of at most 4 MiB where it stands in JSON. Throws FormatError for a malformed document. RFC
 * 8259.
 */
export function bareTdxQuote(file: Uint8Array): Uint8Array {
  return unwrap({ evidence: file, kind: 'tdx-quote' }).bytes
}

/** go-tpm-tools: field 1, a TPMT_PUBLIC. az-cvm-vtpm: the length of a signature, 256. */
function byContainer(head: Buffer): EvidenceKind | undefined {
  if (
    head[0] === 0x0a &&
    [0x0001, 0x0023].some((type) => [2, 3].some((at) => head.readUInt16BE(at) === type))
  )
    return 'tpm-quote'
  return head.readBigUInt64LE(0) === 256n ? 'tpm-quote' : undefined
}

/** A quote that stands in JSON: `{"quote":"…"}`, in hex as guests' tools print it, in base64 as Trustee's attester. */
function bareQuote(bytes: Uint8Array): Uint8Array {
  const quote = memberOf(bytes, 'quote')
  if (typeof quote === 'string' && /^(?:[0-9a-fA-F]{2})+$/.test(quote)) return Buffer.from(quote, 'hex')
  const decoded = typeof quote === 'string' ? decodeBase64(quote) : undefined
  if (decoded === undefined)
    throw unknown('bad-value', 'it is JSON without a member "quote" in hex or base64')
  return decoded
}

/** By its first byte that is no white space: an object. Never throws. RFC 8259, 2. */
export function isJson(bytes: Uint8Array): boolean {
  const first = bytes.find((byte) => ![0x09, 0x0a, 0x0d, 0x20].includes(byte))
  return first === 0x7b
}

/** What tools put beside a quote is an event log, in hex or as objects; a quote has 64 KiB at most. */
const QUOTE_DOCUMENT = { what: 'TDX quote in JSON', maxBytes: 4 * 1024 * 1024, maxDepth: 16 }

function memberOf(bytes: Uint8Array, name: string): unknown {
  return JsonText.parse(bytes, QUOTE_DOCUMENT).members()?.get(name)?.value
}

function unknown(code: FormatError['code'], problem: string): FormatError {
  return new FormatError(`cannot tell what kind of evidence this is: ${problem}`, {
    ...{ code, field: 'evidence', offset: 0 },
    hint: 'name it with --kind',
  })
}
