import type { ByteReader } from '../../base/bytes.ts'

/** The report of an SGX enclave, here of the quoting enclave (QE): Intel SDM volume 3D, table "Layout of REPORT". */

/** Bytes of an SGX REPORTBODY. Intel SDM volume 3D, "Layout of REPORT". */
export const ENCLAVE_REPORT_BYTES = 384

/**
 * Bit 1 of ATTRIBUTES: the enclave can be debugged, so what it signs proves nothing. Intel SDM volume 3D, ATTRIBUTES.
 */
export const ENCLAVE_DEBUG = 0x02

/** SGX REPORTBODY: Intel SDM volume 3D, "Report (REPORT)". */
export interface EnclaveReport {
  readonly cpuSvn: Uint8Array
  /** MISCSELECT, 32 bits. */
  readonly miscSelect: number
  /** ATTRIBUTES, 16 bytes: flags and XFRM. */
  readonly attributes: Uint8Array
  readonly mrEnclave: Uint8Array
  /** SHA-256 of the key that signed the enclave. */
  readonly mrSigner: Uint8Array
  readonly isvProdId: number
  readonly isvSvn: number
  readonly reportData: Uint8Array
}

/**
 * Reads ENCLAVE_REPORT_BYTES bytes. Throws FormatError 'truncated' or, for a reserved byte that is set, 'reserved-bit'.
 * Intel SDM volume 3D, "Layout of REPORT".
 */
export function readEnclaveReport(reader: ByteReader): EnclaveReport {
  const cpuSvn = reader.bytes(16, 'QE CPUSVN')
  const miscSelect = reader.u32le('QE MISCSELECT')
  reader.mustBeZero(12, 'QE reserved at 20')
  reader.skip(16, 'QE ISVEXTPRODID')
  const attributes = reader.bytes(16, 'QE ATTRIBUTES')
  const mrEnclave = reader.bytes(32, 'QE MRENCLAVE')
  reader.mustBeZero(32, 'QE reserved at 96')
  const mrSigner = reader.bytes(32, 'QE MRSIGNER')
  reader.mustBeZero(32, 'QE reserved at 160')
  reader.skip(64, 'QE CONFIGID')
  const isvProdId = reader.u16le('QE ISVPRODID')
  const isvSvn = reader.u16le('QE ISVSVN')
  reader.skip(2, 'QE CONFIGSVN')
  reader.mustBeZero(42, 'QE reserved at 262')
  reader.skip(16, 'QE ISVFAMILYID')
  const reportData = reader.bytes(64, 'QE REPORTDATA')
  return { cpuSvn, miscSelect, attributes, mrEnclave, mrSigner, isvProdId, isvSvn, reportData }
}
