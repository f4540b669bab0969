/**
 * A plan as jobs of a CI system. GitHub: the value of `strategy.matrix`, for `fromJSON`; at most 256 jobs a workflow run.
 * GitLab: a child pipeline (JSON is YAML), for `trigger: include: artifact`; one job an entry, so that the limit of
 * `parallel: matrix` (200) does not apply.
 */
import { createHash } from 'node:crypto'
import { UsageError } from '../base/errors.ts'
import { shellLine } from '../machine/shell-command.ts'
import { labelsOf } from '../report/labels.ts'
import { isInShard } from '../run/matrix/shard.ts'
import type { PlannedPoint } from '../run/plan.ts'
import type { RunPlan } from '../run/planning.ts'
import { type MatrixFlags, wordsOf } from './matrix-flags.ts'

export type CiFormat = 'github' | 'gitlab'

export interface CiOptions extends MatrixFlags {
  readonly format: CiFormat
  /** One job for each of so many shards; absent: one for each variant. */
  readonly shards?: number
  readonly patterns: readonly string[]
}

/** A job; every value is text or a number, as CI expressions take them. */
interface CiJob {
  readonly name: string
  /** Behind `attestbed`, for a POSIX shell. */
  readonly args: string
  readonly [axis: string]: string | number
}

const MOST_JOBS = 256
const LAUNCHER = 'scripts/attestbed'

/** Throws UsageError `bad-value` where the CI system would not take as many jobs. */
export function ciMatrix(plan: RunPlan, options: CiOptions): string {
  const points = plan.points.filter(({ skip }) => skip === undefined)
  const jobs = options.shards === undefined ? variantJobs(points, options) : shardJobs(points, options)
  if (options.format === 'gitlab') return `${JSON.stringify(childPipeline(jobs), null, 2)}\n`
  if (jobs.length > MOST_JOBS)
    throw new UsageError(`the plan has ${jobs.length} jobs, GitHub takes at most ${MOST_JOBS}`, {
      code: 'bad-value',
      hint: '--shards 64 makes a job of each of 64 shards; --pairwise takes fewer variants',
    })
  // One line: `echo "matrix=$(...)" >> "$GITHUB_OUTPUT"` takes no more.
  return `${JSON.stringify({ include: jobs })}\n`
}

function variantJobs(points: readonly PlannedPoint[], options: CiOptions): readonly CiJob[] {
  const labels = labelsOf(points.map(({ key, id, variant }) => ({ key, scenario: id, variant })))
  return points.map(({ key, id, variant, imageFile }) => {
    const { platform, emulatedOn, vtpm, firmware, image, qemu, vcpus, memoryMiB } = variant
    const own: MatrixFlags = {
      ...(options.matrix !== undefined && { matrix: options.matrix }),
      ...(emulatedOn && { emulatedOn }),
      ...{ platform: [platform], vtpm: [vtpm], firmware: [firmware], image: [imageFile ?? image] },
      ...{ qemu: [qemu], vcpus: [vcpus], memory: [memoryMiB] },
    }
    return {
      name: labels.get(key) ?? key,
      args: shellLine(['run', id, ...wordsOf(own)]),
      ...{ scenario: id, platform, vtpm, firmware, image, qemu, vcpus, memoryMiB },
    }
  })
}

/** All of them: a shard that is empty for this host may have variants on another, where platforms and firmware differ. */
function shardJobs(points: readonly PlannedPoint[], options: CiOptions): readonly CiJob[] {
  const { shards: count = 1, patterns } = options
  return Array.from({ length: count }, (_, number) => {
    const shard = { index: number + 1, count }
    const name = `${shard.index}/${count}`
    return {
      name,
      args: shellLine(['run', ...patterns, ...wordsOf({ ...options, shard })]),
      ...{ shard: name, variants: points.filter((point) => isInShard(point, shard)).length },
    }
  })
}

/** GitLab's bound for the name of a job. */
const LONGEST_NAME = 255

function childPipeline(jobs: readonly CiJob[]): object {
  return Object.fromEntries(
    jobs.map(({ name, args }) => [jobName(name), { script: [`${LAUNCHER} ${args}`] }]),
  )
}

/** A name that GitLab gives a meaning (`image`, `.hidden`) must not come out: scenarios are folders and names. */
function jobName(name: string): string {
  const full = `attestbed ${name}`
  if (full.length <= LONGEST_NAME) return full
  return `${full.slice(0, LONGEST_NAME - 13)} ${createHash('sha256').update(name).digest('hex').slice(0, 12)}`
}
