/**
 * A report as the fields of JSON that Rust's `sev` crate makes of it, with the certificates that came beside it: how
 * the attester of Trustee sends it (`attestation_report`, `cert_chain`). The bytes that were signed are put together
 * again; a field that is not there is zero, so a document that leaves out what was signed is not authentic.
 */
import { FormatError } from '../../base/errors.ts'
import { JsonText } from '../../formats/json-text.ts'
import { CERTIFICATE_GUIDS, encodeCertificateTable } from '../../formats/snp/certificate-table.ts'
import { SNP_REPORT_BYTES } from '../../formats/snp/report.ts'
import { encodeTcb } from '../../formats/snp/tcb.ts'

/** A report has 6 KiB in this form, a certificate 8 KiB. */
const LIMITS = { what: 'SNP evidence in JSON', maxBytes: 1024 * 1024, maxDepth: 8 }
const MAX_CERTIFICATES = 16

type Members = ReadonlyMap<string, JsonText>
/** `number`: little-endian; `bytes`: a list of numbers; `tcb` and `firmware`: objects, 8 and 3 bytes. */
type Form = 'number' | 'bytes' | 'tcb' | 'firmware'

/** Name, form, offset and length in ATTESTATION_REPORT: AMD 56860, table 23. */
const FIELDS: readonly (readonly [string, Form, number, number])[] = [
  ['version', 'number', 0x00, 4],
  ['guest_svn', 'number', 0x04, 4],
  ['policy', 'number', 0x08, 8],
  ['family_id', 'bytes', 0x10, 16],
  ['image_id', 'bytes', 0x20, 16],
  ['vmpl', 'number', 0x30, 4],
  ['sig_algo', 'number', 0x34, 4],
  ['current_tcb', 'tcb', 0x38, 8],
  ['plat_info', 'number', 0x40, 8],
  ['key_info', 'number', 0x48, 4],
  ['report_data', 'bytes', 0x50, 64],
  ['measurement', 'bytes', 0x90, 48],
  ['host_data', 'bytes', 0xc0, 32],
  ['id_key_digest', 'bytes', 0xe0, 48],
  ['author_key_digest', 'bytes', 0x110, 48],
  ['report_id', 'bytes', 0x140, 32],
  ['report_id_ma', 'bytes', 0x160, 32],
  ['reported_tcb', 'tcb', 0x180, 8],
  ['cpuid_fam_id', 'number', 0x188, 1],
  ['cpuid_mod_id', 'number', 0x189, 1],
  ['cpuid_step', 'number', 0x18a, 1],
  ['chip_id', 'bytes', 0x1a0, 64],
  ['committed_tcb', 'tcb', 0x1e0, 8],
  ['current', 'firmware', 0x1e8, 3],
  ['committed', 'firmware', 0x1ec, 3],
  ['launch_tcb', 'tcb', 0x1f0, 8],
  ['launch_mit_vector', 'number', 0x1f8, 8],
  ['current_mit_vector', 'number', 0x200, 8],
]
const SIGNATURE = [
  ['r', 'bytes', 0x2a0, 72],
  ['s', 'bytes', 0x2e8, 72],
] as const

/**
 * An extended report: 1184 bytes and, where the document has certificates, a table of them. At most 1 MiB of text, 16
 * certificates. Throws FormatError `bad-value` for a member of another form or length than its field (offset: where the
 * field stands in the report), `too-large` above a limit. AMD 56860, table 23; AMD 56421, 4.1.8.1.
 */
export function reportFromJson(document: Uint8Array): Uint8Array {
  const members = membersOf(JsonText.parse(document, LIMITS), 'document', 0)
  const report = Buffer.alloc(SNP_REPORT_BYTES)
  const fields = membersOf(members.get('attestation_report'), 'attestation_report', 0)
  for (const each of FIELDS) writeField(report, fields, each)
  const signature = membersOf(fields.get('signature'), 'signature', SIGNATURE[0][2])
  for (const each of SIGNATURE) writeField(report, signature, each)
  const certificates = members.get('cert_chain')
  if (certificates === undefined || certificates.value === null) return report
  return Buffer.concat([report, encodeCertificateTable(certificatesOf(certificates))])
}

/** An absent or null member is an Option that is None, of a version without the field. */
function writeField(
  report: Buffer,
  members: Members,
  [name, form, offset, length]: readonly [string, Form, number, number],
): void {
  const member = members.get(name)
  if (member === undefined || member.value === null) return
  const bytes = encode(member, { name, form, offset, length })
  if (bytes.length !== length) throw malformed(name, `has ${bytes.length} bytes, must have ${length}`, offset)
  report.set(bytes, offset)
}

interface Place {
  readonly name: string
  readonly form: Form
  readonly offset: number
  readonly length: number
}

function encode(member: JsonText, { name, form, offset, length }: Place): Uint8Array {
  switch (form) {
    case 'bytes':
      return byteList(member, name, offset)
    case 'number':
      return littleEndian(member, { name, offset, length })
    case 'tcb':
      return tcbBytes(membersOf(member, name, offset), name, offset)
    case 'firmware': {
      const version = membersOf(member, name, offset)
      return Uint8Array.from(['build', 'minor', 'major'], (part) => byteOf(version, { part, name, offset }))
    }
  }
}

/** By its digits: a number above 2^53 would not survive being parsed. */
function littleEndian(member: JsonText, { name, offset, length }: Omit<Place, 'form'>): Uint8Array {
  const text = member.text.trim()
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : undefined
  if (value === undefined || value >> BigInt(8 * length) !== 0n)
    throw malformed(name, `is not a number of ${length} bytes`, offset)
  return Uint8Array.from({ length }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn))
}

/** Turin's has an FMC, the others null: AMD 56860, TCB_VERSION. */
function tcbBytes(members: Members, name: string, offset: number): Uint8Array {
  const at = (part: string) => byteOf(members, { part, name, offset })
  const fmc = members.get('fmc')?.value ?? undefined
  const parts = { bootloader: at('bootloader'), tee: at('tee'), snp: at('snp'), microcode: at('microcode') }
  return fmc === undefined
    ? encodeTcb(parts, 'milan-genoa')
    : encodeTcb({ ...parts, fmc: at('fmc') }, 'turin')
}

interface Part {
  readonly part: string
  readonly name: string
  readonly offset: number
}

function byteOf(members: Members, { part, name, offset }: Part): number {
  const value = members.get(part)?.value
  if (isByte(value)) return value
  throw malformed(`${name}.${part}`, 'is not a number from 0 to 255', offset)
}

function byteList({ value }: JsonText, name: string, offset: number): Uint8Array {
  if (!Array.isArray(value) || !value.every(isByte))
    throw malformed(name, 'is not a list of numbers from 0 to 255', offset)
  return Uint8Array.from(value)
}

const isByte = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255

const GUIDS: Readonly<Record<string, string>> = {
  ARK: CERTIFICATE_GUIDS.ark,
  ASK: CERTIFICATE_GUIDS.ask,
  VCEK: CERTIFICATE_GUIDS.vcek,
  VLEK: CERTIFICATE_GUIDS.vlek,
  CRL: CERTIFICATE_GUIDS.crl,
}

/** Entries of a kind that AMD does not name are the host's own and left out, as empty ones are. */
function certificatesOf(list: JsonText): readonly { readonly guid: string; readonly bytes: Uint8Array }[] {
  const elements = list.elements()
  const at = SNP_REPORT_BYTES
  if (elements === undefined) throw malformed('cert_chain', 'is not a list', at)
  if (elements.length > MAX_CERTIFICATES)
    throw malformed('cert_chain', `has more than ${MAX_CERTIFICATES} certificates`, at, 'too-large')
  return elements.flatMap((element) => {
    const entry = membersOf(element, 'cert_chain', at)
    const kind = entry.get('cert_type')?.value
    const guid = typeof kind === 'string' && Object.hasOwn(GUIDS, kind) ? GUIDS[kind] : undefined
    const data = entry.get('data')
    if (guid === undefined || data === undefined) return []
    const bytes = byteList(data, 'cert_chain.data', at)
    return bytes.length === 0 ? [] : [{ guid, bytes }]
  })
}

function membersOf(value: JsonText | undefined, name: string, offset: number): Members {
  const members = value?.members()
  if (members === undefined) throw malformed(name, 'is not an object', offset)
  return members
}

function malformed(
  field: string,
  problem: string,
  offset: number,
  code: FormatError['code'] = 'bad-value',
): FormatError {
  return new FormatError(`cannot parse SNP evidence in JSON: ${field} ${problem}`, { code, field, offset })
}
