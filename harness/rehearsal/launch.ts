/** What a launch was, as the hardware would have seen it. */

/** A range that took part in the launch. */
export interface RecordedPages {
  /** Guest-physical address; undefined where QEMU never mapped it. */
  readonly gpa: bigint | undefined
  /** SNP: normal, vmsa, zero, unmeasured, secrets, cpuid. SEV: normal, vmsa. TDX: extended, added. */
  readonly type: string
  /** Whole pages of 4096 bytes; for SEV whatever length QEMU gave. */
  readonly contents: Uint8Array
}

export type Technology = 'sev' | 'sev-es' | 'sev-snp' | 'tdx'

export interface Launch {
  readonly technology: Technology
  /** SEV-SNP: 48 bytes, the report's MEASUREMENT. SEV, SEV-ES: 32 bytes, what LAUNCH_MEASURE signs. TDX: 48, MRTD. */
  readonly digest: Buffer
  /** In the order in which they were measured. */
  readonly pages: readonly RecordedPages[]
  /** What else the owner sees in the evidence, in hexadecimal, by its name there: POLICY, HOST_DATA, MRCONFIGID. */
  readonly fields: Readonly<Record<string, string>>
}

export const PAGE_SIZE = 4096

/** What an SNP report says of pages that the host made for the vCPUs: the top of the guest's address space. */
export const VMSA_GPA = 0xffff_ffff_f000n

/** A little-endian integer as people write it: 0x30000. */
export function hexadecimal(value: bigint | number): string {
  return `0x${value.toString(16)}`
}

export function hexBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
