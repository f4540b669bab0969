import { ByteReader } from '../../base/bytes.ts'
import { ENCLAVE_REPORT_BYTES, type EnclaveReport, readEnclaveReport } from './enclave-report.ts'
import { readTdReport, TD_REPORT_10_BYTES, TD_REPORT_15_BYTES, type TdReport } from './td-report.ts'

/**
 * TDX quotes of versions 4 and 5: Intel TDX DCAP Quoting Library API, appendix "Quote Format". Parsing decides nothing
 * about authenticity; `verifyTdxQuote` does.
 */

const HEADER_BYTES = 48
const SIGNATURE_BYTES = 64
const KEY_BYTES = 64
/** The kernel hands out 32 KiB at most; far above what a quote with its chain takes (5 KiB). */
const MAX_QUOTE_BYTES = 65_536

const ECDSA_P256 = 2
const TEE_TYPE_SGX = 0
const TEE_TYPE_TDX = 0x81
const QE_REPORT_CERTIFICATION_DATA = 6
/** Body descriptors of version 5: type to version and size in bytes. */
const BODY_TYPES: Readonly<Record<number, { readonly version: TdReport['version']; readonly size: number }>> =
  {
    2: { version: '1.0', size: TD_REPORT_10_BYTES },
    3: { version: '1.5', size: TD_REPORT_15_BYTES },
  }
const SGX_BODY_TYPE = 1

/** The first 48 bytes: Intel TDX DCAP Quoting Library API, "Quote Header". */
export interface TdxQuoteHeader {
  readonly version: 4 | 5
  /** 2: ECDSA over P-256, the only type that exists in the field. */
  readonly attestationKeyType: 2
  readonly teeType: 0x81
  /** Reserved in version 4, zero in every quote seen; covered by the signature, judged by nobody. */
  readonly qeSvn: number
  readonly pceSvn: number
  /** 16 bytes; 939a7233-f79c-4ca9-940a-0db3957f0607 is Intel's. */
  readonly qeVendorId: Uint8Array
  /** 20 bytes; Intel's QE puts an id of the platform into the first 16. */
  readonly userData: Uint8Array
}

/**
 * How the PCK certificate is named or carried; `data` is a view of the input. Intel TDX DCAP Quoting Library API, "QE
 * Certification Data"; the type has 16 bits, the length 32.
 */
export interface CertificationData {
  /** 1 to 3: identifiers of the PCK; 4: the certificate; 5: its chain, PEM; 7: a platform manifest. */
  readonly type: number
  readonly data: Uint8Array
}

/**
 * A quote of version 4 or 5: header of 48 bytes, body of 584 or 648, signature data. Byte fields are views of the
 * input. Intel TDX DCAP Quoting Library API, "Quote Format".
 */
export interface TdxQuote {
  readonly header: TdxQuoteHeader
  readonly body: TdReport
  /** Header, body descriptor (version 5) and body: what the attestation key signed. */
  readonly signedBytes: Uint8Array
  /** r and s, 32 bytes each, big-endian. */
  readonly signature: Uint8Array
  /** X and Y of the ECDSA attestation key on P-256, 32 bytes each, big-endian. */
  readonly attestationKey: Uint8Array
  readonly qeReport: EnclaveReport
  /** The 384 bytes of `qeReport`: what the PCK signed. */
  readonly qeReportBytes: Uint8Array
  /** By the PCK; r and s as above. */
  readonly qeReportSignature: Uint8Array
  /** 0 to 65535 bytes, bound together with the attestation key by the QE's REPORTDATA. */
  readonly qeAuthenticationData: Uint8Array
  readonly certificationData: CertificationData
  /**
   * Bytes after the signature data. Quote generation hands out fixed buffers, so padding is normal (70 bytes, up to
   * 3065 seen, not always zero); nothing covers it and nothing reads it.
   */
  readonly trailingBytes: number
}

/**
 * Parses a quote of at most 64 KiB. Throws FormatError: 'bad-value' for what is no TDX quote of version 4 or 5 with an
 * ECDSA P-256 key, 'truncated', 'reserved-bit', 'too-large', and 'trailing-bytes' for slack inside the signature data.
 * Intel TDX DCAP Quoting Library API, "Quote Format".
 */
export function parseTdxQuote(bytes: Uint8Array): TdxQuote {
  const reader = new ByteReader(bytes, { what: 'TDX quote' })
  if (bytes.length > MAX_QUOTE_BYTES) {
    throw reader.error('too-large', 'quote', `has ${bytes.length} bytes, at most ${MAX_QUOTE_BYTES} are read`)
  }
  const header = readHeader(reader)
  const body = header.version === 5 ? readDescribedBody(reader) : readTdReport(reader, '1.0')
  const signedBytes = bytes.subarray(0, reader.position)
  const length = reader.u32le('signature data length')
  const signed = readSignatureData(reader.sub(length, 'signature data'))
  return { header, body, signedBytes, ...signed, trailingBytes: reader.remaining }
}

function readHeader(reader: ByteReader): TdxQuoteHeader {
  const version = reader.u16le('Version')
  if (version !== 4 && version !== 5) {
    throw reader.error('bad-value', 'Version', `is ${version}, must be 4 or 5`, 0)
  }
  const attestationKeyType = reader.u16le('Attestation Key Type')
  if (attestationKeyType !== ECDSA_P256) {
    const problem = `is ${attestationKeyType}, must be ${ECDSA_P256} (ECDSA P-256)`
    throw reader.error('bad-value', 'Attestation Key Type', problem, 2)
  }
  const teeType = reader.u32le('TEE Type')
  if (teeType !== TEE_TYPE_TDX) {
    const name = teeType === TEE_TYPE_SGX ? ' (an SGX quote)' : ''
    throw reader.error('bad-value', 'TEE Type', `is 0x${teeType.toString(16)}${name}, must be 0x81 (TDX)`, 4)
  }
  return {
    version,
    attestationKeyType,
    teeType,
    qeSvn: reader.u16le('QE SVN'),
    pceSvn: reader.u16le('PCE SVN'),
    qeVendorId: reader.bytes(16, 'QE Vendor ID'),
    userData: reader.bytes(20, 'User Data'),
  }
}

function readDescribedBody(reader: ByteReader): TdReport {
  const type = reader.u16le('Body Type')
  const known = BODY_TYPES[type]
  if (known === undefined) {
    const name = type === SGX_BODY_TYPE ? ' (an SGX enclave report)' : ''
    throw reader.error(
      'bad-value',
      'Body Type',
      `is ${type}${name}, must be 2 or 3 (TD report)`,
      HEADER_BYTES,
    )
  }
  const size = reader.u32le('Body Size')
  if (size !== known.size) {
    const problem = `is ${size}, must be ${known.size} for body type ${type}`
    throw reader.error('bad-value', 'Body Size', problem, HEADER_BYTES + 2)
  }
  return readTdReport(reader, known.version)
}

type SignatureData = Omit<TdxQuote, 'header' | 'body' | 'signedBytes' | 'trailingBytes'>

/** Quote signature data: everything is nested by lengths, and each length must be exactly what its content takes. */
function readSignatureData(reader: ByteReader): SignatureData {
  const signature = reader.bytes(SIGNATURE_BYTES, 'quote signature')
  const attestationKey = reader.bytes(KEY_BYTES, 'ECDSA attestation key')
  const typeOffset = reader.offset
  const type = reader.u16le('certification data type')
  if (type !== QE_REPORT_CERTIFICATION_DATA) {
    const problem = `is ${type}, must be ${QE_REPORT_CERTIFICATION_DATA} (QE report)`
    throw reader.error('bad-value', 'certification data type', problem, typeOffset)
  }
  const nested = reader.sub(reader.u32le('certification data size'), 'QE report certification data')
  reader.end()
  const qeReportBytes = nested.bytes(ENCLAVE_REPORT_BYTES, 'QE report')
  const offset = nested.offset - ENCLAVE_REPORT_BYTES
  const qeReport = readEnclaveReport(new ByteReader(qeReportBytes, { what: nested.what, base: offset }))
  const qeReportSignature = nested.bytes(SIGNATURE_BYTES, 'QE report signature')
  const authLength = nested.u16le('QE authentication data size')
  const qeAuthenticationData = nested.bytes(authLength, 'QE authentication data')
  const certificationData = readCertificationData(nested)
  nested.end()
  return {
    ...{ signature, attestationKey, qeReport, qeReportBytes, qeReportSignature },
    ...{ qeAuthenticationData, certificationData },
  }
}

function readCertificationData(reader: ByteReader): CertificationData {
  const offset = reader.offset
  const type = reader.u16le('QE certification data type')
  if (type < 1 || type > 7 || type === QE_REPORT_CERTIFICATION_DATA) {
    const problem = `is ${type}, must be 1 to 5 or 7: no QE report inside a QE report`
    throw reader.error('bad-value', 'QE certification data type', problem, offset)
  }
  const size = reader.u32le('QE certification data size')
  return { type, data: reader.bytes(size, 'QE certification data') }
}
