/** What a guest does by itself in place of coming up: a result of what it was given to boot, no fault of the lab. */
import { type GuestCode, GuestError } from '../base/errors.ts'
import type { Machine } from '../machine/vm.ts'

const OWN_ENDS: ReadonlySet<GuestCode> = new Set<GuestCode>([
  ...(['reset', 'panic', 'hang', 'shut-down', 'firmware-refused'] as const),
])

/** Whether a boot was settled by the guest itself. A deadline, a QEMU that is gone and a broken console are no such end. */
export function isOwnEnd(error: unknown): error is GuestError {
  return error instanceof GuestError && OWN_ENDS.has(error.code)
}

/** For `settle().catch()`: undefined where nothing came up by the guest's own doing; throws everything else. */
export function nothingCameUp(error: unknown): undefined {
  if (!isOwnEnd(error)) throw error
}

/**
 * Resolves where a wait failed since QEMU ended at a reset, and throws why it failed otherwise. The console closes before
 * QEMU can be asked: a guest that powered off and a QEMU that crashed are told apart here.
 */
export async function requireReset(
  machine: Pick<Machine, 'ended' | 'endError'>,
  error: unknown,
): Promise<void> {
  const closed = error instanceof GuestError && error.code === 'console-closed'
  if (!closed && !(error instanceof GuestError && error.code === 'reset')) throw error
  const end = await machine.ended
  if (end.kind === 'reset') return
  throw closed ? machine.endError(end) : error
}
