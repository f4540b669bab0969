/** What a guest that encrypts its root itself says of that on its console, and its power that goes while it does. */
import type { ConsoleMatch } from '../../machine/console/engine.ts'
import type { Boot } from '../boot.ts'

/** How the root is found at a boot; `encrypted` where this boot finished it, `proven` where the broker took the proof. */
const SAID = /attestbed-initrd: \S+ first-boot (state=(?:plain|partial|whole)|encrypted|proven)$/
/** cryptsetup's own words, once a second and at the end. */
const PROGRESS = /attestbed-initrd: \S+ first-boot progress \S*device_bytes:(\d+),device_size:(\d+),/
const GAVE_UP = /attestbed-initrd: \S+ failed [^\r\n]*/

/** Where the power was cut, in bytes of the root. */
export interface EncryptionCut {
  readonly encrypted: number
  readonly of: number
}

/** The steps that a boot took, in its order. */
export function firstBootSteps({ lines }: Pick<Boot, 'lines'>): readonly string[] {
  return lines.flatMap((line) => SAID.exec(line.trimEnd())?.[1] ?? [])
}

/**
 * Waits for the first word of progress, and cuts the power; undefined where none comes before the guest gives up. Throws
 * TimeoutError where it says neither.
 */
export async function cutWhileEncrypting(
  boot: Boot,
  { deadlineMs }: { readonly deadlineMs: number },
): Promise<EncryptionCut | undefined> {
  const found = await boot.machine.console.expect([PROGRESS, GAVE_UP], {
    ...{ deadlineMs, awaited: 'the guest to encrypt its root', timeoutCode: 'boot' },
  })
  await boot.cut()
  return found.index === 0 ? cutAt(found) : undefined
}

function cutAt({ match }: ConsoleMatch): EncryptionCut {
  const [, encrypted, of] = typeof match === 'string' ? [] : match
  return { encrypted: Number(encrypted), of: Number(of) }
}
