/** Plans of requests and matrix texts on hosts that are made up. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type t from 'tap'
import { type PlanRequest, planRun, selectScenarios } from '../planning.ts'
import { fakeOffice, type OfficeSpec } from './office.ts'

const NOW = { today: '2026-11-22' }
/** Recipes and manifests are read once. */
const everything = fakeOffice()
const officeOf = (spec: OfficeSpec) => (Object.keys(spec).length === 0 ? everything : fakeOffice(spec))

export async function planOf(request: Partial<PlanRequest>, office: OfficeSpec = {}) {
  const whole = { patterns: [], platforms: ['tcg'] as const, ...NOW, ...request }
  return planRun(whole, await selectScenarios(whole), await officeOf(office))
}

/** Without `platforms`: those of the matrix. */
export async function planFile(
  t: Tap,
  text: string,
  request: Partial<PlanRequest> = {},
  office: OfficeSpec = {},
) {
  const matrix = join(t.testdir(), 'm.yaml')
  await writeFile(matrix, text)
  const whole = { patterns: [], ...NOW, ...request, matrix }
  return planRun(whole, await selectScenarios(whole), await officeOf(office))
}
type Tap = Pick<typeof t, 'testdir'>
