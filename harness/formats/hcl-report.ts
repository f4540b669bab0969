/**
 * What Azure's paravisor leaves in the vTPM at NV index 0x01400001: a hardware report and the data that its REPORT_DATA
 * is the digest of. Microsoft, "Guest attestation for confidential VMs", attestation report format.
 */
import { ByteReader } from '../base/bytes.ts'
import type { DigestAlgorithm } from '../base/digest.ts'

const HEADER_BYTES = 32
/** Room for an SNP report; a TDREPORT takes 1024 of it. */
const REPORT_BYTES = 1184
const TDREPORT_BYTES = 1024
const RUNTIME_HEADER_BYTES = 20
const FIXED_BYTES = HEADER_BYTES + REPORT_BYTES
/** The NV index holds 2600 bytes; a file may be cut to what is used. */
const MAX_BYTES = 64 * 1024
const REQUEST_CVM_REPORT = 2

const HARDWARE: ReadonlyMap<number, HclReport['hardware']> = new Map([
  [2, 'snp'],
  [4, 'tdx'],
])
const HASHES: ReadonlyMap<number, DigestAlgorithm> = new Map([
  [1, 'sha256'],
  [2, 'sha384'],
  [3, 'sha512'],
])

/** The attestation report of an Azure paravisor, and what it is bound to. */
export interface HclReport {
  readonly version: number
  readonly hardware: 'snp' | 'tdx'
  /** An SNP report (1184 bytes), or a TDREPORT (1024), which only the platform that made it can check. */
  readonly hardwareReport: Uint8Array
  /** Of the runtime data, in REPORT_DATA, followed by zeros. */
  readonly hash: DigestAlgorithm
  /** JSON, exactly as it was hashed. */
  readonly runtimeData: Uint8Array
}

/**
 * Parses 1236 bytes, the runtime data (`variable_data_size` bytes of JSON), and nothing but zeros behind: at most 64
 * KiB. Throws FormatError: `bad-magic`, `bad-value` also where the three sizes contradict one another, `truncated`,
 * `reserved-bit`, `too-large`. Microsoft, "Guest attestation for confidential VMs", attestation report format.
 */
export function parseHclReport(bytes: Uint8Array): HclReport {
  const reader = new ByteReader(bytes, { what: 'HCL report' })
  if (bytes.length > MAX_BYTES)
    throw reader.error('too-large', 'report', `has ${bytes.length} bytes, at most ${MAX_BYTES} are read`)
  reader.magic(Buffer.from('HCLA'), 'signature')
  const version = expectOne(reader, 'version', [1, 2])
  const reportSize = reader.u32le('report_size')
  expectOne(reader, 'request_type', [REQUEST_CVM_REPORT])
  expectOne(reader, 'status', [0])
  reader.mustBeZero(12, 'reserved')
  const report = reader.bytes(REPORT_BYTES, 'hw_report')
  const dataSize = reader.u32le('data_size')
  expectOne(reader, 'data_version', [1])
  const hardware = HARDWARE.get(expectOne(reader, 'report_type', [...HARDWARE.keys()])) ?? 'snp'
  const hash = HASHES.get(expectOne(reader, 'hash_type', [...HASHES.keys()])) ?? 'sha256'
  const variableSize = reader.u32le('variable_data_size')
  if (dataSize !== RUNTIME_HEADER_BYTES + variableSize || reportSize !== FIXED_BYTES + dataSize)
    throw reader.error(
      'bad-value',
      'report_size',
      `is ${reportSize}, data_size ${dataSize}, variable_data_size ${variableSize}; they must differ by ${FIXED_BYTES} and ${RUNTIME_HEADER_BYTES}`,
      8,
    )
  const runtimeData = reader.bytes(variableSize, 'variable_data')
  reader.mustBeZero(reader.remaining, 'padding')
  const hardwareReport = hardware === 'tdx' ? withoutPadding(report) : report
  return { version, hardware, hardwareReport, hash, runtimeData }
}

function withoutPadding(report: Uint8Array): Uint8Array {
  const reader = new ByteReader(report, { what: 'HCL report', base: HEADER_BYTES })
  const bytes = reader.bytes(TDREPORT_BYTES, 'hw_report')
  reader.mustBeZero(reader.remaining, 'hw_report padding')
  return bytes
}

function expectOne(reader: ByteReader, field: string, allowed: readonly number[]): number {
  const offset = reader.offset
  const value = reader.u32le(field)
  if (allowed.includes(value)) return value
  throw reader.error('bad-value', field, `is ${value}, must be ${allowed.join(' or ')}`, offset)
}
