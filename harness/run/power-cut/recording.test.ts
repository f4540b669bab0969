import { renameSync, statSync, writeFileSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type LogEntry, tracedWrite, writeLog } from '../../formats/testing/write-logs.ts'
import type { LoggedWrite } from '../../formats/write-log.ts'
import type { ScenarioVm } from '../vm.ts'
import type { WriteLogs } from '../vm-machine.ts'
import { CutDisk } from './cut-disk.ts'
import { UpdateRecording } from './recording.ts'
import type { CutEvent } from './states.ts'
import { VtpmVersions } from './vtpm-versions.ts'

const SECTOR = 512

async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

const write = (sector: number, letter: string, sectors = 1): LoggedWrite => {
  const data = Buffer.alloc(sectors * SECTOR, letter)
  return { kind: 'write', at: 0, offset: sector * SECTOR, size: data.length, data }
}

t.test('a disk goes to any state, forwards and backwards, and to one without a lost write', async (t) => {
  const file = join(await scratch(t), 'disk.raw')
  const before = Buffer.alloc(8 * SECTOR, '.')
  await writeFile(file, before)
  const earlier = [write(7, 'e')]
  const writes = [
    write(0, 'a', 3),
    write(1, 'b'),
    { ...write(4, 'x'), kind: 'discard' as const },
    write(2, 'c', 4),
  ]
  const expected = (some: readonly LoggedWrite[]) => {
    const disk = Buffer.from(before)
    for (const { kind, offset, data } of [...earlier, ...some]) if (kind === 'write') disk.set(data, offset)
    return disk
  }
  const disk = await CutDisk.open(file, { earlier, writes })
  t.ok(expected([]).equals(await readFile(file)), 'as it is when the recording begins')
  for (const some of [writes, writes.slice(0, 1), writes.slice(1), [], writes.slice(0, 2)]) {
    await disk.goTo(some)
    t.ok(expected(some).equals(await readFile(file)), `${some.length} writes`)
  }
  t.ok((await disk.read(7 * SECTOR, 4)).equals(Buffer.from('eeee')))
})

t.test(
  'every version of a vTPM state is kept with its time, and one that was not seen is counted',
  async (t) => {
    const directory = await scratch(t)
    const at = (name: string) => join(directory, name)
    await writeFile(at('tpm2-00.permall'), 'one')
    const versions = VtpmVersions.watch(directory)
    t.teardown(() => versions.close())
    const replace = (content: string) => {
      writeFileSync(at('TMP2-00.permall'), content)
      renameSync(at('TMP2-00.permall'), at('tpm2-00.permall'))
    }
    const contents = () => versions.seen.map(({ bytes }) => Buffer.from(bytes).toString())
    replace('two')
    while (versions.seen.length < 2) await turn()
    t.strictSame(contents(), ['one', 'two'])
    t.equal(versions.missed, 0)
    const [, { at: time } = { at: 0 }] = versions.seen
    t.ok(Math.abs(time - statSync(at('tpm2-00.permall')).ctimeMs) < 1)
    // Both before the kernel's word of the first is heard.
    replace('three')
    replace('four')
    while (versions.missed === 0) await turn()
    t.strictSame(contents(), ['one', 'two', 'four'])
    t.equal(versions.missed, 1)
  },
)

/** What a QEMU process does while it is recorded: writes a sector, or passes a TPM command on (milliseconds since the epoch). */
type Step = { readonly on: 'disk' | 'variables'; readonly sector: number } | { readonly tpmAt: number }

/** A VM that is off, and the file of its vTPM's state; its QEMU processes are what `run` is told. */
async function recordedVm(t: Test) {
  const directory = await scratch(t)
  const at = (name: string) => join(directory, name)
  await mkdir(at('vtpm'))
  const state = join(at('vtpm'), 'tpm2-00.permall')
  for (const file of [at('disk'), at('flash'), state]) await writeFile(file, 'as it was')
  const scratchFiles: string[] = []
  let next: (() => Promise<WriteLogs>) | undefined
  const vm = {
    ...{
      vtpmState: at('vtpm'),
      firmware: { kind: 'pflash', variables: at('flash') },
      disk: { file: at('disk') },
    },
    recordWrites: (from?: typeof next) => {
      next = from
    },
    spec: {
      ...{ directory, scratch: scratchFiles },
      bench: {
        tools: { run: (_: string, args: string[]) => copyFile(args.at(-2) ?? '', args.at(-1) ?? '') },
      },
    },
  }
  const recording = await UpdateRecording.prepare(vm as unknown as ScenarioVm)
  const run = async (steps: readonly Step[]) => {
    const logs = await next?.()
    if (logs) await writeLogs(logs, steps)
    return logs
  }
  /** Of the process that runs: what it has done by now. */
  const more = async (logs: WriteLogs | undefined, steps: readonly Step[]) => logs && writeLogs(logs, steps)
  return {
    recording,
    run,
    more,
    scratchFiles,
    state,
    replaceState: (content: string) => replaceFile(state, content),
  }
}

function replaceFile(file: string, content: string): number {
  writeFileSync(`${file}.new`, content)
  renameSync(`${file}.new`, file)
  return statSync(file).ctimeMs
}

async function writeLogs(logs: WriteLogs, steps: readonly Step[]): Promise<void> {
  const entries: Record<'disk' | 'variables', LogEntry[]> = { disk: [], variables: [] }
  const trace = steps.map((step) => {
    if ('tpmAt' in step) return `${new Date(step.tpmAt).toISOString()} tpm_emulator_handle_request\n`
    // Entries of one size would look alike in both logs.
    const sectors = step.on === 'disk' ? 1 : 2
    const offset = writeLog(entries[step.on]).length
    entries[step.on].push({ sector: step.sector, sectors, data: Buffer.alloc(sectors * SECTOR, step.on) })
    return tracedWrite(step.on === 'disk' ? '0xd' : '0xf', offset, (sectors + 1) * SECTOR)
  })
  await writeFile(logs.disk, writeLog(entries.disk))
  await writeFile(logs.variables, writeLog(entries.variables))
  await writeFile(logs.trace, trace.join(''))
}

const places = (events: readonly CutEvent[]) =>
  events.map((event) =>
    event.on === 'vtpm' ? `vtpm ${event.version}` : `${event.on} ${event.write.offset / SECTOR}`,
  )

t.test(
  'where each boot is a process, their records follow each other, and marks are in either',
  async (t) => {
    const { recording, run, more, scratchFiles } = await recordedVm(t)
    const first = await run([
      { on: 'disk', sector: 1 },
      { on: 'variables', sector: 2 },
    ])
    await recording.mark('start')
    await more(first, [
      { on: 'disk', sector: 1 },
      { on: 'variables', sector: 2 },
      { on: 'disk', sector: 3 },
    ])
    const second = await run([
      { on: 'variables', sector: 4 },
      { on: 'disk', sector: 5 },
    ])
    await recording.mark('installed')
    t.equal(
      new Set([...Object.values(first ?? {}), ...Object.values(second ?? {})]).size,
      6,
      'files of its own',
    )
    const { before, update } = await recording.end()
    t.strictSame(places(before), ['vtpm 0', 'disk 1', 'variables 2'])
    t.strictSame(places(update.events), ['disk 3', 'variables 4', 'disk 5'])
    t.strictSame(update.marks, [
      { name: 'start', after: 0 },
      { name: 'installed', after: 3 },
    ])
    t.ok(
      Object.values(second ?? {}).every((file) => scratchFiles.includes(file)),
      'none is left where it passes',
    )
    t.equal(await run([]), undefined, 'a later process records nothing')
  },
)

t.test(
  'a version of the vTPM is placed behind the command that made it, by the time of its file',
  async (t) => {
    const { recording, run, replaceState } = await recordedVm(t)
    const at = Math.floor(replaceState('one'))
    // Its file may be noted a tick of the kernel's clock before the command was passed on.
    await run([
      { on: 'disk', sector: 1 },
      { tpmAt: at - 50 },
      { on: 'disk', sector: 2 },
      { tpmAt: at + 3 },
      { on: 'disk', sector: 3 },
      { tpmAt: at + 50 },
      { on: 'disk', sector: 4 },
    ])
    await turn()
    const { update } = await recording.end()
    const inOrder = places(update.events).filter((place) => place !== 'vtpm 0')
    t.strictSame(inOrder, ['disk 1', 'disk 2', 'vtpm 1', 'disk 3', 'disk 4'])
  },
)

t.test('a recording in which a state of the vTPM is missing, or has no place, is no recording', async (t) => {
  const lost = await recordedVm(t)
  lost.replaceState('one')
  lost.replaceState('two')
  await lost.run([{ tpmAt: Date.now() }])
  await turn()
  await t.rejects(lost.recording.end(), { code: 'swtpm-failed', message: /1 versions were replaced before/ })
  const unordered = await recordedVm(t)
  unordered.replaceState('one')
  await unordered.run([{ on: 'disk', sector: 1 }])
  await turn()
  await t.rejects(unordered.recording.end(), { code: 'swtpm-failed', message: /QEMU traced no TPM command/ })
})
