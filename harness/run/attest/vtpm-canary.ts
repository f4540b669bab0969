/** Something that a guest says to its vTPM, so that it stands in the vTPM's log: the control of a search there. */
import type { LabGuest } from '../guest.ts'

const TPM_ST_NO_SESSIONS = 0x8001
const TPM_CC_STIR_RANDOM = 0x146
const HEADER_BYTES = 10

/** TPM2_StirRandom (TPM 2.0 Library, part 3, 16.2), which takes any bytes and keeps none. */
export function stirRandom(text: string): Buffer {
  const data = Buffer.from(text)
  const command = Buffer.alloc(HEADER_BYTES + 2 + data.length)
  command.writeUInt16BE(TPM_ST_NO_SESSIONS, 0)
  command.writeUInt32BE(command.length, 2)
  command.writeUInt32BE(TPM_CC_STIR_RANDOM, 6)
  command.writeUInt16BE(data.length, HEADER_BYTES)
  command.set(data, HEADER_BYTES + 2)
  return command
}

/** `text`: at most 128 bytes. The guest needs a TPM and a shell. Throws GuestError `command-failed`. */
export async function sayToVtpm(guest: LabGuest, text: string): Promise<void> {
  // One write is one command.
  const script = 'cat >/run/canary && cat /run/canary >/dev/tpmrm0'
  await guest.succeed(['sh', '-c', script], { input: stirRandom(text) })
}
