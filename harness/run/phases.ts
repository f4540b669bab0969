/** Which phase of a boot a console line begins; what a person watching sees, never the base of a claim. */
import type { Phase } from './events.ts'

/** Lines worth keeping: progress, and everything that says why a root stayed closed. */
export const NEEDLES = [
  ...['attestbed-initrd:', 'BdsDxe', 'Access Denied', 'Security Violation', 'EFI stub', 'Linux version'],
  ...['Esys_', 'TPM', 'PCR', 'passphrase', 'Cryptography', 'Switching root', 'Welcome to', 'Run /init'],
  ...['ignoring:', 'credential', 'extension', 'verity', 'Failed with result'],
]

const MARKS: readonly { readonly phase: Phase; readonly pattern: RegExp }[] = [
  { phase: 'stub', pattern: /BdsDxe: starting Boot/ },
  { phase: 'kernel', pattern: /EFI stub: |Linux version \d|^\[ {4}0\.000000\]/ },
  { phase: 'initrd', pattern: /attestbed-initrd: \S+ start|Run \/init as init process|Running in initrd/ },
  { phase: 'unlock', pattern: /attestbed-initrd: \S+ unlocking|Please enter passphrase|Cryptography Setup/ },
  {
    phase: 'userspace',
    pattern: /attestbed-initrd: \S+ switch-root|Switching root|Welcome to (?!.*initramfs)/,
  },
]

/** The phase that `line` begins, if it begins one. */
export function phaseOf(line: string): Phase | undefined {
  return MARKS.find(({ pattern }) => pattern.test(line))?.phase
}
