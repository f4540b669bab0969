import type { TpmCommand } from '../machine/vtpm/command-log.ts'

/**
 * How often TPM2_Unseal succeeded between each successful TPM2_Startup (a power-on or reset of the guest) and the
 * next. What a TPM released is what its log says, whatever the guest claims.
 */
export function unsealsPerStartup(commands: readonly TpmCommand[]): readonly number[] {
  return successesPerStartup(commands, 'TPM2_Unseal')
}

/** The same of any command, by its name in the TPM 2.0 Library, part 2, table 12. */
export function successesPerStartup(commands: readonly TpmCommand[], command: string): readonly number[] {
  const counts: number[] = []
  for (const { name, responseCode } of commands) {
    if (responseCode !== 0) continue
    if (name === 'TPM2_Startup') counts.push(0)
    else if (name === command) counts[counts.length - 1] = (counts.at(-1) ?? 0) + 1
  }
  return counts
}
