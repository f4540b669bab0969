import { VerifyError } from '../../base/errors.ts'
import { type DerReader, TAG } from '../../formats/der.ts'
import { parseCertificates } from '../../formats/pem.ts'
import type { TdxQuote } from '../../formats/tdx/quote.ts'
import { type Certificate, findExtension, nameText } from '../../formats/x509.ts'
import { extensionReader } from '../../formats/x509-extensions.ts'

/**
 * The SGX extension of a PCK certificate, 1.2.840.113741.1.13.1: Intel SGX PCK Certificate and CRL Profile
 * Specification, 2.3.4.1. It names the platform and the SVNs that the certificate was issued for.
 */

/** OID of the SGX extensions: Intel SGX PCK Certificate and CRL Profile, "SGX Extensions". */
export const SGX_EXTENSION = '1.2.840.113741.1.13.1'
const OID = {
  ppid: `${SGX_EXTENSION}.1`,
  tcb: `${SGX_EXTENSION}.2`,
  pceId: `${SGX_EXTENSION}.3`,
  fmspc: `${SGX_EXTENSION}.4`,
  sgxType: `${SGX_EXTENSION}.5`,
  platformInstanceId: `${SGX_EXTENSION}.6`,
} as const
const PCE_SVN = `${OID.tcb}.17`
const CPU_SVN = `${OID.tcb}.18`
const COMPONENTS = 16
/** More than the profile has (7); bounds what a certificate can make us read. */
const MAX_ENTRIES = 64

/**
 * The SGX extensions of a PCK certificate: FMSPC 6 bytes, PCEID 2, PPID 16, CPUSVN 16. Intel SGX PCK Certificate and
 * CRL Profile Specification, 2.3.4.1.
 */
export interface PckIdentity {
  /** 16 bytes: the platform's provisioning id, the same in every certificate of this processor package. */
  readonly ppid: Uint8Array
  /** 6 bytes: family, model, stepping, platform type, custom SKU. */
  readonly fmspc: Uint8Array
  /** 2 bytes. */
  readonly pceId: Uint8Array
  readonly pceSvn: number
  /** 16 SVNs. */
  readonly cpuSvnComponents: Uint8Array
  /** 16 bytes, as the processor reports them. */
  readonly cpuSvn: Uint8Array
  readonly sgxType: 'standard' | 'scalable' | 'scalable-with-integrity'
  /** 16 bytes; platforms of several packages have one. */
  readonly platformInstanceId: Uint8Array | undefined
}

const SGX_TYPES = ['standard', 'scalable', 'scalable-with-integrity'] as const

/** Types of certification data that hold certificates: 4 the PCK's alone, 5 its chain. */
const CERTIFICATE_TYPES: readonly number[] = [4, 5]

/**
 * Certificates inside a quote, the PCK's first wherever it stood: Intel writes PEM with the leaf first, its sample DER
 * with the root first. Empty for a quote that only names its PCK. Throws FormatError.
 */
export function carriedCertificates({ certificationData }: TdxQuote): readonly Certificate[] {
  const { type, data } = certificationData
  if (!CERTIFICATE_TYPES.includes(type)) return []
  const carried = parseCertificates(data)
  const leaf = carried.find(hasSgxExtension)
  return leaf ? [leaf, ...carried.filter((certificate) => certificate !== leaf)] : carried
}

/**
 * Whether it is a PCK certificate, by the extension alone. OID 1.2.840.113741.1.13.1: Intel SGX PCK Certificate and CRL
 * Profile Specification. Never throws.
 */
export function hasSgxExtension(certificate: Certificate): boolean {
  return findExtension(certificate, SGX_EXTENSION) !== undefined
}

/**
 * Throws FormatError; VerifyError 'bad-certificate' where the extension or one of its parts is missing. Intel SGX PCK
 * Certificate and CRL Profile Specification, 2.3.4.1.
 */
export function readPckIdentity(certificate: Certificate): PckIdentity {
  const extension = findExtension(certificate, SGX_EXTENSION)
  if (extension === undefined) throw lacks(certificate, 'the SGX extension')
  const outer = extensionReader(extension, 'PCK certificate')
  const entries = readEntries(outer.sequence('SGX extension'))
  outer.end('SGX extension')
  const need = (oid: string, name: string) => {
    const entry = entries.get(oid)
    if (entry === undefined) throw lacks(certificate, name)
    return entry
  }
  const tcbReader = need(OID.tcb, 'TCB').sequence('TCB')
  const tcb = readEntries(tcbReader)
  const needTcb = (oid: string, name: string) => {
    const entry = tcb.get(oid)
    if (entry === undefined) throw lacks(certificate, name)
    return entry
  }
  return {
    ppid: fixed(need(OID.ppid, 'PPID'), 'PPID', 16),
    fmspc: fixed(need(OID.fmspc, 'FMSPC'), 'FMSPC', 6),
    pceId: fixed(need(OID.pceId, 'PCEID'), 'PCEID', 2),
    pceSvn: integer(needTcb(PCE_SVN, 'PCESVN'), 'PCESVN', 0xffff),
    cpuSvnComponents: Uint8Array.from({ length: COMPONENTS }, (_, index) => {
      const name = `SGX TCB Comp${String(index + 1).padStart(2, '0')} SVN`
      return integer(needTcb(`${OID.tcb}.${index + 1}`, name), name, 0xff)
    }),
    cpuSvn: fixed(needTcb(CPU_SVN, 'CPUSVN'), 'CPUSVN', 16),
    sgxType: readSgxType(need(OID.sgxType, 'SGX Type')),
    platformInstanceId: optionalFixed(entries.get(OID.platformInstanceId), 'Platform Instance ID', 16),
  }
}

/** SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, value }: a reader for each value, by OID; none may come twice. */
function readEntries(reader: DerReader): ReadonlyMap<string, DerReader> {
  const entries = new Map<string, DerReader>()
  while (!reader.done) {
    const offset = reader.offset
    const entry = reader.sequence('SGX extension entry')
    const oid = entry.oid('SGX extension id')
    if (entries.has(oid)) throw reader.error('bad-value', 'SGX extension', `has ${oid} twice`, offset)
    if (entries.size >= MAX_ENTRIES) {
      throw reader.error('too-large', 'SGX extension', `has more than ${MAX_ENTRIES} entries`, offset)
    }
    entries.set(oid, entry)
  }
  return entries
}

function fixed(entry: DerReader, field: string, length: number): Uint8Array {
  const offset = entry.offset
  const value = entry.octetString(field)
  entry.end(field)
  if (value.length !== length) {
    throw entry.error('bad-value', field, `has ${value.length} bytes, must have ${length}`, offset)
  }
  return value
}

function optionalFixed(entry: DerReader | undefined, field: string, length: number): Uint8Array | undefined {
  return entry && fixed(entry, field, length)
}

function integer(entry: DerReader, field: string, max: number): number {
  const value = entry.smallInteger(field, max)
  entry.end(field)
  return value
}

function readSgxType(entry: DerReader): PckIdentity['sgxType'] {
  const { content, offset } = entry.read(TAG.enumerated, 'SGX Type')
  entry.end('SGX Type')
  const type = content.length === 1 ? SGX_TYPES[content[0] ?? -1] : undefined
  if (type === undefined) throw entry.error('bad-value', 'SGX Type', 'is none of 0, 1, 2', offset)
  return type
}

function lacks(certificate: Certificate, name: string): VerifyError {
  const subject = nameText(certificate.subject)
  return new VerifyError(
    `cannot use the certificate of "${subject}" as a PCK certificate: it lacks ${name}`,
    {
      code: 'bad-certificate',
      expected: `a PCK certificate with ${name}`,
      got: 'none',
    },
  )
}
