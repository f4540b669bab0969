/** A secret that a guest gives away on purpose: the control of a search for one that it keeps. */
import type { LabGuest } from '../guest.ts'
import { freshCanary } from '../secrets.ts'
import type { SearchedPlace } from './secret-search.ts'
import { sayToVtpm } from './vtpm-canary.ts'

/** Where a guest can put it; what the harness notes of a guest has each command that it gave it. */
export type PlantedPlace = Extract<SearchedPlace, 'console' | 'disk' | 'vtpm'>

/**
 * Has the guest put one fresh canary in each place, and returns it: 64 hexadecimal digits. On the disk it is in the last block
 * but one of the partition `data`, where there is none of the ESP; no file is there. The guest needs a shell, and a TPM for
 * `vtpm`. Throws GuestError `command-failed`.
 */
export async function plantCanary(guest: LabGuest, places: readonly PlantedPlace[]): Promise<string> {
  const { text } = freshCanary()
  if (places.includes('console')) await guest.succeed(['sh', '-c', 'echo "$1" >/dev/console', 'sh', text])
  if (places.includes('vtpm')) await sayToVtpm(guest, text)
  if (places.includes('disk')) await guest.succeed(['sh', '-c', TO_DISK, 'sh', text])
  return text
}

const TO_DISK = [
  'of() { grep -lx "PARTNAME=$1" /sys/class/block/*/uevent; }',
  'directory=$(dirname "$(of data || of esp)")',
  'read -r sectors <"$directory/size"',
  'device=/dev/$(basename "$directory")',
  'printf %s "$1" | dd of="$device" bs=4096 seek=$((sectors / 8 - 2)) conv=notrunc,fsync 2>/dev/null',
].join(' && ')
