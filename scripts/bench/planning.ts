/**
 * A matrix of ten thousand variants: planned in this process on a host that is said to have everything, in full and by
 * pairs, and as the command that a person types, with all that it loads and finds out about this host.
 */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type PlanRequest, planRun, selectScenarios } from '../../harness/run/planning.ts'
import { fakeOffice } from '../../harness/run/testing/office.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Figure, Measure, MeasureOptions } from './figure.ts'
import { temporaryDirectory } from './workbench.ts'

const LIMIT = { atMost: 1000 } as const
const REPEAT = 5
const LEAST_VARIANTS = 10_000
const LAUNCHER = join(import.meta.dirname, '../attestbed')
const LARGEST_OUTPUT = 1 << 28

const MATRIX = `
axes:
  platform: [tcg, kvm, sev, sev-es, sev-snp, tdx]
  firmware: [ovmf, ovmf-secboot, ovmf-amdsev, ovmf-inteltdx]
  vcpus: [1, 2, 4, 8]
  memory: [1G, 2G, 4G, 8G]
exclude:
  - { platform: tcg, vcpus: 8 }
  - { scenario: update, memory: [4G, 8G], vcpus: [4, 8] }
marks:
  - { match: { scenario: 'encrypted-root/*', vtpm: stateless }, unstable: a mark that is looked at for each variant }
`

export const planning: Measure = {
  id: 'plan',
  title: 'planning a matrix of 10,000 variants',
  run: async (options) => {
    await using scope = new Scope('plan')
    const matrix = join(await temporaryDirectory(scope), 'matrix.yaml')
    await writeFile(matrix, MATRIX)
    const request: PlanRequest = { patterns: [], matrix, anyHost: true }
    const full = await inProcess('in this process', request, options)
    const pairs = await inProcess('the same by pairs', { ...request, pairwise: true }, options)
    return {
      figures: [full.figure, pairs.figure, await asCommand(matrix, options)],
      notes: [`${full.count} variants, ${pairs.count} of them by pairs`],
    }
  },
}

async function inProcess(
  name: string,
  request: PlanRequest,
  { repeat = REPEAT, signal }: MeasureOptions,
): Promise<{ readonly figure: Figure; readonly count: number }> {
  const office = await fakeOffice()
  const samples: number[] = []
  let count = 0
  for (let i = 0; i <= repeat; i++) {
    signal.throwIfAborted()
    const startedAt = performance.now()
    const { points, leftOut } = await planRun(request, await selectScenarios(request), office)
    samples.push(performance.now() - startedAt)
    count = points.length
    if (count + leftOut.pairwise + leftOut.excluded < LEAST_VARIANTS)
      throw new Error(
        `only ${count + leftOut.pairwise} variants; the matrix of this measure needs more values`,
      )
  }
  // The first one loads the scenarios.
  return { figure: { name, unit: 'ms', samples: samples.slice(1), limit: LIMIT }, count }
}

async function asCommand(matrix: string, { repeat = REPEAT, signal }: MeasureOptions): Promise<Figure> {
  const samples: number[] = []
  for (let i = 0; i <= repeat; i++) {
    signal.throwIfAborted()
    const startedAt = performance.now()
    await promisify(execFile)(LAUNCHER, ['plan', '--matrix', matrix], { maxBuffer: LARGEST_OUTPUT })
    samples.push(performance.now() - startedAt)
  }
  return { name: 'attestbed plan --matrix', unit: 'ms', samples: samples.slice(1), limit: LIMIT }
}
