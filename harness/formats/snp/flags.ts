/** Bit fields of an SNP report: AMD 56860, "Guest Policy" and table 23 (ATTESTATION_REPORT). */

/** What the guest's owner allows the host; the firmware enforced it at launch. AMD 56860, "Guest Policy"; 64 bits. */
export interface GuestPolicy {
  readonly raw: bigint
  /** Smallest ABI of the firmware that the guest may run on. */
  readonly abi: { readonly major: number; readonly minor: number }
  readonly smt: boolean
  readonly migrateMa: boolean
  readonly debug: boolean
  readonly singleSocket: boolean
  readonly cxlAllowed: boolean
  readonly memAes256Xts: boolean
  readonly raplDisabled: boolean
  readonly ciphertextHiding: boolean
  readonly pageSwapDisabled: boolean
}

const bit = (value: bigint, index: number): boolean => ((value >> BigInt(index)) & 1n) === 1n

/** Bit 17 of POLICY: AMD 56860, "Guest Policy". */
export const POLICY_MUST_BE_ONE = 1n << 17n

/** POLICY, 64 bits: AMD 56860, "Guest Policy". Reserved bits are for the report's parser to refuse. Never throws. */
export function decodeGuestPolicy(raw: bigint): GuestPolicy {
  return {
    raw,
    abi: { major: Number((raw >> 8n) & 0xffn), minor: Number(raw & 0xffn) },
    smt: bit(raw, 16),
    migrateMa: bit(raw, 18),
    debug: bit(raw, 19),
    singleSocket: bit(raw, 20),
    cxlAllowed: bit(raw, 21),
    memAes256Xts: bit(raw, 22),
    raplDisabled: bit(raw, 23),
    ciphertextHiding: bit(raw, 24),
    pageSwapDisabled: bit(raw, 25),
  }
}

/** How the host is set up. AMD 56860, table 23 (PLATFORM_INFO); 64 bits. */
export interface PlatformInfo {
  readonly raw: bigint
  readonly smt: boolean
  readonly tsme: boolean
  readonly ecc: boolean
  readonly raplDisabled: boolean
  readonly ciphertextHidingDram: boolean
  /** No two addresses led to the same memory since the last reset (against BadRAM). */
  readonly aliasCheckComplete: boolean
  readonly iommuWriteSafe: boolean
  readonly sevTio: boolean
}

/** PLATFORM_INFO, 64 bits: AMD 56860, table 23 (ATTESTATION_REPORT). Never throws. */
export function decodePlatformInfo(raw: bigint): PlatformInfo {
  return {
    raw,
    smt: bit(raw, 0),
    tsme: bit(raw, 1),
    ecc: bit(raw, 2),
    raplDisabled: bit(raw, 3),
    ciphertextHidingDram: bit(raw, 4),
    aliasCheckComplete: bit(raw, 5),
    iommuWriteSafe: bit(raw, 6),
    sevTio: bit(raw, 7),
  }
}

/**
 * Which key signed; `none`: the host asked for a report without a signature. AMD 56860, table 23 (KEY_INFO,
 * SIGNING_KEY); 3 bits.
 */
export type SnpSigningKey = 'vcek' | 'vlek' | 'none'

/** KEY_INFO, 32 bits at 0x48 of a report: AMD 56860, table 23 (ATTESTATION_REPORT). */
export interface KeyInfo {
  readonly raw: number
  /** AUTHOR_KEY_DIGEST is present. */
  readonly authorKeyEnabled: boolean
  /** The host masked the chip's key: a report by the VCEK then has no signature. */
  readonly maskChipKey: boolean
  readonly signingKey: SnpSigningKey
}

const SIGNING_KEYS: Readonly<Record<number, SnpSigningKey>> = { 0: 'vcek', 1: 'vlek', 7: 'none' }
/** Bits of KEY_INFO that are defined. AMD 56860, table 23. */
export const KEY_INFO_DEFINED = 0x1f

/**
 * Undefined for the reserved values of SIGNING_KEY, 2 to 6; bits from 5 on are for the report's parser to refuse. AMD
 * 56860, table 23; 32 bits. Never throws.
 */
export function decodeKeyInfo(raw: number): KeyInfo | undefined {
  const signingKey = SIGNING_KEYS[(raw >> 2) & 7]
  return signingKey && { raw, authorKeyEnabled: (raw & 1) !== 0, maskChipKey: (raw & 2) !== 0, signingKey }
}

/** The number that KEY_INFO is. AMD 56860, table 23; 32 bits. Never throws. */
export function encodeKeyInfo({ authorKeyEnabled, maskChipKey, signingKey }: Omit<KeyInfo, 'raw'>): number {
  const key = { vcek: 0, vlek: 1, none: 7 }[signingKey]
  return (authorKeyEnabled ? 1 : 0) | (maskChipKey ? 2 : 0) | (key << 2)
}
