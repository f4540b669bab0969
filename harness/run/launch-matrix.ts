/** Launches of a platform over a matrix of their inputs, predicted and rehearsed. */
import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import { QEMU_PROGRAM, qemuArguments } from '../machine/argv.ts'
import { serialFifosCommand } from '../machine/serial-pipe.ts'
import type { HostParameters } from '../platforms/descriptor.ts'
import { readFirmwareManifest } from '../platforms/firmware.ts'
import { launchDifference } from '../platforms/launch-difference.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import { platform } from '../platforms/platforms.ts'
import type { LaunchPrediction } from '../platforms/predicted-launch.ts'
import {
  describeLaunch,
  type LaunchRequest,
  predictLaunch,
  rehearseLaunch,
} from '../platforms/rehearsed-launch.ts'
import { rehearsalPages } from '../rehearsal/document.ts'
import { launchOf } from '../rehearsal/launch-of.ts'
import { type Mutation, mutated } from '../rehearsal/mutations.ts'
import type { Rehearsal } from '../rehearsal/rehearse.ts'
import type { LabSpec } from './lab-spec.ts'
import { PrintedArgv } from './printed-argv.ts'
import { firmwareFile } from './swaps.ts'

/** Each value of each axis meets each of the others. */
export interface LaunchAxes {
  /** Ids of ovmf/manifest.yaml, of builds that are one combined file. */
  readonly firmware: readonly string[]
  readonly vcpus: readonly number[]
  /** QEMU's CPU models; absent: the platform's own. */
  readonly cpu?: readonly string[]
  /** `uki`: QEMU brings the image's, with kernel-hashes; absent: none. */
  readonly kernel?: readonly ('none' | 'uki')[]
}

/** A comparison with one mistake put into the recording. */
export interface LaunchControl {
  readonly agree: boolean
  /** Where the two part, in words. */
  readonly difference: string
}

export interface LaunchMatrix {
  /** How many points were launched in both ways: a matrix that has shrunk agrees all the same. */
  readonly points: number
  /** Digests in hex by the name of the point: `ovmf-amdsev, 2 vCPUs, EPYC-v4, uki`. */
  readonly predicted: Readonly<Record<string, string>>
  readonly rehearsed: Readonly<Record<string, string>>
  /** Where they part, by the name of the point; empty where all agree. */
  readonly differences: Readonly<Record<string, string>>
  /** How many different digests were rehearsed. */
  readonly distinct: number
  /** The last point, with one mistake put into its recording. */
  control(mutation: Mutation): LaunchControl
}

interface Point {
  readonly name: string
  readonly request: LaunchRequest
}

interface Outcome {
  readonly name: string
  readonly prediction: LaunchPrediction
  readonly rehearsal: Rehearsal
}

/** Recordings go into the run directory's `launches`. Throws as `rehearse` and `predictLaunch` do. */
export async function rehearseMatrix(
  spec: LabSpec,
  { platform: id, axes }: { readonly platform: PlatformId; readonly axes: LaunchAxes },
): Promise<LaunchMatrix> {
  const { bench, directory, signal } = spec
  const host = bench.host
  const points = await pointsOf(spec, id, axes)
  const [first] = points
  if (bench.printArgv && first) throw new PrintedArgv(await printable(first.request, host))
  const recordings = join(directory, 'launches')
  await mkdir(recordings, { recursive: true, mode: 0o700 })
  const context = { tools: bench.tools, store: bench.store, checkout: bench.paths.checkout, host, signal }
  const outcomes: Outcome[] = []
  for (const [index, { name, request }] of points.entries()) {
    signal.throwIfAborted()
    const file = join(recordings, `${id}-${index + 1}.recording`)
    // 4 MiB each: kept where the scenario did not pass.
    spec.scratch.push(file)
    const [prediction, rehearsal] = await Promise.all([
      predictLaunch(request, host),
      rehearseLaunch(context, request, file),
    ])
    outcomes.push({ name, prediction, rehearsal })
  }
  return matrixOf(outcomes)
}

/** The launch that is rehearsed, as it can be pasted on a host that has the hardware. */
async function printable(
  request: LaunchRequest,
  host: HostParameters,
): Promise<readonly (readonly string[])[]> {
  const sockets = await mkdtemp(join(tmpdir(), 'attestbed-argv-'))
  const description = describeLaunch(request, host)
  const channels = { qmpSocket: join(sockets, 'qmp'), serialPipe: join(sockets, 'serial') }
  const qemu = [QEMU_PROGRAM, ...qemuArguments({ ...description, ...channels })]
  return [serialFifosCommand(channels.serialPipe), qemu]
}

async function pointsOf({ bench }: LabSpec, id: PlatformId, axes: LaunchAxes): Promise<readonly Point[]> {
  const { firmware, vcpus, cpu = [undefined], kernel = ['none'] } = axes
  const builds = await readFirmwareManifest(bench.paths.checkout)
  const uki = kernel.includes('uki') ? await ukiOf(bench) : undefined
  return firmware.flatMap((name) => {
    const build = builds.find((each) => each.id === name && each.load === 'bios')
    if (build === undefined)
      throw new MaterialError(`ovmf/manifest.yaml has no combined firmware "${name}"`, { code: 'missing' })
    return vcpus.flatMap((count) =>
      cpu.flatMap((model) =>
        kernel.map((brought) => ({
          name: [name, `${count} vCPUs`, ...(model ? [model] : []), ...(uki ? [brought] : [])].join(', '),
          request: {
            ...{ platform: platform(id), firmware: firmwareFile(bench.tools, build.path), vcpus: count },
            ...(model !== undefined && { options: { cpu: model } }),
            ...(brought === 'uki' && uki !== undefined && { directBoot: { kernel: uki } }),
          },
        })),
      ),
    )
  })
}

async function ukiOf({ image, keys }: LabSpec['bench']): Promise<string> {
  if (image.uki) return image.uki(keys)
  throw new MaterialError(`image ${image.description.id} has no UKI of ours`, { code: 'missing' })
}

function matrixOf(outcomes: readonly Outcome[]): LaunchMatrix {
  const hex = outcomes.map(({ name, prediction, rehearsal }) => ({
    name,
    predicted: prediction.digest.toString('hex'),
    rehearsed: rehearsal.launch.digest.toString('hex'),
    difference: launchDifference(prediction.pages, rehearsalPages(rehearsal.launch)),
  }))
  const last = outcomes.at(-1)
  if (last === undefined) throw new RangeError('a matrix of launches has at least one value on each axis')
  return {
    points: new Set(hex.map(({ name }) => name)).size,
    predicted: Object.fromEntries(hex.map(({ name, predicted }) => [name, predicted])),
    rehearsed: Object.fromEntries(hex.map(({ name, rehearsed }) => [name, rehearsed])),
    differences: Object.fromEntries(
      hex.flatMap(({ name, difference }) => (difference === undefined ? [] : [[name, difference]])),
    ),
    distinct: new Set(hex.map(({ rehearsed }) => rehearsed)).size,
    control: (mutation) => controlOf(last, mutation),
  }
}

function controlOf({ prediction, rehearsal }: Outcome, mutation: Mutation): LaunchControl {
  const launch = launchOf(mutated(rehearsal.recorded, mutation))
  return {
    agree: launch.digest.equals(prediction.digest),
    difference: launchDifference(prediction.pages, rehearsalPages(launch)) ?? 'none',
  }
}
