/**
 * Why a root stayed closed, read from the words of the programs that refused: systemd-cryptsetup and the TPM
 * stack in the initrd, or the firmware. The words are those of systemd 262 and edk2 2026.08, and each is the
 * message of one cause only.
 */

export type UnlockWhy =
  | 'opened'
  /** The sealed blob is for another TPM's storage root key. */
  | 'foreign-tpm'
  /** The PCRs are not those that the blob was sealed to. */
  | 'policy-mismatch'
  /** The UKI carries signatures of PCR 11, and none of them is by the enrolled key. */
  | 'no-pcr-signature'
  /** The UKI carries no signature of PCR 11 at all. */
  | 'pcr-signature-missing'
  /** The LUKS header has no TPM2 token. */
  | 'nothing-sealed'
  /** The guest found no TPM. */
  | 'no-tpm'
  /** The attester got no key: the broker refused, or the way to it was not one that the attester takes. */
  | 'not-attested'
  /** The root is not the image that the UKI names. */
  | 'altered-image'
  /** The firmware refused the image's signature. */
  | 'access-denied'
  /** The firmware found nothing that it could boot. */
  | 'nothing-bootable'
  | 'unknown'

interface Reason {
  readonly why: UnlockWhy
  readonly message: RegExp
}

/** In order: an earlier one is the more precise where two appear together. */
const REASONS: readonly Reason[] = [
  {
    why: 'access-denied',
    message: /(failed to (load|start) Boot.*: |Error: )(Access Denied|Security Violation)/i,
  },
  { why: 'altered-image', message: /attestbed-initrd: \S+ failed image why=altered / },
  { why: 'not-attested', message: /attestbed-initrd: \S+ attest refused why=/ },
  { why: 'nothing-bootable', message: /BdsDxe: No bootable option or device was found/ },
  // TPM_RC_INTEGRITY (0x1f, for parameter 1 or 3) of TPM2_Import or TPM2_Load: wrapped for another storage key. A TPM
  // without any key there answers TPM_RC_HANDLE (0x0b).
  {
    why: 'foreign-tpm',
    message: /Esys_(Import|Load)[^(]*\(\).*\(0x0*(18b|1df|3df)\)|TPM key integrity check failed/i,
  },
  { why: 'no-pcr-signature', message: /No signature for current PCR policy in TPM2 signature JSON/ },
  { why: 'pcr-signature-missing', message: /Failed to load PCR signature/ },
  { why: 'policy-mismatch', message: /TPM policy does not match current system state/ },
  {
    why: 'no-tpm',
    message: /No TPM2 hardware discovered|TPM2 support is not (installed|available)|No TPM2 device found/i,
  },
  { why: 'nothing-sealed', message: /attestbed-initrd: \S+ enrolled tpm2=0( |$)/ },
]

/** The reason that the console gave; `unknown` where none of the known messages is among the lines. */
export function reasonIn(lines: readonly string[]): { readonly why: UnlockWhy; readonly message: string } {
  for (const { why, message } of REASONS) {
    const line = lines.find((candidate) => message.test(candidate))
    if (line !== undefined) return { why, message: line.trim() }
  }
  return { why: 'unknown', message: '' }
}
