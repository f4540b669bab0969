/**
 * Records what an update writes: to the disk and to the flash, as QEMU's block layer logs it, and every version of the
 * vTPM's state. QEMU's trace gives the order across them: of writes exactly, of a version to the TPM command that made it.
 * A platform that cannot reset its guests starts a process for each boot: their logs follow each other.
 */
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LaunchError, UsageError } from '../../base/errors.ts'
import { inFile } from '../../base/in-file.ts'
import { parseWriteLog, type WriteLog } from '../../formats/write-log.ts'
import { parseWriteTrace, positionsOf, type TracedEvent } from '../../formats/write-trace.ts'
import type { ScenarioVm } from '../vm.ts'
import type { WriteLogs } from '../vm-machine.ts'
import type { CutEvent, RecordedUpdate } from './states.ts'
import { VtpmVersions } from './vtpm-versions.ts'

/** A log in the order of the trace. */
interface Ordered {
  readonly writes: WriteLog['writes']
  readonly positions: readonly number[]
}

export interface Recorded {
  readonly update: Omit<RecordedUpdate, 'esp' | 'variables'>
  /** What came before, in order: on the disk and in the flash as they were when the VM was switched on. */
  readonly before: readonly CutEvent[]
  /** Content of each version of the vTPM's state. */
  readonly vtpm: readonly Uint8Array[]
  /** Of the VM before it was switched on: raw disk and flash. */
  readonly base: { readonly disk: string; readonly variables: string }
}

/** How late the time of a file's change may be noted, in milliseconds: a tick of the kernel's clock. */
const CLOCK_TICK_MS = 4

export class UpdateRecording {
  readonly #vm: ScenarioVm
  readonly #base: Recorded['base']
  readonly #versions: VtpmVersions
  /** Of each QEMU process, the first one first. */
  readonly #logs: WriteLogs[] = []
  readonly #marks: { readonly name: string; readonly process: number; readonly traced: number }[] = []

  private constructor(vm: ScenarioVm, base: Recorded['base'], versions: VtpmVersions) {
    this.#vm = vm
    this.#base = base
    this.#versions = versions
  }

  /** Has the VM's QEMU processes record, from the next one until the end. The VM must be off. */
  static async prepare(vm: ScenarioVm): Promise<UpdateRecording> {
    const { vtpmState, firmware, spec } = vm
    if (vtpmState === undefined || firmware.kind !== 'pflash')
      throw new UsageError('power cuts need a vTPM with a state and variables that persist', {
        code: 'bad-scenario',
      })
    const directory = join(spec.directory, 'recording')
    await mkdir(directory, { mode: 0o700 })
    const base = { disk: join(directory, 'before.raw'), variables: join(directory, 'before.fd') }
    spec.scratch.push(base.disk)
    await spec.bench.tools.run('qemu-img', ['convert', '-O', 'raw', vm.disk.file, base.disk])
    await copyFile(firmware.variables, base.variables)
    const recording = new UpdateRecording(vm, base, VtpmVersions.watch(vtpmState))
    vm.recordWrites(() => recording.#nextLogs(directory))
    return recording
  }

  async #nextLogs(directory: string): Promise<WriteLogs> {
    const at = (name: string) => join(directory, `${name}-${this.#logs.length + 1}`)
    const logs = { disk: at('disk.log'), variables: at('variables.log'), trace: at('trace') }
    this.#vm.spec.scratch.push(...Object.values(logs))
    // A second process would write over what the first one logged.
    for (const file of Object.values(logs)) await writeFile(file, '', { mode: 0o600, flag: 'wx' })
    this.#logs.push(logs)
    return logs
  }

  /** The update begins, or a step of it has ended, with nothing left to write. */
  async mark(name: string): Promise<void> {
    const logs = this.#logs.at(-1)
    const traced = logs === undefined ? 0 : (await stat(logs.trace)).size
    this.#marks.push({ name, process: this.#logs.length - 1, traced })
  }

  /**
   * Reads what was recorded from the first mark to the last. QEMU must have ended. Throws FormatError, LaunchError
   * `swtpm-failed` where a version of the vTPM's state was replaced before it was read: a state would be missing.
   */
  async end(): Promise<Recorded> {
    this.#vm.recordWrites()
    this.#versions.close()
    const { missed, seen } = this.#versions
    if (missed > 0)
      throw new LaunchError(
        `cannot tell all states of the vTPM: ${missed} versions were replaced before they were read, none may be`,
        { code: 'swtpm-failed', hint: 'This host was too busy; run the scenario again' },
      )
    const processes = await this.#readProcesses()
    const traced = processes.flatMap(({ events }) => events)
    requireCommands(traced, seen.length)
    const all = [
      ...processes.flatMap(({ writes }) => writes),
      ...seen.map(({ at }, version) => ({
        position: positionOfCommand(traced, at),
        event: { on: 'vtpm' as const, version },
      })),
    ].sort((a, b) => a.position - b.position)
    const marks = this.#marks.map((mark) => ({ name: mark.name, position: positionOfMark(processes, mark) }))
    const [begin, end] = [marks[0]?.position ?? 0, marks.at(-1)?.position ?? traced.length]
    const before = all.filter(({ position }) => position < begin).map(({ event }) => event)
    const during = all.filter(({ position }) => position >= begin && position < end)
    const versionsBefore = before.flatMap((event) => (event.on === 'vtpm' ? [event.version] : []))
    return {
      update: {
        vtpmAtStart: versionsBefore.at(-1) ?? 0,
        vtpm: seen.map(({ bytes }) => createHash('sha256').update(bytes).digest('hex')),
        events: during.map(({ event }) => event),
        marks: marks.map(({ name, position }) => ({
          name,
          after: during.filter((each) => each.position < position).length,
        })),
      },
      before,
      vtpm: seen.map(({ bytes }) => bytes),
      base: this.#base,
    }
  }

  async #readProcesses(): Promise<readonly TracedProcess[]> {
    const processes: TracedProcess[] = []
    let begin = 0
    for (const logs of this.#logs) {
      const process = await readProcess(logs, begin)
      processes.push(process)
      begin += process.events.length
    }
    return processes
  }
}

/** What one QEMU process traced; positions count from the first event of the first process. */
interface TracedProcess {
  readonly begin: number
  readonly trace: string
  readonly events: readonly TracedEvent[]
  readonly writes: readonly { readonly position: number; readonly event: CutEvent }[]
}

async function readProcess(
  { disk, variables, trace: file }: WriteLogs,
  begin: number,
): Promise<TracedProcess> {
  const trace = await readFile(file, 'latin1')
  const events = inFile({ what: 'trace of writes', file }, () => parseWriteTrace(trace))
  const logs = await Promise.all([ordered(disk, events), ordered(variables, events)])
  const writes = [...placed(logs[0], 'disk'), ...placed(logs[1], 'variables')]
  return {
    ...{ begin, trace, events },
    writes: writes.map(({ position, event }) => ({ position: begin + position, event })),
  }
}

function positionOfMark(
  processes: readonly TracedProcess[],
  { process, traced }: { readonly process: number; readonly traced: number },
): number {
  const { begin, trace } = processes[process] ?? { begin: 0, trace: '' }
  return begin + parseWriteTrace(trace.slice(0, traced)).length
}

async function ordered(file: string, events: readonly TracedEvent[]): Promise<Ordered> {
  const bytes = await readFile(file)
  return inFile({ what: 'log of writes', file }, () => {
    const log = parseWriteLog(bytes)
    return { writes: log.writes, positions: positionsOf(log, events) }
  })
}

/** A version of the vTPM's state has its place by the TPM command that made it. */
function requireCommands(events: readonly TracedEvent[], versions: number): void {
  if (versions < 2 || events.some(({ kind }) => kind === 'tpm-command')) return
  throw new LaunchError(
    `cannot order ${versions} versions of the vTPM's state: QEMU traced no TPM command, at least 1 is required`,
    { code: 'swtpm-failed', hint: "Use the tools' own QEMU" },
  )
}

function placed({ writes, positions }: Ordered, on: 'disk' | 'variables') {
  return writes.map((write, index) => ({ position: positions[index] ?? 0, event: { on, write } }))
}

/** Right behind the last TPM command that was passed on by then. */
function positionOfCommand(events: readonly TracedEvent[], at: number): number {
  const command = events.findLastIndex(
    (event) => event.kind === 'tpm-command' && event.at <= at + CLOCK_TICK_MS,
  )
  return command + 0.5
}
