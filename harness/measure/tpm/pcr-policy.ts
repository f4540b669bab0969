/** What systemd-measure signs: the digest of a TPM policy that holds while one register has one value. */
import { digest } from '../../base/digest.ts'

/** TPM_CC_PolicyPCR (TPM 2.0 Library, part 2, 6.5.2). */
const CC_POLICY_PCR = 0x17f
const ALG_SHA256 = 0x000b
/** Octets of a selection: 24 registers. */
const SELECTION_BYTES = 3

/**
 * The policy digest (SHA-256) of a session in which TPM2_PolicyPCR alone was called, for one register of the SHA-256
 * bank: TPM 2.0 Library, part 3, 23.7. `index`: 0 to 23, `value`: 32 bytes.
 */
export function pcrPolicyDigest(index: number, value: Uint8Array): Buffer {
  const selection = Buffer.alloc(4 + 2 + 1 + SELECTION_BYTES)
  selection.writeUInt32BE(1)
  selection.writeUInt16BE(ALG_SHA256, 4)
  selection.writeUInt8(SELECTION_BYTES, 6)
  selection.writeUInt8(1 << (index % 8), 7 + Math.floor(index / 8))
  const command = Buffer.alloc(4)
  command.writeUInt32BE(CC_POLICY_PCR)
  return digest('sha256', Buffer.alloc(32), command, selection, digest('sha256', value))
}
