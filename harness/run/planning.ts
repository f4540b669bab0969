/** What a run would do: from patterns, flags and a matrix file to its points, and what of them is left out and why. */
import { HostError, UsageError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { platform } from '../platforms/platforms.ts'
import { freeBytes } from '../system/disk-space.ts'
import { AxisCatalogue, atPlace, type NamedAxes } from './axes.ts'
import { type FoundScenario, loadScenarios, scenarioIds, selectIds } from './discover.ts'
import type { ExpiredMark } from './events.ts'
import { isExpired } from './matrix/expiry.ts'
import type { Matrix, MatrixBlock } from './matrix/file.ts'
import { pairwise } from './matrix/pairwise.ts'
import { isInShard, type Shard } from './matrix/shard.ts'
import { type Axes, type PlanContext, type PlannedPoint, plan, spanOf } from './plan.ts'
import { type Room, roomOf } from './room.ts'
import type { PlanningOffice } from './workshop.ts'

export interface PlanRequest extends NamedAxes {
  readonly patterns: readonly string[]
  /** Path of a matrix file; the patterns and axes that are named beside it narrow it. */
  readonly matrix?: string
  /** As few variants as have every pair of values that can meet. */
  readonly pairwise?: boolean
  readonly shard?: Shard
  /** Other hosts make the same plan, and run shards of it; so it is with `shard`. */
  readonly isShared?: boolean
  /** For a host that is not this one: what this one lacks is no reason to skip. */
  readonly anyHost?: boolean
  /** ISO 8601; absent: today, in UTC. */
  readonly today?: string
}

export interface RunPlan {
  readonly points: readonly PlannedPoint[]
  readonly leftOut: {
    readonly excluded: number
    readonly pairwise: number
    readonly otherShards: number
  }
  /** Each makes the run fail. */
  readonly expired: readonly ExpiredMark[]
  /** What the matrix allows the run; empty where there is none. */
  readonly budget: Matrix['budget']
  readonly title: string | undefined
  readonly room: Room
  /** Opens the QEMU of a point. */
  readonly qemu: AxisCatalogue['qemu']
}

/** More is a mistake: a plan of this size takes seconds, one of a billion all memory there is. */
export const MOST_VARIANTS = 100_000

export interface Selection {
  readonly matrix: Matrix | undefined
  readonly scenarios: readonly FoundScenario[]
}

/** Throws UsageError for patterns and the matrix, with its place. */
export async function selectScenarios({
  matrix: file,
  patterns,
}: Pick<PlanRequest, 'matrix' | 'patterns'>): Promise<Selection> {
  const matrix = file === undefined ? undefined : await openMatrix(file)
  const ids = await scenarioIds()
  for (const { pattern, position } of matrix?.patterns ?? [])
    await atPlace(position, async () => selectIds(ids, [pattern]))
  const selected = selectIds(selectIds(ids, matrix?.scenarios ?? []), patterns)
  return { matrix, scenarios: await loadScenarios(selected) }
}

/**
 * Throws UsageError for axes and the matrix (with its place), HostError where no platform can be used.
 */
export async function planRun(
  request: PlanRequest,
  { matrix, scenarios }: Selection,
  office: PlanningOffice,
): Promise<RunPlan> {
  const described = await office.shelf.describeAll(scenarios.flatMap(({ scenario }) => scenario.images))
  const room = roomOf(office.host.parameters, {
    freeDiskBytes: await freeBytes(office.paths.runs),
    ...(matrix && { budget: budgetOf(matrix) }),
  })
  const context: PlanContext = {
    ...{ host: office.host, room, anyHost: request.anyHost ?? false },
    describe: (id) => described.get(id) ?? unknownImage(id),
  }
  const catalogue = new AxisCatalogue(office)
  const blocks: Block[] = []
  for (const block of matrix?.blocks ?? [undefined])
    blocks.push({
      axes: await catalogue.open(request, block),
      scenarios: block?.scenarios ? among(scenarios, block.scenarios) : scenarios,
      block,
    })
  requireCountable(blocks, context)
  const today = request.today ?? new Date().toISOString().slice(0, 10)
  return {
    ...reduce(blocks, { context, request, matrix, today }),
    ...{ budget: matrix?.budget ?? {}, title: matrix?.title, room },
    qemu: (id) => catalogue.qemu(id),
  }
}

/** Its schema and parser are loaded only where there is one: a run without it starts sooner. */
async function openMatrix(file: string): Promise<Matrix> {
  const { readMatrix } = await import('./matrix/file.ts')
  return readMatrix(file)
}

function budgetOf({ budget }: Matrix) {
  return { vcpus: budget.vcpus, memoryMiB: budget.memory, diskMiB: budget.disk }
}

interface Block {
  readonly axes: Axes
  readonly scenarios: readonly FoundScenario[]
  readonly block: MatrixBlock | undefined
}

function among(scenarios: readonly FoundScenario[], patterns: readonly string[]): readonly FoundScenario[] {
  const ids = scenarios.map(({ id }) => id)
  const chosen = new Set(patterns.flatMap((pattern) => selectSome(ids, pattern)))
  return scenarios.filter(({ id }) => chosen.has(id))
}

/** A pattern that exists and that the user narrowed away selects nothing, and is no mistake. */
function selectSome(ids: readonly string[], pattern: string): readonly string[] {
  try {
    return selectIds(ids, [pattern])
  } catch (error) {
    if (error instanceof UsageError) return []
    throw error
  }
}

/** Before a single one is made. */
function requireCountable(blocks: readonly Block[], context: PlanContext): void {
  let total = 0n
  for (const { axes, scenarios, block } of blocks) {
    const counts = scenarios.map((found) =>
      Object.values(spanOf(found, axes, context)).reduce(
        (product, list) => product * BigInt(list.length),
        1n,
      ),
    )
    total += counts.reduce((sum, count) => sum + count, 0n)
    if (total <= BigInt(MOST_VARIANTS)) continue
    throw new UsageError(
      `the axes span ${total.toLocaleString('en')} variants of ${scenarios.length} scenarios, at most ${MOST_VARIANTS.toLocaleString('en')} are possible`,
      {
        ...{ code: 'bad-config', hint: 'name fewer values or scenarios, or use several matrix files' },
        ...(block && { position: block.position }),
      },
    )
  }
}

interface Reduction {
  readonly context: PlanContext
  readonly request: PlanRequest
  readonly matrix: Matrix | undefined
  readonly today: string
}

function reduce(
  blocks: readonly Block[],
  { context, request, matrix, today }: Reduction,
): Pick<RunPlan, 'points' | 'leftOut' | 'expired'> {
  const leftOut = { excluded: 0, pairwise: 0, otherShards: 0 }
  const expired = new Map<string, ExpiredMark>()
  const points: PlannedPoint[] = []
  const isExcluded = (block: Block, point: PlannedPoint) =>
    excludes(block, point) && !isNamedTee(block, point, request)
  for (const block of blocks) {
    const spanned = plan(block.scenarios, block.axes, context)
    // What an include names, it names on purpose.
    const isIncluded = block.block !== undefined && block.block.exclude === undefined
    requireEmulation(
      spanned.filter((point) => !isExcluded(block, point)),
      request,
    )
    const isReduced = (request.pairwise ?? false) && !isIncluded
    const judged = isReduced && isShared(request) ? sameOnAnyHost(block, context) : spanned
    const candidates = spanned.flatMap((here, index): readonly Candidate[] => {
      const seen = judged[index] ?? here
      if (isExcluded(block, seen)) return []
      const point = withMarks(skippedAsEmulated(block, here), { matrix, today, expired })
      // Marks that are over are counted once.
      return [
        { point, judged: seen === here ? point : withMarks(seen, { matrix, today, expired: new Map() }) },
      ]
    })
    const kept = isReduced ? reducedByPairs(candidates) : candidates
    leftOut.pairwise += candidates.length - kept.length
    // The firmware that this host has may be another than the one that pairs were chosen with.
    const allowed = kept.filter(({ point }) => !isExcluded(block, point))
    leftOut.excluded += spanned.length - candidates.length + kept.length - allowed.length
    for (const { point } of allowed) points.push(point)
  }
  const all = firstOfEachKey(points)
  requireWithinBudget(all.length, matrix)
  const { shard } = request
  // Before variants that are the same here become one: on another host they may be two, and in two shards.
  const own = shard ? firstOfEachKey(points.filter((point) => isInShard(point, shard))) : all
  leftOut.otherShards = all.length - own.length
  return { points: own, leftOut, expired: [...expired.values()] }
}

/**
 * Throws UsageError `bad-value`: what nobody could emulate on the named platform would run on another one, or for real, and
 * whoever named it would take the result for one of the emulation.
 */
function requireEmulation(points: readonly PlannedPoint[], { emulatedOn, platforms }: PlanRequest): void {
  if (emulatedOn === undefined) return
  const plain = platforms?.find((id) => platform(id).basis === 'emulated')
  if (plain !== undefined)
    throw new UsageError(`--emulated-on ${emulatedOn} is about TEEs; platform ${plain} is none`, {
      ...{ code: 'bad-value', hint: `--platform ${emulatedOn} alone emulates every TEE of a scenario on it` },
    })
  const other = points.find(({ variant }) => variant.emulatedOn !== emulatedOn)
  if (other === undefined) return
  const { tees } = other.found.scenario
  const about = tees ? `it is about ${tees.join(' and ')}` : 'it is about no TEE'
  throw new UsageError(
    `${other.id} has no variant on ${other.variant.platform} that --emulated-on ${emulatedOn} could emulate: ${about}`,
    { code: 'bad-value', hint: 'select scenarios about TEEs, as attest; attestbed list shows them' },
  )
}

function excludes({ block }: Block, point: PlannedPoint): boolean {
  return block?.exclude?.(point) ?? false
}

/**
 * An entry excludes it only since this host emulates the TEE, and somebody named the platform, as a job that was planned for
 * any host does: they learn why it does not run, where "nothing to run" would be a mistake of theirs.
 */
function isNamedTee(block: Block, point: PlannedPoint, { platforms }: PlanRequest): boolean {
  const { emulatedOn, ...variant } = point.variant
  if (emulatedOn === undefined || !platforms?.includes(variant.platform)) return false
  return !excludes(block, { ...point, variant })
}

/** Of a point that is not left out. */
function skippedAsEmulated(block: Block, point: PlannedPoint): PlannedPoint {
  if (point.skip !== undefined || !excludes(block, point)) return point
  const { platform: id } = point.variant
  const skip = new HostError(
    `the matrix leaves out ${point.id} where ${id} is emulated, as it would be here`,
    {
      ...{ code: 'hardware-required', hint: 'without --matrix it runs emulated' },
    },
  )
  return { ...point, skip }
}

function firstOfEachKey(points: readonly PlannedPoint[]): readonly PlannedPoint[] {
  const firsts = new Map<string, PlannedPoint>()
  for (const point of points) if (!firsts.has(point.key)) firsts.set(point.key, point)
  return [...firsts.values()]
}

interface Marking {
  readonly matrix: Matrix | undefined
  readonly today: string
  /** By place; counted here. */
  readonly expired: Map<string, ExpiredMark>
}

function withMarks(point: PlannedPoint, { matrix, today, expired }: Marking): PlannedPoint {
  let marked = point
  for (const mark of matrix?.marks ?? []) {
    if (!mark.matches(point)) continue
    const { kind, reason, until = '', position } = mark
    if (kind === 'unstable') marked = { ...marked, unstable: marked.unstable ?? reason }
    else if (isExpired(mark, today)) {
      const place = `${position.file}:${position.line}:${position.column}`
      const variants = (expired.get(place)?.variants ?? 0) + 1
      expired.set(place, { place, reason, until, variants })
    } else if (marked.skip === undefined)
      marked = {
        ...marked,
        skip: new HostError(`the matrix says: ${reason} (until ${until})`, { code: 'marked-skip' }),
      }
  }
  return marked
}

interface Candidate {
  readonly point: PlannedPoint
  /** What pairs are chosen by: the point, or what it would be on any host. */
  readonly judged: PlannedPoint
}

function isShared({ shard, isShared = false }: PlanRequest): boolean {
  return shard !== undefined || isShared
}

/**
 * The block's points in the same order, without what this host lacks: each host must choose the same pairs, or one that
 * two of them take for the other's is tried by none. Throws UsageError: `bad-value` where each host has its own platform,
 * `bad-config` where each excludes something else.
 */
function sameOnAnyHost({ scenarios, axes, block }: Block, context: PlanContext): readonly PlannedPoint[] {
  if (axes.isOwnPlatform)
    throw new UsageError(
      '--pairwise with shards needs a named platform: hosts that choose their own would choose other pairs',
      { code: 'bad-value', hint: 'name it with --platform, or on the axes of the matrix' },
    )
  if (block?.excludeByHost)
    throw new UsageError(
      '--pairwise with shards takes no exclude that names `emulated`: the host of a chosen variant would exclude it, and its pairs would be tried by none',
      {
        ...{ code: 'bad-config', position: block.excludeByHost },
        hint: 'exclude the platform as a whole, or leave out --pairwise',
      },
    )
  return plan(scenarios, axes, { ...context, anyHost: true })
}

/** Of each scenario on its own: two scenarios have no values in common that could meet. */
function reducedByPairs(all: readonly Candidate[]): readonly Candidate[] {
  const byScenario = Map.groupBy(all, ({ point }) => point.id)
  return [...byScenario.values()].flatMap((candidates) => {
    const rows = candidates.map(({ judged }) =>
      Object.values({ ...judged.variant, emulatedOn: judged.variant.emulatedOn ?? 'itself' }).map(String),
    )
    const chosen = pairwise(rows, (index) => tierOf(candidates[index]?.judged))
    return chosen.flatMap((index) => candidates[index] ?? [])
  })
}

/** How much a pair is worth that the point stands for: one that may fail unheeded less, one that is skipped nothing. */
function tierOf(point: PlannedPoint | undefined): number {
  if (point?.skip !== undefined) return 2
  return point?.unstable === undefined ? 0 : 1
}

function requireWithinBudget(count: number, matrix: Matrix | undefined): void {
  const most = matrix?.budget.variants
  if (matrix === undefined || most === undefined || count <= most) return
  throw new UsageError(`${matrix.file}: the plan has ${count} variants, its budget allows ${most}`, {
    code: 'bad-config',
    hint: 'attestbed plan lists them; --pairwise takes fewer',
  })
}

function unknownImage(id: string): ImageDescription {
  throw new UsageError(`no image is called "${id}"`, {
    code: 'unknown-image',
    hint: 'attestbed images lists them',
  })
}
