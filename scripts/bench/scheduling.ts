/**
 * What the harness adds to a run of 40 VMs: scenarios that take a known time of their own run through the scheduler, each
 * with its directory, its events and the files of a run. All take about as long, so that nothing idles for want of a VM
 * to start; their own time is measured inside them, so that a busy machine does not count. A real VM takes twenty times as
 * long as these.
 */
import { setTimeout as own } from 'node:timers/promises'
import { platform } from '../../harness/platforms/platforms.ts'
import { paletteFor } from '../../harness/report/palette.ts'
import { PlainReporter } from '../../harness/report/plain.ts'
import { fanOut } from '../../harness/report/reporter.ts'
import { RunFiles } from '../../harness/report/run-files.ts'
import type { Bench } from '../../harness/run/bench.ts'
import { EVENT_SCHEMA_VERSION, type RunEventSink } from '../../harness/run/events.ts'
import { executeRetrying } from '../../harness/run/execute.ts'
import { type PlannedPoint, plan } from '../../harness/run/plan.ts'
import { demandOf } from '../../harness/run/room.ts'
import { defineScenario } from '../../harness/run/scenario.ts'
import { schedule } from '../../harness/run/schedule.ts'
import { fakeOffice } from '../../harness/run/testing/office.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Measure } from './figure.ts'
import { temporaryDirectory } from './workbench.ts'

const LIMIT = { atMost: 0.02 } as const
const VMS = 40
const AT_ONCE = 8
const VM_MS = 1000
const REPEAT = 3
/** Kept lines of a real guest's boot. */
const LINES = 300

export const scheduling: Measure = {
  id: 'schedule',
  title: `what the harness adds to the time of ${VMS} VMs, ${AT_ONCE} at once`,
  run: async ({ repeat = REPEAT, signal, tell }) => {
    const samples: number[] = []
    const cpu: number[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`${VMS} VMs: ${i} of ${repeat}`)
      const sample = await runAll(signal)
      samples.push(sample.added)
      cpu.push(sample.cpuMs / VMS)
    }
    return {
      figures: [
        { name: "added to the VMs' own time", unit: 'ratio', samples, limit: LIMIT },
        { name: "the harness's own CPU time a VM", unit: 'ms', samples: cpu },
      ],
      notes: [`each VM takes ${VM_MS / 1000} s and says ${LINES} lines`],
    }
  },
}

async function runAll(signal: AbortSignal): Promise<{ readonly added: number; readonly cpuMs: number }> {
  await using scope = new Scope('schedule')
  const directory = await temporaryDirectory(scope)
  const ownMs: number[] = []
  const view = new PlainReporter({ write: () => {}, palette: paletteFor({}) })
  const { sink: emit, close } = fanOut([view, new RunFiles()], (_, error) => {
    throw error
  })
  const points = await fakePoints(emit, (ms) => void ownMs.push(ms))
  const startedCpu = process.cpuUsage()
  const startedAt = performance.now()
  const planned = points.map(({ key, id, variant }) => ({ key, scenario: id, variant }))
  emit({
    type: 'run-started',
    at: Date.now(),
    version: EVENT_SCHEMA_VERSION,
    directory,
    planned,
    jobs: AT_ONCE,
  })
  const execution = { runDirectory: directory, keep: false, signal, emit, bench: async () => ({}) as Bench }
  const jobs = points.map((point) => ({
    needs: demandOf(point.variant, point.platform),
    run: () => executeRetrying({ ...execution, point }, 1),
    tooLarge: (resource: string): never => {
      throw new Error(`no ${resource}`)
    },
  }))
  const most = Number.POSITIVE_INFINITY
  const room = { vcpus: AT_ONCE, memoryMiB: most, diskMiB: most, sev: most, sev_es: most, tdx: most }
  const results = await schedule(jobs, { ...room, jobs: most })
  emit({ type: 'run-ended', at: Date.now(), result: { results } })
  const wallMs = performance.now() - startedAt
  const { user, system } = process.cpuUsage(startedCpu)
  close()
  const broken = results.find(({ outcome }) => outcome !== 'pass')
  if (broken) throw new Error(`a VM of this measure: ${broken.outcome}: ${broken.reason}`)
  const total = ownMs.reduce((sum, ms) => sum + ms, 0)
  return { added: (wallMs * AT_ONCE - total) / total, cpuMs: (user + system) / 1000 }
}

/** Scenarios whose VM is a clock; the last of them are as long as the first, so that no lane waits for another. */
async function fakePoints(
  emit: RunEventSink,
  tellOwn: (ms: number) => void,
): Promise<readonly PlannedPoint[]> {
  const { host, shelf } = await fakeOffice()
  const description = await shelf.describe('micro')
  const scenarios = Array.from({ length: VMS }, (_, number) => {
    const id = `bench/vm-${number}`
    const scenario = defineScenario({
      ...{ title: id, images: ['micro'], vtpms: ['none'] },
      needs: { secureBoot: false, persistentVariables: false, image: [] },
      budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
      claims: { ends: { claim: 'it comes to its end' } },
      run: async (lab) => {
        const startedAt = performance.now()
        const key = `${id}@fake`
        for (let line = 0; line < LINES; line++)
          emit({ type: 'console-line', at: Date.now(), key, vm: 'owner', line: `line ${line}` })
        await own(VM_MS)
        tellOwn(performance.now() - startedAt)
        lab.claim('ends', { expected: true, got: true })
      },
    })
    return { id, scenario }
  })
  return plan(scenarios, { platforms: [platform('tcg')] }, { host, describe: () => description })
}
