/**
 * What an emulated TEE is to the rest: a processor that signs evidence in the real binary format, under a root that was
 * made for one scenario and says SIMULATED. Its keys are in memory only.
 */
import type { PlatformId } from '../platform-id.ts'

/** How a host lies about its processor or keeps it badly. Each is one cause of a refusal, and nothing else changes. */
export const TEE_FAULTS = [
  /** The guest may be debugged: POLICY.DEBUG, TDATTRIBUTES.DEBUG. */
  'debug-policy',
  /** Firmware of the processor with known holes; properly certified as that. */
  'old-tcb',
  /** Another processor of the same make. */
  'other-chip',
  /** SNP: the cloud provider's key signs instead of the chip's. */
  'vlek',
  /** Another HOST_DATA, MRCONFIGID. */
  'other-host-data',
  /** Evidence over another REPORT_DATA than was asked for. */
  'other-report-data',
  /** Another launch digest, MRTD. */
  'other-launch',
  /** The last evidence that this processor gave a guest about something, while its host was honest, again. */
  'replayed',
  /** One bit of the signed part turned after the signature. */
  'forged',
] as const
export type TeeFault = (typeof TEE_FAULTS)[number]

/** What is wrong with endorsements that are otherwise the processor's. */
export const ENDORSEMENT_FAULTS = ['revoked-key', 'expired-collateral', 'no-revocation-lists'] as const
export type EndorsementFault = (typeof ENDORSEMENT_FAULTS)[number]

type SnpField = 'POLICY' | 'HOST_DATA' | 'GUEST_SVN' | 'AUTHOR_KEY_EN' | SnpIdField
type SnpIdField = 'FAMILY_ID' | 'IMAGE_ID' | 'ID_KEY_DIGEST' | 'AUTHOR_KEY_DIGEST'
type TdxField = 'TDATTRIBUTES' | 'MRCONFIGID' | 'MROWNER' | 'MROWNERCONFIG'
/** Named as the evidence has them. */
export type LaunchFields = Readonly<Partial<Record<SnpField | TdxField, string>>>

/** What the launch of the real command line was measured as. */
export interface TeeLaunch {
  /** 48 bytes: MEASUREMENT, MRTD. */
  readonly digest: Uint8Array
  /** `rehearsed`: QEMU's own launch code ran; `predicted`: this host cannot rehearse. */
  readonly basis: 'rehearsed' | 'predicted'
  /** What the owner or the host chose; numbers as 0x…, bytes in hex. */
  readonly fields: LaunchFields
}

export interface TeeQuestion {
  /** 64 bytes. */
  readonly reportData: Uint8Array
  readonly launch: TeeLaunch
  /** TDX: RTMR0 to RTMR3, 48 bytes each, as they are now. */
  readonly registers: readonly Uint8Array[]
  readonly faults: ReadonlySet<TeeFault>
}

/** As configfs-tsm gives it (Documentation/ABI/testing/configfs-tsm-report of Linux). */
export interface TeeAnswer {
  readonly outblob: Buffer
  /** SNP: the host's certificate table; empty where there is none. */
  readonly auxblob: Buffer
}

/** What a verifier of the processor's evidence is given; contents of files, as those of VerifyRequest. */
export interface TeeEndorsements {
  readonly certificates: readonly Buffer[]
  readonly crls: readonly Buffer[]
  readonly collateral: readonly Buffer[]
  /** SHA-256 of the root's SubjectPublicKeyInfo, hex: only a policy that names it accepts the evidence. */
  readonly simulatedRoot: string
}

export interface EmulatedProcessor {
  readonly platform: PlatformId
  /** As configfs-tsm names the provider. */
  readonly provider: 'sev_guest' | 'tdx_guest'
  /** Those that its kind can have. */
  readonly faults: readonly TeeFault[]
  /** In hex: CHIP_ID, FMSPC. */
  readonly chip: string
  /** Throws UsageError `bad-value` for a fault that its kind cannot have. */
  answer(question: TeeQuestion): TeeAnswer
  endorsements(faults?: readonly EndorsementFault[]): TeeEndorsements
}

/** Which processor; the generation is SNP's. */
export interface ProcessorOptions {
  readonly product?: 'milan' | 'genoa' | 'turin'
  /** SNP: of the report; default 3, on Turin 5. */
  readonly reportVersion?: 2 | 3 | 5
  /** TDX: of the quote; default 4. */
  readonly quoteVersion?: 4 | 5
  /** The time about which collateral is fresh. */
  readonly now: Date
}
