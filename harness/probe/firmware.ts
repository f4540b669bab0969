/** Which firmware exists, as far as probing needs to know; `platforms` reads it from ovmf/manifest.yaml. */

export const FIRMWARE_FEATURES = [
  /** Enforces Secure Boot once keys are enrolled. */
  'secure-boot',
  /** Starts only with SMM, where it keeps its variables. */
  'smm',
  /** EFI variables survive a reset and a relaunch. */
  'persistent-variables',
  /** Measures what it starts into a TPM, where there is one. */
  'measures-into-tpm',
  'sev',
  'sev-es',
  'sev-snp',
  /** Measures into the RTMRs of a TD. */
  'tdx',
  /** Can be launched as a TD: it has the metadata (TDVF). */
  'tdvf',
  /** Code and variable store, joined, can be launched as a TEE's firmware, which no TEE could run and an emulated one can. */
  'stand-in',
] as const
export type FirmwareFeature = (typeof FIRMWARE_FEATURES)[number]

export interface FirmwareBuild {
  /** Lower-case words joined by hyphens; the fact of its presence is `firmware-<id>`. */
  readonly id: string
  readonly title: string
  /** Debian package it is part of. */
  readonly package: string
  /** Relative to the root of the tools; with `load: bios` code and variable store are one file. */
  readonly path: string
  readonly load: 'pflash' | 'bios'
  /** Template of the variable store, relative like `path`; with `load: pflash` only. */
  readonly variables?: string
  /** Secure Boot keys in the variable store as shipped. */
  readonly keys: 'none' | 'microsoft' | 'snakeoil'
  readonly features: readonly FirmwareFeature[]
}

/** Name of the fact that says whether a build is there. */
export function firmwareFact(build: Pick<FirmwareBuild, 'id'>): string {
  return `firmware-${build.id}`
}
