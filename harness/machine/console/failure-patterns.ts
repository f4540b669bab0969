import type { GuestCode } from '../../base/errors.ts'
import { type AttestbedError, GuestError, LaunchError } from '../../base/errors.ts'

/**
 * What a console says when waiting any longer is pointless. Both the kernel's lines (with a time stamp or without)
 * and those of user space are meant, so nothing is anchored to the start of a line unless it is a prompt.
 *
 * Each has literal text of six bytes or more in every branch: the shortest decides how fast a console is read.
 *
 * A guest that prints such a line without being in that state only ends its own run with an error: that is never
 * a result.
 */
export interface FailurePattern {
  readonly name: string
  readonly match: RegExp
  readonly code: GuestCode | 'kvm-internal-error'
  /** Continues "while waiting for X, ...". */
  readonly meaning: string
}

export const FAILURE_PATTERNS: readonly FailurePattern[] = [
  {
    name: 'kernel-panic',
    match: /Kernel panic - not syncing/,
    code: 'panic',
    meaning: "the guest's kernel panicked",
  },
  {
    name: 'kernel-oops',
    // The header of every x86 oops: "Oops: 0002 [#1] PREEMPT SMP", "general protection fault: 0000 [#1]".
    match:
      /(?:Oops: |general protection fault|invalid opcode|stack segment|divide error).*[0-9a-f]{4} \[#\d+\]/,
    code: 'oops',
    meaning: "the guest's kernel had an oops",
  },
  {
    name: 'kernel-bug',
    match: /kernel BUG at \S+:\d+!/,
    code: 'oops',
    meaning: "the guest's kernel hit a BUG()",
  },
  {
    // Not every "BUG:": soft lockups are reported on slow hosts and pass.
    name: 'kernel-bad-access',
    match: /BUG: (?:kernel NULL pointer|unable to handle|(?:TASK|IRQ|#DF) stack guard page)/,
    code: 'oops',
    meaning: "the guest's kernel accessed bad memory",
  },
  {
    name: 'dracut-emergency-shell',
    match: /Entering emergency mode\. Exit the shell to continue|Warning: Could not boot\./,
    code: 'emergency-shell',
    meaning: 'dracut gave up and opened its emergency shell',
  },
  {
    name: 'dracut-prompt',
    match: /^(?:dracut:\/|switch_root:\/|initqueue:\/|pre-mount:\/|pre-pivot:\/)[^#]*# $/,
    code: 'emergency-shell',
    meaning: 'dracut shows the prompt of its emergency shell',
  },
  {
    name: 'systemd-emergency-mode',
    match: /You are in emergency mode|Reached target (?:\S+ - )?Emergency Mode/,
    code: 'emergency-shell',
    meaning: 'systemd entered emergency mode',
  },
  {
    name: 'maintenance-prompt',
    match: /Give root password for (?:\w+ )?maintenance|Press Enter for (?:\w+ )?maintenance/,
    code: 'emergency-shell',
    meaning: 'the guest offers a shell for maintenance',
  },
  {
    name: 'console-locked',
    match: /Cannot open access to console, the root account is locked/,
    code: 'emergency-shell',
    meaning: 'the guest entered emergency mode with its root account locked',
  },
  {
    name: 'initramfs-dropped-to-shell',
    match: /does not exist\.\s+Dropping to a shell!/,
    code: 'emergency-shell',
    meaning: 'the initramfs did not find its root and dropped to a shell',
  },
  {
    name: 'initramfs-prompt',
    match: /^\(initramfs\) ?$/,
    code: 'emergency-shell',
    meaning: 'the initramfs shows the prompt of its shell',
  },
  {
    name: 'grub-rescue',
    match: /^(?:grub> |grub rescue> )$/,
    code: 'emergency-shell',
    meaning: 'GRUB shows its prompt',
  },
  {
    name: 'systemd-freeze',
    match: /Freezing execution|\[!!!!!!\] /,
    code: 'systemd-freeze',
    meaning: 'systemd froze',
  },
  {
    name: 'firmware-refused-image',
    match: /failed to (?:load|start) (?:Boot[0-9A-Fa-f]{4}|.*\.efi).*: (?:Access Denied|Security Violation)/i,
    code: 'firmware-refused',
    meaning: 'the firmware refused to start a boot image',
  },
  {
    name: 'shim-refused-image',
    match: /Verification failed: \(0x1A\) Security Violation/,
    code: 'firmware-refused',
    meaning: 'shim refused to start a boot image',
  },
  {
    name: 'loader-refused-image',
    match:
      /(?:Error (?:loading|preparing|opening|starting)|Failed to (?:load|start)) .*: (?:Access denied|Security violation)/i,
    code: 'firmware-refused',
    meaning: 'the boot loader could not start a boot image',
  },
  {
    name: 'nothing-to-boot',
    match: /No bootable option or device was found/,
    code: 'firmware-refused',
    meaning: 'the firmware found nothing to boot',
  },
  {
    name: 'uefi-shell',
    match: /UEFI Interactive Shell v\d|^Shell> $/,
    code: 'firmware-refused',
    meaning: 'the firmware found nothing to boot and opened its own shell',
  },
  {
    name: 'firmware-exception',
    match: /!!!! X64 Exception Type - /,
    code: 'panic',
    meaning: 'the firmware crashed',
  },
  {
    name: 'kvm-internal-error',
    match: /KVM internal error\. Suberror: \d/,
    code: 'kvm-internal-error',
    meaning: 'KVM could not go on',
  },
]

/** The error that a failure pattern stands for. `line` and `tail` must be safe to print. */
export function failureError(
  failure: FailurePattern,
  seen: { readonly awaited: string; readonly line: string; readonly tail: string },
): AttestbedError {
  const message = `while waiting for ${seen.awaited}, ${failure.meaning}: ${seen.line}\n${seen.tail}`
  if (failure.code === 'kvm-internal-error') return new LaunchError(message, { code: failure.code })
  return new GuestError(message, { code: failure.code, consoleTail: seen.tail })
}
