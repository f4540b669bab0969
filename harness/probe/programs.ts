/** What the programs of the tools say about themselves and this host; recorded hosts bring recorded answers. */

export interface QemuAnswers {
  readonly version: readonly [number, number, number]
  /** The distribution's own version, as in the QMP greeting. */
  readonly packageVersion: string
  readonly accelerators: readonly string[]
  /** Confidential-guest objects and the names of their properties (`qom-list-properties`). */
  readonly objects: Readonly<Record<string, readonly string[]>>
  /** `query-sev-capabilities` under KVM: what the host's SEV firmware says, or QEMU's error. */
  readonly sev: { readonly cbitPosition: number } | { readonly error: string }
}

/** How far a firmware got under KVM. */
export type BootOutcome =
  | { readonly kind: 'booted'; readonly milliseconds: number; readonly line: string }
  /** KVM gave up on the guest's instructions; QEMU then hangs until it is killed. */
  | { readonly kind: 'internal-error'; readonly detail: string }
  /** QEMU ended before the firmware said anything. */
  | { readonly kind: 'ended'; readonly detail: string }
  /** SMM is tried only where the firmware boots without. */
  | { readonly kind: 'not-tried'; readonly detail: string }
  /** Nothing was heard until the deadline. */
  | { readonly kind: 'silent'; readonly milliseconds: number; readonly detail: string }

/** Which build is booted: without SMM, or one that keeps its variables in SMM. */
export type BootKind = 'plain' | 'smm'

/** Every method rejects where the program cannot be run; the error is the proof. */
export interface Programs {
  qemu(): Promise<QemuAnswers>
  /** What `swtpm --version` says, up to its copyright. */
  swtpm(): Promise<string>
  bootKvm(kind: BootKind): Promise<BootOutcome>
  /** Path on the host and size in bytes of a file of the tools; undefined where it is missing. */
  file(relative: string): Promise<{ readonly path: string; readonly size: number } | undefined>
}

/** Stands in for the tools where they cannot be opened: every question is answered with the reason. */
export function missingPrograms(reason: Error): Programs {
  const refuse = () => Promise.reject(reason)
  return { qemu: refuse, swtpm: refuse, bootKvm: refuse, file: refuse }
}
