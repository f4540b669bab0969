/** Flags that `run` and `plan` share: which scenarios on which variants. */
import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { PlatformId } from '../platforms/platform-id.ts'
import type { VtpmKind } from '../run/events.ts'
import type { Shard } from '../run/matrix/shard.ts'
import type { PlanRequest } from '../run/planning.ts'
import { listOf, names, wholeNumber } from './values.ts'

export const PLATFORMS = ['tcg', 'kvm', 'sev', 'sev-es', 'sev-snp', 'tdx'] as const
const PLAIN = ['tcg', 'kvm'] as const
export const VTPMS = ['stateful', 'stateless', 'none'] as const

/** The flags as commander hands them over. */
export interface MatrixFlags {
  readonly platform?: readonly PlatformId[]
  readonly emulatedOn?: PlatformId
  readonly vtpm?: readonly VtpmKind[]
  readonly firmware?: readonly string[]
  readonly image?: readonly string[]
  readonly qemu?: readonly string[]
  readonly vcpus?: readonly number[]
  /** MiB. */
  readonly memory?: readonly number[]
  readonly matrix?: string
  readonly pairwise?: boolean
  readonly shard?: Shard
}

export const platformOption = (words: string): Option =>
  new Option('--platform <id,...>', words).argParser(listOf(PLATFORMS))

export function addMatrixFlags(command: Command): Command {
  return command
    .addOption(platformOption('on these platforms (default: the best one this host has)'))
    .addOption(
      new Option('--emulated-on <id>', 'emulate TEEs on it, also where this host has them').choices(PLAIN),
    )
    .addOption(new Option('--vtpm <kind,...>', 'only these kinds of vTPM').argParser(listOf(VTPMS)))
    .addOption(new Option('--firmware <id,...>', 'only these firmware builds').argParser(names))
    .addOption(new Option('--image <id|file.yaml>', 'on this image, or on your own disk').argParser(names))
    .addOption(
      new Option('--qemu <which,...>', 'with the QEMU of the tools, of the host, or a binary').argParser(
        names,
      ),
    )
    .addOption(new Option('--vcpus <n,...>', 'with so many vCPUs').argParser(vcpuCounts))
    .addOption(new Option('--memory <size,...>', 'with so much memory, as 512M or 2G').argParser(memorySizes))
    .addOption(new Option('--matrix <file.yaml>', 'the variants of a matrix; other flags narrow them'))
    .option('--pairwise', 'as few variants as have every pair of values that can meet')
    .addOption(
      new Option(
        '--shard <i/n>',
        'the i-th of n parts; what is in which never depends on the rest',
      ).argParser(shardOf),
    )
}

/** The part of a request that they make up. */
export function planRequestOf(patterns: readonly string[], flags: MatrixFlags): PlanRequest {
  return {
    patterns,
    ...(flags.platform && { platforms: flags.platform }),
    ...(flags.emulatedOn && { emulatedOn: flags.emulatedOn }),
    ...(flags.vtpm && { vtpms: flags.vtpm }),
    ...(flags.firmware && { firmware: flags.firmware }),
    ...(flags.image && { images: flags.image }),
    ...(flags.qemu && { qemus: flags.qemu.map((id) => (id.includes('/') ? resolve(id) : id)) }),
    ...(flags.vcpus && { vcpus: flags.vcpus }),
    ...(flags.memory && { memoryMiB: flags.memory }),
    ...(flags.matrix !== undefined && { matrix: flags.matrix }),
    ...(flags.pairwise && { pairwise: true }),
    ...(flags.shard && { shard: flags.shard }),
  }
}

/** The same flags again, as words of a command line. */
export function wordsOf(flags: MatrixFlags): readonly string[] {
  const lists = {
    platform: flags.platform,
    'emulated-on': flags.emulatedOn && [flags.emulatedOn],
    vtpm: flags.vtpm,
    firmware: flags.firmware,
    image: flags.image,
    qemu: flags.qemu,
    vcpus: flags.vcpus,
    memory: flags.memory?.map((mebibytes) => `${mebibytes}M`),
  }
  return [
    ...(flags.matrix === undefined ? [] : ['--matrix', flags.matrix]),
    ...Object.entries(lists).flatMap(([name, list]) => (list ? [`--${name}`, list.join(',')] : [])),
    ...(flags.pairwise ? ['--pairwise'] : []),
    ...(flags.shard ? ['--shard', `${flags.shard.index}/${flags.shard.count}`] : []),
  ]
}

const MOST_VCPUS = 1024

function vcpuCounts(text: string, previous: readonly number[] = []): readonly number[] {
  return [...new Set([...previous, ...text.split(',').map(wholeNumber(1, MOST_VCPUS))])]
}

function memorySizes(text: string, previous: readonly number[] = []): readonly number[] {
  return [...new Set([...previous, ...text.split(',').map(memoryMiB)])]
}

function memoryMiB(text: string): number {
  const [, digits, unit] = /^([1-9][0-9]{0,6})([MG])$/.exec(text) ?? []
  if (digits === undefined) throw new InvalidArgumentError(`"${text}" is no size such as 512M or 2G.`)
  return Number(digits) * (unit === 'G' ? 1024 : 1)
}

const MOST_SHARDS = 10_000

function shardOf(text: string): Shard {
  const [, index = '', count = ''] = /^(\d{1,5})\/(\d{1,5})$/.exec(text) ?? []
  const shard = { index: Number(index), count: Number(count) }
  if (shard.index >= 1 && shard.index <= shard.count && shard.count <= MOST_SHARDS) return shard
  throw new InvalidArgumentError(
    `"${text}" is no part such as 2/8: the first number is from 1 to the second, which is at most ${MOST_SHARDS}.`,
  )
}
