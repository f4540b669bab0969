import type { ConsoleSign } from './end.ts'

/**
 * Words on the console that bear on the guest's end, in the order in which they are tried. The guest can print any of
 * them; they end the guest's own run, and no claim may rest on them alone.
 */
const SIGNS: readonly { readonly sign: ConsoleSign; readonly pattern: RegExp }[] = [
  // Linux, printk's time stamp before it or not.
  { sign: 'kernel-panic', pattern: /(?:^|\] )Kernel panic - not syncing/ },
  // edk2, BdsDxe: the escape sequences that clear the screen stand on the same line.
  { sign: 'load-refused', pattern: /BdsDxe: failed to load .*: (?:Access Denied|Security Violation)/ },
  { sign: 'no-boot-option', pattern: /BdsDxe: No bootable option or device was found/ },
  { sign: 'os-started', pattern: /^(?:EFI stub: |\[ *0\.000000\].*Linux version )/ },
]

/** What a line must hold to be looked at. */
export const SIGN_NEEDLES: readonly string[] = ['Kernel panic', 'BdsDxe:', 'EFI stub:', 'Linux version']

/** What a line says about the end of the guest; undefined for nearly all lines. */
export function consoleSign(line: string): ConsoleSign | undefined {
  return SIGNS.find(({ pattern }) => pattern.test(line))?.sign
}
