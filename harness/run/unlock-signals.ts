/** What a console shows when a root has opened, or when it is certain that it stays closed. */
import type { ImageDescription } from '../materials/image-description.ts'
import type { UnlockSignal } from './unlock.ts'

interface SignalPattern {
  readonly signal: UnlockSignal
  readonly match: RegExp
}

const UNLOCK_SIGNALS: readonly SignalPattern[] = [
  { signal: 'unlocked-by-broker', match: /attestbed-initrd: \S+ unlocked by=broker / },
  { signal: 'unlocked', match: /attestbed-initrd: \S+ unlocked (device=|by=tpm2 )/ },
  { signal: 'asks-for-key', match: /Please enter (the )?(passphrase|recovery key|password)[^:]*:/i },
  { signal: 'gave-up', match: /attestbed-initrd: \S+ failed / },
  { signal: 'nothing-bootable', match: /BdsDxe: No bootable option or device was found/ },
]

/** The signs of an image, in no order: the first that is printed counts. */
export function unlockSignals(description: ImageDescription): readonly SignalPattern[] {
  return description.origin === 'brought' ? broughtSignals(description) : UNLOCK_SIGNALS
}

/** A brought image has an initrd of its own: that it came as far as a login is the sign of an open root. */
function broughtSignals({ login, unlockPrompt }: ImageDescription): readonly SignalPattern[] {
  const there = login.kind === 'automatic' ? login.shellPrompt : login.loginPrompt
  return [
    { signal: 'unlocked', match: new RegExp(there) },
    ...(unlockPrompt === undefined
      ? []
      : [{ signal: 'asks-for-key' as const, match: new RegExp(unlockPrompt) }]),
    ...UNLOCK_SIGNALS.filter(({ signal }) => signal === 'nothing-bootable'),
  ]
}
