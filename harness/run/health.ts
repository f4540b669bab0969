/**
 * Whether what a scenario rested on still worked when it ended. A guest whose vTPM lost its state to a full disk looks
 * like one that an attack was kept from, or like one whose root does not open: its claims prove nothing either way.
 */
import { existsSync } from 'node:fs'
import { AttestbedError, LaunchError } from '../base/errors.ts'
import type { GuestEndKind } from '../machine/end.ts'
import { endError } from '../machine/end-error.ts'
import { readTpmCommandLog } from '../machine/vtpm/command-log.ts'
import { requireFreeSpace } from '../system/disk-space.ts'
import type { VmEnd } from './lab-spec.ts'

export interface Foundations {
  /** Run directory of this point of the matrix. */
  readonly directory: string
  /** Of every swtpm that served a VM. */
  readonly vtpmLogs: readonly string[]
  /** Of every VM; all have ended. */
  readonly ends: readonly VmEnd[]
}

/** A guest can go on for a while without what it lost here, and what it then says proves nothing. */
const LOST_BENEATH: ReadonlySet<GuestEndKind> = new Set<GuestEndKind>(['vtpm-died', 'io-error'])

/** What must still be free: with less, a write of the last minutes may have failed. */
const SPARE_BYTES = 1 << 20
/** TPM_RC_FAILURE: the TPM is in failure mode (TPM 2.0 Library, part 1, "Self-test and failure mode"). */
const RC_FAILURE = 0x101

/** The fault that makes every claim worthless, undefined where there is none. */
export async function faultOf({
  directory,
  vtpmLogs,
  ends,
}: Foundations): Promise<AttestbedError | undefined> {
  try {
    await requireFreeSpace(directory, SPARE_BYTES, 'the run directory')
    for (const log of vtpmLogs) await requireWorkingTpm(log)
    for (const end of ends) await requireIntact(end)
    return undefined
  } catch (error) {
    if (error instanceof AttestbedError) return error
    throw error
  }
}

async function requireIntact({ name, ended }: VmEnd): Promise<void> {
  const end = await ended
  if (LOST_BENEATH.has(end.kind)) throw endError(name, end)
}

async function requireWorkingTpm(log: string): Promise<void> {
  // None where the vTPM was never started; what prevented that was thrown.
  if (!existsSync(log)) return
  const failed = (await readTpmCommandLog(log)).find(({ responseCode }) => responseCode === RC_FAILURE)
  if (failed === undefined) return
  throw new LaunchError(`the vTPM went into failure mode: ${failed.name} was answered TPM_RC_FAILURE`, {
    code: 'swtpm-failed',
    hint: `Its commands are in ${log}`,
  })
}

/** The first error of ours inside what disposal, or several things at once, wrapped; else `error` itself. */
export function firstOfOurs(error: unknown): unknown {
  const waiting: unknown[] = [error]
  const seen = new Set<unknown>()
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (next instanceof AttestbedError) return next
    if (seen.has(next)) continue
    seen.add(next)
    if (next instanceof AggregateError) waiting.push(...next.errors)
    // What ended the scenario comes before what its teardown ran into.
    if (next instanceof SuppressedError) waiting.push(next.suppressed, next.error)
    if (next instanceof Error && next.cause !== undefined) waiting.push(next.cause)
  }
  return error
}
