/** Writes ATTESTATION_REPORTs, for tests and the emulated security processor: the inverse of `parseSnpReport`. */
import { ByteWriter } from '../../base/bytes.ts'
import { encodeEcdsaSignature } from './ecdsa.ts'
import type { FirmwareVersion, SnpReport } from './report.ts'
import { SNP_SIGNED_BYTES } from './report.ts'

/** What is written; the decoded forms and the bytes they were read from are not. AMD 56860, table 23. */
export type SnpReportFields = Omit<SnpReport, 'raw' | 'signed' | 'processor' | 'tcbLayout'>

/**
 * 1184 bytes. Throws FormatError 'bad-value' where a field does not have its length. AMD 56860, table 23
 * (ATTESTATION_REPORT).
 */
export function encodeSnpReport(report: SnpReportFields): Buffer {
  const { vmpl, cpuid, launchMitigations, currentMitigations } = report
  const writer = new ByteWriter({ what: 'SNP report' })
    .u32le(report.version, 'VERSION')
    .u32le(report.guestSvn, 'GUEST_SVN')
    .u64le(report.policy.raw, 'POLICY')
    .bytes(report.familyId, 'FAMILY_ID', 16)
    .bytes(report.imageId, 'IMAGE_ID', 16)
    .u32le(vmpl === 'host' ? 0xffff_ffff : vmpl, 'VMPL')
    .u32le(1, 'SIGNATURE_ALGO')
    .bytes(report.currentTcb.raw, 'CURRENT_TCB', 8)
    .u64le(report.platformInfo.raw, 'PLATFORM_INFO')
    .u32le(report.keyInfo.raw, 'KEY_INFO')
    .zeros(4)
    .bytes(report.reportData, 'REPORT_DATA', 64)
    .bytes(report.measurement, 'MEASUREMENT', 48)
    .bytes(report.hostData, 'HOST_DATA', 32)
    .bytes(report.idKeyDigest, 'ID_KEY_DIGEST', 48)
    .bytes(report.authorKeyDigest, 'AUTHOR_KEY_DIGEST', 48)
    .bytes(report.reportId, 'REPORT_ID', 32)
    .bytes(report.reportIdMa, 'REPORT_ID_MA', 32)
    .bytes(report.reportedTcb.raw, 'REPORTED_TCB', 8)
  if (cpuid) writer.bytes(Buffer.from([cpuid.family, cpuid.model, cpuid.stepping]), 'CPUID')
  writer
    .zeros(cpuid ? 21 : 24)
    .bytes(report.chipId, 'CHIP_ID', 64)
    .bytes(report.committedTcb.raw, 'COMMITTED_TCB', 8)
    .bytes(firmware(report.currentFirmware), 'CURRENT_BUILD')
    .bytes(firmware(report.committedFirmware), 'COMMITTED_BUILD')
    .bytes(report.launchTcb.raw, 'LAUNCH_TCB', 8)
  if (launchMitigations !== undefined) writer.u64le(launchMitigations, 'LAUNCH_MIT_VECTOR')
  if (currentMitigations !== undefined) writer.u64le(currentMitigations, 'CURRENT_MIT_VECTOR')
  return writer
    .zeros(SNP_SIGNED_BYTES - writer.length)
    .bytes(encodeEcdsaSignature(report.signature), 'SIGNATURE')
    .finish()
}

function firmware({ major, minor, build }: FirmwareVersion): Buffer {
  return Buffer.from([build, minor, major, 0])
}
