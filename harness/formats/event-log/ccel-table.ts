/** The ACPI table that says where a CC event log lies: ACPI 6.5, "CC Event Log ACPI Table" (CCEL). */
import { ByteReader } from '../../base/bytes.ts'

/** Bytes of the table: ACPI 6.5, "CC Event Log ACPI Table". */
export const CCEL_TABLE_BYTES = 56

/** Where the log of a TD lies. Address and size in bytes. ACPI 6.5, "CC Event Log ACPI Table". */
export interface CcelTable {
  /** 1 AMD SEV, 2 Intel TDX: UEFI 2.10, EFI_CC_TYPE. */
  readonly ccType: number
  readonly ccSubtype: number
  /** Log area minimum length, bytes. */
  readonly logBytes: bigint
  /** Guest-physical address of the log area. */
  readonly logAddress: bigint
  /**
   * Where the sum over the table is zero, as ACPI wants it. Some tables in circulation were edited after they left a
   * guest.
   */
  readonly checksumValid: boolean
}

/**
 * Throws FormatError. The table is not measured: it says where to look, never what to believe. ACPI 6.5, "CC Event Log
 * ACPI Table"; 56 bytes.
 */
export function parseCcelTable(bytes: Uint8Array): CcelTable {
  const reader = new ByteReader(bytes, { what: 'CCEL table' })
  reader.magic(Buffer.from('CCEL'), 'Signature')
  const length = reader.u32le('Length')
  if (length !== CCEL_TABLE_BYTES)
    throw reader.error('bad-value', 'Length', `is ${length}, must be ${CCEL_TABLE_BYTES}`, 4)
  // Revision, checksum, OEM id, OEM table id and revision, creator id and revision.
  reader.skip(28, 'header')
  const ccType = reader.u8('CC Type')
  const ccSubtype = reader.u8('CC Subtype')
  reader.mustBeZero(2, 'Reserved')
  const logBytes = reader.u64le('Log Area Minimum Length')
  const logAddress = reader.u64le('Log Area Start Address')
  reader.end()
  const sum = bytes.reduce((total, byte) => (total + byte) & 0xff, 0)
  return { ccType, ccSubtype, logBytes, logAddress, checksumValid: sum === 0 }
}
