/** `attestbed plan`: what a run would do, for people, programs and CI. */
import { UsageError } from '../base/errors.ts'
import { paletteFor } from '../report/palette.ts'
import { planText } from '../report/plan-text.ts'
import type { PlannedPoint } from '../run/plan.ts'
import { planRun, type RunPlan, selectScenarios } from '../run/planning.ts'
import { openPlanningOffice } from '../run/workshop.ts'
import { type CiFormat, ciMatrix } from './ci-matrix.ts'
import { type MatrixFlags, planRequestOf } from './matrix-flags.ts'
import { nothingSelected } from './nothing-selected.ts'
import { widthOf, writeDocument } from './output.ts'
import type { ToolsFlag } from './tools-flag.ts'

export interface PlanFlags extends MatrixFlags, ToolsFlag {
  readonly format?: CiFormat
  readonly shards?: number
  readonly json?: boolean
}

/** As with any other mistake in the matrix file. */
const MATRIX_OUTDATED = 2

/** Returns the exit code. Throws what prevents a plan: wrong patterns, flags, matrix; a missing set-up. */
export async function plan(patterns: readonly string[], flags: PlanFlags): Promise<number> {
  if (flags.shards !== undefined && flags.format === undefined)
    throw new UsageError('--shards is about jobs for CI: --format github or gitlab is required beside it', {
      code: 'bad-value',
      hint: 'one part of a plan is --shard 1/4',
    })
  const request = {
    ...planRequestOf(patterns, flags),
    ...{ anyHost: flags.format !== undefined, isShared: flags.shards !== undefined },
  }
  const [selection, office] = await Promise.all([selectScenarios(request), openPlanningOffice(flags.tools)])
  const made = await planRun(request, selection, office)
  if (made.points.length === 0 && made.leftOut.otherShards === 0) throw nothingSelected()
  if (flags.format) process.stdout.write(ciMatrix(made, { ...flags, format: flags.format, patterns }))
  else if (flags.json) writeDocument(documentOf(made))
  else
    process.stdout.write(
      planText(viewOf(made), { palette: paletteFor(process.stdout), width: widthOf(process.stdout) }),
    )
  return made.expired.length > 0 ? MATRIX_OUTDATED : 0
}

function viewOf({ title, points, leftOut, expired, room }: RunPlan) {
  return { title, leftOut, expired, room, entries: points.map(entryOf) }
}

function entryOf({ key, id, variant, skip, unstable }: PlannedPoint) {
  return {
    ...{ key, scenario: id, variant },
    ...(skip && { skip: { code: skip.code, reason: skip.message, ...(skip.hint && { hint: skip.hint }) } }),
    ...(unstable !== undefined && { unstable }),
  }
}

function documentOf({ points, leftOut, expired }: RunPlan): object {
  return { variants: points.map(entryOf), leftOut, expired }
}
