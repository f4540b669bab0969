/** Runs QEMU's own launch code without the hardware that it is for, and reads what it would have measured. */
import { constants } from 'node:fs'
import { access, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AttestbedError, HostError, LaunchError } from '../base/errors.ts'
import { QEMU_PROGRAM, qemuArguments } from '../machine/argv.ts'
import type { MachineDescription, QemuObject } from '../machine/description.ts'
import { recognizeQemuError } from '../machine/qemu-errors.ts'
import { makeSerialFifos } from '../machine/serial-pipe.ts'
import type { Tools } from '../system/tools.ts'
import type { Launch } from './launch.ts'
import { launchOf } from './launch-of.ts'
import { ensureRecorder, type RecorderOptions } from './recorder.ts'
import { LONGEST_RECORDING, parseRecording, type Recording } from './recording.ts'

export interface RehearsalContext extends RecorderOptions {
  readonly tools: Tools
}

export interface Rehearsal {
  readonly launch: Launch
  /** What the launch was read from. */
  readonly recorded: Recording
  /** The file that was written: equal launches give equal files. */
  readonly recording: string
  /** What was run, with QEMU's program first. */
  readonly argv: readonly string[]
}

/** Devices that no machine has: only the recorder gives them a meaning, so without it QEMU cannot begin a launch. */
const KVM_DEVICE = '/proc/attestbed-recorder/kvm'
const SEV_DEVICE = '/proc/attestbed-recorder/sev'

const TIMEOUT_MS = 30_000
const NO_KVM_HINT =
  'A rehearsal needs any /dev/kvm that opens; it needs neither SEV nor TDX and runs no guest'

/**
 * `description`: the guest as its platform launches it. Disks, vTPM and ports are left out: they are not part of what
 * is measured at launch. `file`: of the recording, which must not exist; its directory must. Throws HostError where
 * this host has no usable /dev/kvm or QEMU cannot be intercepted, MaterialError for inputs that QEMU refuses,
 * LaunchError where QEMU ends for another reason, FormatError for a recording that is no whole launch.
 */
export async function rehearse(
  context: RehearsalContext,
  description: MachineDescription,
  file: string,
): Promise<Rehearsal> {
  await requireKvm()
  const library = await ensureRecorder(context)
  const sockets = await mkdtemp(join(tmpdir(), 'attestbed-'))
  try {
    const guest = rehearsed(description, sockets)
    await makeSerialFifos(context.tools, guest.serialPipe)
    const argv = await runQemu(context, { guest, library, file })
    const recorded = parseRecording(await readRecording(file))
    return { launch: launchOf(recorded), recorded, recording: file, argv }
  } finally {
    await rm(sockets, { recursive: true, force: true })
  }
}

/** Throws HostError 'platform-unusable'. */
async function requireKvm(): Promise<void> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new HostError(`cannot rehearse a launch: /dev/kvm cannot be used: ${code}`, {
      ...{ code: 'platform-unusable', hint: NO_KVM_HINT, cause },
    })
  }
}

/** The same guest, in front of the recorder. */
function rehearsed(description: MachineDescription, sockets: string): MachineDescription {
  const { tpm: _, ...rest } = description
  return {
    ...rest,
    ...{ accelerator: 'kvm', kvmDevice: KVM_DEVICE, drives: [], ports: [] },
    objects: description.objects.map((object) =>
      'cbitpos' in object ? { ...object, 'sev-device': SEV_DEVICE } : object,
    ),
    ...{ qmpSocket: join(sockets, 'q'), serialPipe: join(sockets, 's') },
  }
}

interface QemuRun {
  readonly guest: MachineDescription
  readonly library: string
  readonly file: string
}

/** Returns the command line that worked. */
async function runQemu(context: RehearsalContext, run: QemuRun): Promise<readonly string[]> {
  const words = await tryQemu(context, run)
  if (words === undefined) return [QEMU_PROGRAM, ...qemuArguments(run.guest)]
  // QEMU reads the C-bit with an instruction that cannot be intercepted; its place is no part of what is measured.
  const position = /cbitpos check failed, host '(\d+)'/.exec(words)?.[1]
  if (position === undefined) throw await whyFailed(words, run.file)
  await rm(run.file, { force: true })
  const guest = { ...run.guest, objects: run.guest.objects.map((object) => withCbit(object, position)) }
  const again = await tryQemu(context, { ...run, guest })
  if (again !== undefined) throw await whyFailed(again, run.file)
  return [QEMU_PROGRAM, ...qemuArguments(guest)]
}

function withCbit(object: QemuObject, position: string): QemuObject {
  return 'cbitpos' in object ? { ...object, cbitpos: Number(position) } : object
}

/** QEMU's words where it failed. */
async function tryQemu(
  { tools, signal }: RehearsalContext,
  { guest, library, file }: QemuRun,
): Promise<string | undefined> {
  const preload = [`LD_PRELOAD=${library}`, `ATTESTBED_RECORDING=${file}`]
  const options = { timeoutMs: TIMEOUT_MS, ...(signal && { signal }) }
  try {
    await tools.run('env', [...preload, QEMU_PROGRAM, ...qemuArguments(guest)], options)
    return undefined
  } catch (error) {
    if (error instanceof AttestbedError && error.code === 'build-failed') return error.message
    throw error
  }
}

/** 128 and SIGSYS, by which the kernel ends whoever reaches past the recorder. */
const REACHED_PAST = /exit code 159\b|SIGSYS/

async function whyFailed(words: string, file: string): Promise<AttestbedError> {
  const recorders = /attestbed-recorder: (.+)/.exec(words)?.[1]
  if (recorders !== undefined) return unusable(recorders, 'The recorder says so itself')
  if (
    !(await access(file).then(
      () => true,
      () => false,
    ))
  )
    return unusable('QEMU could not be intercepted, so it found no device to launch with', lastLine(words))
  if (REACHED_PAST.test(words))
    return new LaunchError(
      'cannot rehearse a launch: QEMU reached past the recorder and was stopped by the kernel',
      {
        code: 'qemu-crashed',
        hint: 'This QEMU talks to KVM in a way that the recorder does not know; no hardware was touched',
      },
    )
  return (
    recognizeQemuError(words) ?? new LaunchError(`cannot rehearse a launch: ${words}`, { code: 'qemu-start' })
  )
}

function lastLine(words: string): string {
  return words.trim().split('\n').at(-1)?.trim() ?? ''
}

function unusable(reason: string, hint: string): HostError {
  return new HostError(`cannot rehearse a launch: ${reason}`, { code: 'platform-unusable', hint })
}

async function readRecording(file: string): Promise<Buffer> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    if (size > LONGEST_RECORDING * 2)
      throw new LaunchError(
        `cannot read ${file}: it has ${size} bytes, a recording has at most ${LONGEST_RECORDING}`,
        {
          code: 'qemu-start',
        },
      )
    return await readFile(handle)
  } finally {
    await handle.close()
  }
}
