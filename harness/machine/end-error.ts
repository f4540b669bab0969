import { type AttestbedError, type GuestCode, GuestError, HostError, LaunchError } from '../base/errors.ts'
import type { GuestEnd, GuestEndKind } from './end.ts'
import { recognizeQemuError } from './qemu-errors.ts'

const GUEST_CODES: Partial<Record<GuestEndKind, GuestCode>> = {
  'shut-down': 'shut-down',
  reset: 'reset',
  panic: 'panic',
  'firmware-refused': 'firmware-refused',
  hang: 'hang',
}

/**
 * The error for whoever needed the guest and finds it ended. `words` is what QEMU said on stderr: where that is
 * known, its error is taken.
 */
export function endError(name: string, end: GuestEnd, words = ''): AttestbedError {
  const message = `${name} ended (${end.kind}): ${end.reason}`
  const code = GUEST_CODES[end.kind]
  if (code) return new GuestError(message, { code, consoleTail: end.consoleTail })
  const known = end.kind === 'killed' ? undefined : recognizeQemuError(words)
  switch (end.kind) {
    case 'vtpm-died':
      return new LaunchError(message, { code: 'swtpm-died' })
    case 'kvm-internal-error':
      return new LaunchError(message, {
        code: 'kvm-internal-error',
        hint: known?.hint ?? 'Use --platform tcg',
      })
    case 'io-error':
      return new HostError(message, { code: 'disk-full', hint: 'Free space for the run directory' })
    default:
      return new LaunchError(message, { code: 'qemu-crashed', hint: known?.hint, cause: known })
  }
}
