/** One QEMU process and its vTPM: what starts them, and what they leave behind. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { writeAsciicast } from '../machine/console/asciicast.ts'
import type { Transcript } from '../machine/console/transcript.ts'
import type { MachineDescription } from '../machine/description.ts'
import type { Machine } from '../machine/vm.ts'
import { SWTPM_PROGRAM, type Swtpm, startSwtpm, swtpmArguments } from '../machine/vtpm/swtpm.ts'
import type { LabSpec } from './lab-spec.ts'

export interface BootSpec {
  /** Private directory of this QEMU process. */
  readonly directory: string
  readonly description: MachineDescription
  readonly vtpm?: { readonly stateDirectory: string; readonly log: string }
}

/** One QEMU process with its vTPM; it serves several boots where the guest resets. */
export interface BootProcess {
  readonly machine: Machine
  readonly vtpm: Swtpm | undefined
  readonly spec: BootSpec
}

/** A guest that made noise is not worth a recording several times as large as the noise. */
const LONGEST_RECORDED = 32 * 1024 * 1024

/** The console as a recording that a terminal player plays. */
export async function record(
  { files }: Transcript,
  {
    directory,
    name,
    startedAt,
  }: { readonly directory: string; readonly name: string; readonly startedAt: Date },
): Promise<void> {
  const { size } = await stat(files.raw)
  if (size <= LONGEST_RECORDED)
    await writeAsciicast(files, join(directory, 'console.cast'), { title: name, startedAt })
}

export function startVtpm(
  { name, spec: { bench, scope } }: { readonly name: string; readonly spec: LabSpec },
  spec: BootSpec,
): Promise<Swtpm> | undefined {
  const socket = spec.description.tpm?.controlSocket
  if (socket === undefined || spec.vtpm === undefined) return undefined
  // Its place among the teardowns is taken now, before QEMU's: no guest outlives its vTPM.
  const own = scope.child(`swtpm of ${name}`)
  return startSwtpm(own, bench.tools, { name: `swtpm of ${name}`, socket, ...spec.vtpm })
}

/** What a person pastes, in order: swtpm has to be there before QEMU. */
export function commandsOf(
  spec: Pick<BootSpec, 'description'> & {
    readonly vtpm?: { readonly stateDirectory: string; readonly log?: string }
  },
  qemu: readonly string[],
): readonly (readonly string[])[] {
  const socket = spec.description.tpm?.controlSocket
  if (socket === undefined || spec.vtpm === undefined) return [qemu]
  return [[SWTPM_PROGRAM, ...swtpmArguments({ name: 'swtpm', socket, ...spec.vtpm })], qemu]
}
