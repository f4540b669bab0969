/**
 * ATTESTATION_REPORT, versions 2 to 5: SEV Secure Nested Paging Firmware ABI Specification (AMD 56860, revision 1.58),
 * table 23. Version 3 added CPUID, version 5 the mitigation vectors. Version 4 was never published; firmware that
 * writes it is in use, and implementations that meet it read the vectors there too, so their bytes are not reserved.
 */
import { ByteReader } from '../../base/bytes.ts'
import { type EcdsaSignature, readEcdsaSignature } from './ecdsa.ts'
import {
  decodeGuestPolicy,
  decodeKeyInfo,
  decodePlatformInfo,
  type GuestPolicy,
  KEY_INFO_DEFINED,
  type KeyInfo,
  type PlatformInfo,
  POLICY_MUST_BE_ONE,
} from './flags.ts'
import {
  type CpuidSignature,
  decodeTcb,
  type SnpProcessor,
  type SnpTcb,
  snpProcessor,
  TCB_BYTES,
  TCB_RESERVED,
  type TcbLayout,
  tcbLayout,
} from './tcb.ts'

/** 1184, of which 672 are signed. AMD 56860, table 23. */
export const SNP_REPORT_BYTES = 0x4a0
/** What the signature covers, from the start. Bytes 0 to 0x29F: AMD 56860, table 23. */
export const SNP_SIGNED_BYTES = 0x2a0

/** Versions that are read. AMD 56860, table 23 (VERSION). */
export type SnpReportVersion = 2 | 3 | 4 | 5

/** One byte each. AMD 56860, table 23 (CURRENT_BUILD to COMMITTED_MAJOR). */
export interface FirmwareVersion {
  readonly major: number
  readonly minor: number
  readonly build: number
}

/** Byte fields are views of the input, of the length given. AMD 56860, table 23 (ATTESTATION_REPORT). */
export interface SnpReport {
  /** All 1184 bytes, and the first 672, which the signature covers. */
  readonly raw: Uint8Array
  readonly signed: Uint8Array
  readonly version: SnpReportVersion
  readonly guestSvn: number
  readonly policy: GuestPolicy
  /** 16 bytes each. */
  readonly familyId: Uint8Array
  readonly imageId: Uint8Array
  /** 0 to 3; `host`: the host asked for the report (SNP_HV_REPORT_REQ), which proves nothing of the guest's wish. */
  readonly vmpl: number | 'host'
  readonly currentTcb: SnpTcb
  readonly platformInfo: PlatformInfo
  readonly keyInfo: KeyInfo
  /** 64 bytes. */
  readonly reportData: Uint8Array
  /** The launch digest, 48 bytes. */
  readonly measurement: Uint8Array
  /** 32 bytes. */
  readonly hostData: Uint8Array
  /** 48 bytes each; zero where there is none. */
  readonly idKeyDigest: Uint8Array
  readonly authorKeyDigest: Uint8Array
  /** 32 bytes each; REPORT_ID_MA is all ones where there is no migration agent. */
  readonly reportId: Uint8Array
  readonly reportIdMa: Uint8Array
  readonly reportedTcb: SnpTcb
  /** From version 3 on. */
  readonly cpuid?: CpuidSignature
  readonly processor?: SnpProcessor
  /** By CPUID; in version 2 by CHIP_ID, which on Turin ends after 8 bytes. */
  readonly tcbLayout: TcbLayout
  /** 64 bytes; zero where the host masks it or a VLEK signs. */
  readonly chipId: Uint8Array
  readonly committedTcb: SnpTcb
  readonly currentFirmware: FirmwareVersion
  readonly committedFirmware: FirmwareVersion
  readonly launchTcb: SnpTcb
  /** From version 4 on. */
  readonly launchMitigations?: bigint
  readonly currentMitigations?: bigint
  readonly signature: EcdsaSignature
}

interface VersionFacts {
  /** Bits that POLICY and PLATFORM_INFO may have. */
  readonly policy: bigint
  readonly platformInfo: bigint
  readonly cpuid: boolean
  readonly mitigations: boolean
}

const POLICY_TO_CIPHERTEXT_HIDING = 0x1ff_ffffn
const POLICY_TO_PAGE_SWAP = 0x3ff_ffffn

const VERSIONS: Readonly<Record<SnpReportVersion, VersionFacts>> = {
  2: { policy: POLICY_TO_CIPHERTEXT_HIDING, platformInfo: 0x1fn, cpuid: false, mitigations: false },
  3: { policy: POLICY_TO_CIPHERTEXT_HIDING, platformInfo: 0x3fn, cpuid: true, mitigations: false },
  4: { policy: POLICY_TO_PAGE_SWAP, platformInfo: 0xffn, cpuid: true, mitigations: true },
  5: { policy: POLICY_TO_PAGE_SWAP, platformInfo: 0xffn, cpuid: true, mitigations: true },
}

const ECDSA_P384_SHA384 = 1
const VMPL_OF_HOST = 0xffff_ffff
const CPUID_AT = 0x188
const CHIP_ID_AT = 0x1a0
const CHIP_ID_BYTES = 64
const TURIN_CHIP_ID_BYTES = 8
const ZEROS = new Uint8Array(CHIP_ID_BYTES)

/**
 * Parses exactly 1184 bytes: AMD 56860, table 23. Throws FormatError: `truncated`, `trailing-bytes`, `bad-value` for a
 * version other than 2 to 5 or a value that no firmware writes, `reserved-bit` for every reserved bit that is set.
 */
export function parseSnpReport(bytes: Uint8Array): SnpReport {
  const reader = new ByteReader(bytes, { what: 'SNP report' })
  const raw = reader.bytes(SNP_REPORT_BYTES, 'ATTESTATION_REPORT')
  reader.end()
  reader.seek(0, 'VERSION')
  const version = readVersion(reader)
  const facts = VERSIONS[version]
  const { processor, layout } = readProcessor(raw, facts)
  const head = readHead(reader, facts)
  const tcb = (field: string) => readTcb(reader, field, layout)
  const currentTcb = tcb('CURRENT_TCB')
  const platformInfo = decodePlatformInfo(readFlags(reader, 'PLATFORM_INFO', facts.platformInfo))
  const keyInfo = readKeyInfo(reader)
  reader.mustBeZero(4, 'reserved (0x4C)')
  const claims = readClaims(reader, keyInfo)
  const reportedTcb = tcb('REPORTED_TCB')
  const cpuid = facts.cpuid ? { cpuid: readCpuid(reader) } : {}
  reader.mustBeZero(CHIP_ID_AT - reader.position, 'reserved (before CHIP_ID)')
  const chipId = reader.bytes(CHIP_ID_BYTES, 'CHIP_ID')
  const committedTcb = tcb('COMMITTED_TCB')
  const currentFirmware = readFirmware(reader, 'CURRENT')
  const committedFirmware = readFirmware(reader, 'COMMITTED')
  const launchTcb = tcb('LAUNCH_TCB')
  const mitigations = facts.mitigations ? readMitigations(reader) : {}
  reader.mustBeZero(SNP_SIGNED_BYTES - reader.position, 'reserved (before SIGNATURE)')
  const signature = readEcdsaSignature(reader, 'SIGNATURE')
  return {
    ...{
      raw,
      signed: raw.subarray(0, SNP_SIGNED_BYTES),
      version,
      ...head,
      currentTcb,
      platformInfo,
      keyInfo,
    },
    ...{ ...claims, reportedTcb, ...cpuid, ...(processor && { processor }), tcbLayout: layout, chipId },
    ...{ committedTcb, currentFirmware, committedFirmware, launchTcb, ...mitigations, signature },
  }
}

function readVersion(reader: ByteReader): SnpReportVersion {
  const version = reader.u32le('VERSION')
  if (!(version in VERSIONS))
    throw reader.error('bad-value', 'VERSION', `is ${version}, 2 to 5 are supported`, 0)
  return version as SnpReportVersion
}

/** Ahead of the fields: the layout of every TCB depends on it. */
function readProcessor(
  raw: Uint8Array,
  { cpuid }: VersionFacts,
): { processor?: SnpProcessor; layout: TcbLayout } {
  if (!cpuid) return { layout: layoutByChipId(raw) }
  const reader = new ByteReader(raw, { what: 'SNP report' })
  reader.seek(CPUID_AT, 'CPUID_FAM_ID')
  const signature = readCpuid(reader)
  const processor = snpProcessor(signature)
  if (!processor) {
    const { family, model } = signature
    const problem = `${family}, model ${model} is no processor whose TCB layout is known: Milan, Genoa, Bergamo, Siena, Turin`
    throw reader.error('bad-value', 'CPUID_FAM_ID', problem, CPUID_AT)
  }
  return { processor, layout: tcbLayout(processor.product) }
}

/**
 * Version 2 has no CPUID. A masked CHIP_ID says nothing: then it is taken for one of the many, and verification
 * decides.
 */
function layoutByChipId(raw: Uint8Array): TcbLayout {
  const chipId = raw.subarray(CHIP_ID_AT, CHIP_ID_AT + CHIP_ID_BYTES)
  const short = isZero(chipId.subarray(TURIN_CHIP_ID_BYTES))
  return short && !isZero(chipId) ? 'turin' : 'milan-genoa'
}

/** For up to 64 bytes. Never throws. */
export function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) === 0
}

function readHead(
  reader: ByteReader,
  facts: VersionFacts,
): Pick<SnpReport, 'guestSvn' | 'policy' | 'familyId' | 'imageId' | 'vmpl'> {
  const guestSvn = reader.u32le('GUEST_SVN')
  const policy = readFlags(reader, 'POLICY', facts.policy)
  if ((policy & POLICY_MUST_BE_ONE) === 0n)
    throw reader.error('reserved-bit', 'POLICY', 'has bit 17 clear, it must be one', 0x08)
  const familyId = reader.bytes(16, 'FAMILY_ID')
  const imageId = reader.bytes(16, 'IMAGE_ID')
  const vmpl = reader.u32le('VMPL')
  if (vmpl > 3 && vmpl !== VMPL_OF_HOST)
    throw reader.error('bad-value', 'VMPL', `is ${vmpl}, must be 0 to 3, or 0xffffffff for the host`, 0x30)
  const algorithm = reader.u32le('SIGNATURE_ALGO')
  if (algorithm !== ECDSA_P384_SHA384)
    throw reader.error(
      'bad-value',
      'SIGNATURE_ALGO',
      `is ${algorithm}, must be 1 (ECDSA P-384 with SHA-384)`,
      0x34,
    )
  const vmplOrHost = vmpl === VMPL_OF_HOST ? 'host' : vmpl
  return { guestSvn, policy: decodeGuestPolicy(policy), familyId, imageId, vmpl: vmplOrHost }
}

function readFlags(reader: ByteReader, field: string, defined: bigint): bigint {
  const { offset } = reader
  const value = reader.u64le(field)
  const reserved = value & ~defined
  if (reserved !== 0n)
    throw reader.error('reserved-bit', field, `has the reserved bits 0x${reserved.toString(16)} set`, offset)
  return value
}

function readKeyInfo(reader: ByteReader): KeyInfo {
  const { offset } = reader
  const raw = reader.u32le('KEY_INFO')
  if ((raw & ~KEY_INFO_DEFINED) !== 0)
    throw reader.error(
      'reserved-bit',
      'KEY_INFO',
      `is 0x${raw.toString(16)}, bits 5 to 31 must be zero`,
      offset,
    )
  const info = decodeKeyInfo(raw)
  if (!info) {
    const problem = `is 0x${raw.toString(16)}: SIGNING_KEY must be 0 (VCEK), 1 (VLEK) or 7 (none)`
    throw reader.error('bad-value', 'KEY_INFO', problem, offset)
  }
  return info
}

type Claims = 'reportData' | 'measurement' | 'hostData' | 'idKeyDigest' | 'authorKeyDigest'

function readClaims(
  reader: ByteReader,
  { authorKeyEnabled }: KeyInfo,
): Pick<SnpReport, Claims | 'reportId' | 'reportIdMa'> {
  const reportData = reader.bytes(64, 'REPORT_DATA')
  const measurement = reader.bytes(48, 'MEASUREMENT')
  const hostData = reader.bytes(32, 'HOST_DATA')
  const idKeyDigest = reader.bytes(48, 'ID_KEY_DIGEST')
  const { offset } = reader
  const authorKeyDigest = reader.bytes(48, 'AUTHOR_KEY_DIGEST')
  if (!authorKeyEnabled && !isZero(authorKeyDigest))
    throw reader.error('bad-value', 'AUTHOR_KEY_DIGEST', 'must be zero, AUTHOR_KEY_EN is 0', offset)
  const reportId = reader.bytes(32, 'REPORT_ID')
  const reportIdMa = reader.bytes(32, 'REPORT_ID_MA')
  return { reportData, measurement, hostData, idKeyDigest, authorKeyDigest, reportId, reportIdMa }
}

function readTcb(reader: ByteReader, field: string, layout: TcbLayout): SnpTcb {
  const { offset } = reader
  const raw = reader.bytes(TCB_BYTES, field)
  const { from, to } = TCB_RESERVED[layout]
  const set = raw.subarray(from, to).findIndex((byte) => byte !== 0)
  if (set >= 0) throw reader.error('reserved-bit', field, 'must be zero', offset + from + set)
  return decodeTcb(raw, layout)
}

function readCpuid(reader: ByteReader): CpuidSignature {
  return {
    family: reader.u8('CPUID_FAM_ID'),
    model: reader.u8('CPUID_MOD_ID'),
    stepping: reader.u8('CPUID_STEP'),
  }
}

function readFirmware(reader: ByteReader, prefix: 'CURRENT' | 'COMMITTED'): FirmwareVersion {
  const build = reader.u8(`${prefix}_BUILD`)
  const minor = reader.u8(`${prefix}_MINOR`)
  const major = reader.u8(`${prefix}_MAJOR`)
  reader.mustBeZero(1, `reserved (after ${prefix}_MAJOR)`)
  return { major, minor, build }
}

function readMitigations(reader: ByteReader): { launchMitigations: bigint; currentMitigations: bigint } {
  return {
    launchMitigations: reader.u64le('LAUNCH_MIT_VECTOR'),
    currentMitigations: reader.u64le('CURRENT_MIT_VECTOR'),
  }
}
