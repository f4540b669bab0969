/** Whether a guest has a secret, without the secret on its console. */
import { sha256Hex } from '../../base/digest.ts'
import type { LabGuest } from '../guest.ts'

/** By the SHA-256 of the file; false where there is none. */
export async function holdsSecret(guest: LabGuest, path: string, secret: string): Promise<boolean> {
  const { stdout } = await guest.run(['sha256sum', path])
  return stdout.toString().split(' ')[0] === sha256Hex(secret)
}
