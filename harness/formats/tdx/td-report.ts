import type { ByteReader } from '../../base/bytes.ts'

/**
 * The TD's report as a quote carries it: Intel TDX DCAP Quoting Library API, "TD Quote Body". Version 1.5
 * appends two fields to version 1.0. Every field is attacker-controlled until the quote's signature was checked.
 */

/** Body of TDX 1.0 in a quote. */
export const TD_REPORT_10_BYTES = 584
/** Body of TDX 1.5, with TEE_TCB_SVN_2 and MRSERVICETD. */
export const TD_REPORT_15_BYTES = 648

/**
 * Fields by the specification's names; registers are 48 bytes (SHA-384). Intel TDX DCAP Quoting Library API, "TD Quote
 * Body".
 */
export interface TdReport {
  readonly version: '1.0' | '1.5'
  /** TEE_TCB_SVN, 16 bytes: [0] module SVN, [1] module family (0 before TDX 1.5), [2] SEAM loader and microcode. */
  readonly teeTcbSvn: Uint8Array
  readonly mrSeam: Uint8Array
  /** All zero for a module that Intel signed. */
  readonly mrSignerSeam: Uint8Array
  /** SEAMATTRIBUTES, 8 bytes; zero for every module that may run in production. */
  readonly seamAttributes: Uint8Array
  /** TDATTRIBUTES as a little-endian number; see TD_ATTRIBUTES. */
  readonly tdAttributes: bigint
  /** Extended features enabled, in the layout of XCR0 and IA32_XSS. */
  readonly xfam: bigint
  readonly mrTd: Uint8Array
  readonly mrConfigId: Uint8Array
  readonly mrOwner: Uint8Array
  readonly mrOwnerConfig: Uint8Array
  /** RTMR0 to RTMR3. */
  readonly rtmrs: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  /** 64 bytes that the TD chose. */
  readonly reportData: Uint8Array
  /** TEE_TCB_SVN of the module that runs now, where it was updated below a running TD; version 1.5 only. */
  readonly teeTcbSvn2: Uint8Array | undefined
  /** Measurement of the service TD (migration), all zero without one; version 1.5 only. */
  readonly mrServiceTd: Uint8Array | undefined
}

/** Bits of TDATTRIBUTES: Intel TDX Module ABI specification, "ATTRIBUTES". All others are reserved and zero. */
export const TD_ATTRIBUTES = {
  debug: 0,
  hgsPlusProfiling: 4,
  performanceProfiling: 5,
  pmtProfiling: 6,
  icssd: 16,
  lass: 27,
  septVeDisable: 28,
  migratable: 29,
  pks: 30,
  keyLocker: 31,
  tpa: 62,
  perfmon: 63,
} as const

/** Names of the bits of TDATTRIBUTES. Intel TDX module ABI, ATTRIBUTES; 64 bits. */
export type TdAttribute = keyof typeof TD_ATTRIBUTES

/**
 * Bits 7:0, the group "TD under debug": with any of them set, the host can look into the TD or profile it. Intel TDX
 * module ABI, ATTRIBUTES. Never throws.
 */
export function isUnderDebug(attributes: bigint): boolean {
  return (attributes & 0xffn) !== 0n
}

/**
 * The names of the bits that are set, and whether a reserved one is among them. Intel TDX module ABI, ATTRIBUTES; 64
 * bits. Never throws.
 */
export function decodeTdAttributes(attributes: bigint): {
  readonly names: readonly TdAttribute[]
  readonly reservedBits: bigint
} {
  let reservedBits = attributes
  const names: TdAttribute[] = []
  for (const [name, bit] of Object.entries(TD_ATTRIBUTES) as readonly [TdAttribute, number][]) {
    const mask = 1n << BigInt(bit)
    if ((attributes & mask) === 0n) continue
    names.push(name)
    reservedBits &= ~mask
  }
  return { names, reservedBits }
}

const REGISTER_BYTES = 48

/**
 * Reads a body of TD_REPORT_10_BYTES or TD_REPORT_15_BYTES. Throws FormatError 'truncated'. Intel TDX DCAP Quoting
 * Library API, "TD Quote Body": 584 or 648 bytes.
 */
export function readTdReport(reader: ByteReader, version: TdReport['version']): TdReport {
  const register = (field: string) => reader.bytes(REGISTER_BYTES, field)
  const base = {
    version,
    teeTcbSvn: reader.bytes(16, 'TEE_TCB_SVN'),
    mrSeam: register('MRSEAM'),
    mrSignerSeam: register('MRSIGNERSEAM'),
    seamAttributes: reader.bytes(8, 'SEAMATTRIBUTES'),
    tdAttributes: reader.u64le('TDATTRIBUTES'),
    xfam: reader.u64le('XFAM'),
    mrTd: register('MRTD'),
    mrConfigId: register('MRCONFIGID'),
    mrOwner: register('MROWNER'),
    mrOwnerConfig: register('MROWNERCONFIG'),
    rtmrs: [register('RTMR0'), register('RTMR1'), register('RTMR2'), register('RTMR3')] as const,
    reportData: reader.bytes(64, 'REPORTDATA'),
  }
  if (version === '1.0') return { ...base, teeTcbSvn2: undefined, mrServiceTd: undefined }
  return { ...base, teeTcbSvn2: reader.bytes(16, 'TEE_TCB_SVN_2'), mrServiceTd: register('MRSERVICETD') }
}
