/** SNP evidence as clients send it, made the bytes that the processor signed. */
import { z } from 'zod'
import { ByteWriter } from '../../base/bytes.ts'
import { CERTIFICATE_GUIDS, encodeCertificateTable } from '../../formats/snp/certificate-table.ts'
import { SNP_REPORT_BYTES } from '../../formats/snp/report.ts'
import { base64Of } from './base64.ts'
import type { PrimaryEvidence } from './primary-evidence.ts'

const byte = z.number().int().min(0).max(255)
const bytes = (length: number) => z.array(byte).length(length)
const u32 = z.number().int().min(0).max(0xffff_ffff)
/** JSON.parse has no 64-bit numbers: what is larger than 2^53 would not be what was signed. */
const u64 = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const tcb = z.object({ fmc: byte.nullish(), bootloader: byte, tee: byte, snp: byte, microcode: byte })
const firmware = z.object({ major: byte, minor: byte, build: byte })

/** The serde form of virtee/sev's `AttestationReport`, which Trustee's attester sends. */
const reportSchema = z.object({
  ...{ version: u32, guest_svn: u32, policy: u64, family_id: bytes(16), image_id: bytes(16), vmpl: u32 },
  ...{ sig_algo: u32, current_tcb: tcb, plat_info: u64, key_info: u32, report_data: bytes(64) },
  ...{ measurement: bytes(48), host_data: bytes(32), id_key_digest: bytes(48), author_key_digest: bytes(48) },
  ...{ report_id: bytes(32), report_id_ma: bytes(32), reported_tcb: tcb, chip_id: bytes(64) },
  ...{ cpuid_fam_id: byte.nullish(), cpuid_mod_id: byte.nullish(), cpuid_step: byte.nullish() },
  ...{ committed_tcb: tcb, current: firmware, committed: firmware, launch_tcb: tcb },
  ...{ launch_mit_vector: u64.nullish(), current_mit_vector: u64.nullish() },
  signature: z.object({ r: bytes(72), s: bytes(72) }),
})
type SerdeReport = z.output<typeof reportSchema>
type SerdeTcb = z.output<typeof tcb>

const MAX_CERTIFICATES = 16
const serdeEvidenceSchema = z.object({
  attestation_report: z.union([reportSchema, z.string()]),
  cert_chain: z
    .array(z.object({ cert_type: z.unknown(), data: z.array(byte).max(64 * 1024) }))
    .max(MAX_CERTIFICATES)
    .nullish(),
})
/** As configfs-tsm has them (Linux ABI, configfs-tsm-report). */
const tsmEvidenceSchema = z.object({ outblob: z.string(), auxblob: z.string().nullish() })

/** Either form. */
export const snpEvidenceSchema = z.union([tsmEvidenceSchema, serdeEvidenceSchema])

/** A report with the certificates that came along, as an extended report. */
export function snpEvidence(value: z.output<typeof snpEvidenceSchema>): PrimaryEvidence {
  if ('outblob' in value) {
    const table = value.auxblob ? base64Of(value.auxblob, 'auxblob') : Buffer.alloc(0)
    const report = base64Of(value.outblob, 'outblob')
    return { kind: 'snp-report', section: 'snp', bytes: Buffer.concat([report, table]), eventLog: undefined }
  }
  const { attestation_report: report, cert_chain: chain } = value
  const raw = typeof report === 'string' ? base64Of(report, 'attestation_report') : encodeReport(report)
  const entries = (chain ?? []).flatMap(({ cert_type: type, data }) => {
    const name = typeof type === 'string' ? type.toLowerCase() : ''
    const guid = isKnown(name) ? CERTIFICATE_GUIDS[name] : undefined
    return guid === undefined ? [] : [{ guid, bytes: Uint8Array.from(data) }]
  })
  const table = entries.length > 0 ? encodeCertificateTable(entries) : Buffer.alloc(0)
  return { kind: 'snp-report', section: 'snp', bytes: Buffer.concat([raw, table]), eventLog: undefined }
}

function isKnown(name: string): name is keyof typeof CERTIFICATE_GUIDS {
  return Object.hasOwn(CERTIFICATE_GUIDS, name)
}

/**
 * AMD 56860, ATTESTATION_REPORT. What the serde form leaves out is reserved and zero; where a processor had signed
 * anything else, the signature does not verify.
 */
function encodeReport(report: SerdeReport): Buffer {
  const list = (values: readonly number[]) => Uint8Array.from(values)
  const { current, committed } = report
  const writer = new ByteWriter({ what: 'SNP report' })
    .u32le(report.version, 'VERSION')
    .u32le(report.guest_svn, 'GUEST_SVN')
    .u64le(BigInt(report.policy), 'POLICY')
    .bytes(list(report.family_id), 'FAMILY_ID')
    .bytes(list(report.image_id), 'IMAGE_ID')
    .u32le(report.vmpl, 'VMPL')
    .u32le(report.sig_algo, 'SIGNATURE_ALGO')
    .bytes(tcbBytes(report.current_tcb), 'CURRENT_TCB')
    .u64le(BigInt(report.plat_info), 'PLATFORM_INFO')
    .u32le(report.key_info, 'KEY_INFO')
    .zeros(4)
    .bytes(list(report.report_data), 'REPORT_DATA')
    .bytes(list(report.measurement), 'MEASUREMENT')
    .bytes(list(report.host_data), 'HOST_DATA')
    .bytes(list(report.id_key_digest), 'ID_KEY_DIGEST')
    .bytes(list(report.author_key_digest), 'AUTHOR_KEY_DIGEST')
    .bytes(list(report.report_id), 'REPORT_ID')
    .bytes(list(report.report_id_ma), 'REPORT_ID_MA')
    .bytes(tcbBytes(report.reported_tcb), 'REPORTED_TCB')
    .bytes(list([report.cpuid_fam_id ?? 0, report.cpuid_mod_id ?? 0, report.cpuid_step ?? 0]), 'CPUID')
    .zeros(21)
    .bytes(list(report.chip_id), 'CHIP_ID')
    .bytes(tcbBytes(report.committed_tcb), 'COMMITTED_TCB')
    .bytes(list([current.build, current.minor, current.major, 0]), 'CURRENT_BUILD')
    .bytes(list([committed.build, committed.minor, committed.major, 0]), 'COMMITTED_BUILD')
    .bytes(tcbBytes(report.launch_tcb), 'LAUNCH_TCB')
    .u64le(BigInt(report.launch_mit_vector ?? 0), 'LAUNCH_MIT_VECTOR')
    .u64le(BigInt(report.current_mit_vector ?? 0), 'CURRENT_MIT_VECTOR')
  writer.zeros(SIGNATURE_AT - writer.length)
  writer.bytes(list(report.signature.r), 'R').bytes(list(report.signature.s), 'S')
  return writer.zeros(SNP_REPORT_BYTES - writer.length).finish()
}

const SIGNATURE_AT = 0x2a0

/** TCB_VERSION: from Turin on, where there is an FMC, the components stand elsewhere. */
function tcbBytes({ fmc, bootloader, tee, snp, microcode }: SerdeTcb): Uint8Array {
  return fmc === undefined || fmc === null
    ? Uint8Array.from([bootloader, tee, 0, 0, 0, 0, snp, microcode])
    : Uint8Array.from([fmc, bootloader, tee, snp, 0, 0, 0, microcode])
}
