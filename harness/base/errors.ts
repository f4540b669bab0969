/**
 * One class a kind of failure, each with a closed union of codes. The class decides the exit code of the
 * program and the outcome of a scenario; the code is what tests assert and tools read. A message states the
 * action, the current and the required value; `hint` says what a person can do.
 */

export interface ErrorDetails<Code extends string> {
  readonly code: Code
  /** What a person can do about it, as a full sentence or a command. */
  readonly hint?: string | undefined
  readonly cause?: unknown
}

export abstract class AttestbedError<Code extends string = string> extends Error {
  abstract override readonly name: string
  /** Process exit code that this kind of error leads to. */
  abstract readonly exitCode: number
  readonly code: Code
  readonly hint: string | undefined

  constructor(message: string, details: ErrorDetails<Code>) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = details.code
    this.hint = details.hint
  }
}

export type UsageCode =
  | 'unknown-command'
  | 'unknown-flag'
  | 'bad-value'
  | 'unknown-scenario'
  | 'unknown-image'
  | 'bad-scenario'
  | 'bad-config'
  | 'needs-terminal'

/** Where in a user's file something is wrong; line and column count from 1. */
export interface Position {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** A flag, a scenario or a configuration file is wrong. */
export class UsageError extends AttestbedError<UsageCode> {
  override readonly name = 'UsageError'
  override readonly exitCode = 2
  readonly position: Position | undefined

  constructor(message: string, details: ErrorDetails<UsageCode> & { readonly position?: Position }) {
    const { position } = details
    super(position ? `${position.file}:${position.line}:${position.column}: ${message}` : message, details)
    this.position = position
  }
}

export type HostCode =
  | 'platform-unusable'
  | 'image-lacks'
  | 'scenario-lacks'
  | 'program-missing'
  | 'program-too-old'
  | 'no-network'
  | 'mirror-missing'
  | 'mirror-dead'
  | 'disk-full'
  | 'not-enough-memory'
  | 'not-enough-cores'
  | 'not-enough-disk'
  | 'no-guest-slot'
  | 'below-need'
  | 'marked-skip'
  | 'not-reached'
  | 'no-user-namespaces'
  | 'setup-missing'
  | 'setup-failed'
  | 'node-too-old'
  | 'unsupported-host'
  | 'hardware-required'
  | 'emulation-required'
  | 'locked'

/** This host lacks something: a skip, unless the user required it. */
export class HostError extends AttestbedError<HostCode> {
  override readonly name = 'HostError'
  override readonly exitCode = 3
}

export type MaterialCode =
  | 'missing'
  | 'truncated'
  | 'bad-format'
  | 'no-secure-boot'
  | 'build-failed'
  | 'disk-full'
  | 'in-use'

/** An input of a launch is missing, broken or could not be built. */
export class MaterialError extends AttestbedError<MaterialCode> {
  override readonly name = 'MaterialError'
  override readonly exitCode = 4
}

export type LaunchCode =
  | 'qemu-start'
  | 'qemu-crashed'
  | 'qmp-protocol'
  | 'qmp-command'
  | 'qmp-closed'
  | 'swtpm-start'
  | 'swtpm-died'
  | 'swtpm-failed'
  | 'socket-path-too-long'
  | 'kvm-internal-error'
  | 'transcript-write'

/** QEMU, swtpm or the wiring between them broke. */
export class LaunchError extends AttestbedError<LaunchCode> {
  override readonly name = 'LaunchError'
  override readonly exitCode = 4
}

export type GuestCode =
  | 'panic'
  | 'oops'
  | 'emergency-shell'
  | 'systemd-freeze'
  | 'firmware-refused'
  | 'hang'
  | 'shut-down'
  | 'reset'
  | 'console-closed'
  | 'login-failed'
  | 'command-failed'
  | 'output-too-large'
  | 'protocol'

/** The guest ended or misbehaved where the scenario needed it; `consoleTail` is already safe to print. */
export class GuestError extends AttestbedError<GuestCode> {
  override readonly name = 'GuestError'
  override readonly exitCode = 4
  readonly consoleTail: string | undefined

  constructor(message: string, details: ErrorDetails<GuestCode> & { readonly consoleTail?: string }) {
    super(message, details)
    this.consoleTail = details.consoleTail
  }
}

export type TimeoutCode =
  | 'expect'
  | 'boot'
  | 'command'
  | 'shutdown'
  | 'qmp'
  | 'swtpm'
  | 'probe'
  | 'scenario'
  | 'run'

/** A deadline passed; the message quotes the deadline and what was awaited. */
export class TimeoutError extends AttestbedError<TimeoutCode> {
  override readonly name = 'TimeoutError'
  override readonly exitCode = 4
  readonly consoleTail: string | undefined

  constructor(message: string, details: ErrorDetails<TimeoutCode> & { readonly consoleTail?: string }) {
    super(message, details)
    this.consoleTail = details.consoleTail
  }
}

export type FormatCode =
  | 'truncated'
  | 'bad-magic'
  | 'bad-value'
  | 'reserved-bit'
  | 'too-large'
  | 'trailing-bytes'

/** Malformed bytes: which field, at which offset. */
export class FormatError extends AttestbedError<FormatCode> {
  override readonly name = 'FormatError'
  override readonly exitCode = 5
  readonly field: string
  readonly offset: number

  constructor(
    message: string,
    details: ErrorDetails<FormatCode> & { readonly field: string; readonly offset: number },
  ) {
    super(message, details)
    this.field = details.field
    this.offset = details.offset
  }
}

export type VerifyCode =
  // certificates and revocation lists
  | 'endorsement-missing'
  | 'bad-chain'
  | 'bad-certificate'
  | 'certificate-signature'
  | 'not-yet-valid'
  | 'expired'
  | 'revoked'
  | 'unknown-root'
  | 'crl-missing'
  | 'crl-signature'
  | 'crl-expired'
  | 'crl-not-yet-valid'
  // what hardware signed
  | 'report-signature'
  | 'bad-signing-key'
  | 'tcb-mismatch'
  | 'chip-mismatch'
  | 'product-mismatch'
  | 'id-block-signature'
  | 'quote-signature'
  | 'qe-signature'
  | 'qe-binding'
  | 'qe-identity'
  // collateral
  | 'collateral-missing'
  | 'collateral-signature'
  | 'collateral-expired'
  | 'collateral-not-yet-valid'
  | 'fmspc-mismatch'
  | 'pce-mismatch'
  | 'module-identity'
  // TPM, event logs, bindings
  | 'not-a-quote'
  | 'nonce-mismatch'
  | 'pcr-mismatch'
  | 'replay-mismatch'
  | 'event-mismatch'
  | 'bad-credential'
  | 'binding-mismatch'

/** Not authentic: the first break on the way from the evidence to a pinned root. */
export class VerifyError extends AttestbedError<VerifyCode> {
  override readonly name = 'VerifyError'
  override readonly exitCode = 5
  /** What the check requires, ready to print; attacker-controlled bytes only as hex or escaped. */
  readonly expected: string
  readonly got: string

  constructor(
    message: string,
    details: ErrorDetails<VerifyCode> & { readonly expected: string; readonly got: string },
  ) {
    super(message, details)
    this.expected = details.expected
    this.got = details.got
  }
}

/** One thing that a policy does not accept. All of it is safe to print on a terminal. */
export interface Finding {
  /** kebab-case, stable: what tests assert and tools read. */
  readonly code: string
  readonly message: string
  readonly expected: string
  readonly got: string
  /** What a person can do about it, where that is known. */
  readonly hint?: string
}

/** Authentic, not acceptable: carries every finding, at least one. */
export class AppraiseError extends AttestbedError<'not-acceptable'> {
  override readonly name = 'AppraiseError'
  override readonly exitCode = 6
  readonly findings: readonly Finding[]

  constructor(message: string, details: { readonly findings: readonly Finding[]; readonly hint?: string }) {
    super(message, { code: 'not-acceptable', hint: details.hint })
    this.findings = details.findings
  }
}

/** A claim is false. */
export class ExpectationError extends AttestbedError<'claim-false'> {
  override readonly name = 'ExpectationError'
  override readonly exitCode = 1
}

/** The user or the system ended the run; nothing is known of what was not finished. */
export class InterruptedError extends AttestbedError<'interrupted'> {
  override readonly name = 'InterruptedError'
  /** Infrastructure: a signal's own exit code is the program's to give. */
  override readonly exitCode = 4

  constructor(message: string) {
    super(message, { code: 'interrupted' })
  }
}

/** Exit code for anything that is not an AttestbedError: our own bug. */
export const INTERNAL_ERROR_EXIT_CODE = 70

/** Exit code that `error` leads to. */
export function exitCodeOf(error: unknown): number {
  return error instanceof AttestbedError ? error.exitCode : INTERNAL_ERROR_EXIT_CODE
}
