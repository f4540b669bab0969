/** What is running now, folded from the event stream. Costs O(1) per event, whatever a guest prints. */
import type { Outcome, Phase, PlannedEntry, RunEvent } from '../run/events.ts'
import { labelsOf } from './labels.ts'

interface VmProgress {
  readonly startedAt: number
  phase: Phase
  /** Raw, as the guest sent it. */
  lastLine: string
  /** By the harness, whose frames on the console are nothing to read. */
  driven: boolean
}

interface ScenarioProgress {
  readonly label: string
  readonly startedAt: number
  note: string
  readonly vms: Map<string, VmProgress>
}

/** One line of a live view; `text` is raw guest or harness text. */
export interface ProgressRow {
  readonly label: string
  readonly phase: Phase
  readonly startedAt: number
  readonly text: string
}

export class Progress {
  readonly #labels = new Map<string, string>()
  #planned = 0
  #startedAt = 0
  /** Whether a scenario has started; materials are made before the first one. */
  #begun = false
  #runNote = ''
  #retried = 0
  readonly #running = new Map<string, ScenarioProgress>()
  readonly #ended: Record<Outcome, number> = { pass: 0, fail: 0, error: 0, skip: 0 }

  apply(event: RunEvent): void {
    if (event.type === 'run-started') this.#startRun(event)
    else if (event.type === 'run-extended') this.#extend(event.planned)
    else if (event.type === 'attempt-ended') this.#retried++
    else if (event.type === 'scenario-started') this.#startScenario(event)
    else if (event.type === 'scenario-ended') {
      this.#begun = true
      this.#running.delete(event.key)
      this.#ended[event.result.outcome]++
    } else if (event.type === 'run-note') this.#runNote = event.text
    else if (event.type === 'note') this.#note(event.key, event.text)
    else if ('vm' in event) this.#applyToVm(event)
  }

  #startRun({ planned, at }: Extract<RunEvent, { type: 'run-started' }>): void {
    this.#extend(planned)
    this.#startedAt = at
  }

  #extend(planned: readonly PlannedEntry[]): void {
    for (const [key, label] of labelsOf(planned)) this.#labels.set(key, label)
    this.#planned += planned.length
  }

  #startScenario({ key, scenario, at, attempt }: Extract<RunEvent, { type: 'scenario-started' }>): void {
    const name = this.#labels.get(key) ?? scenario
    const label = attempt === 1 ? name : `${name}, attempt ${attempt}`
    this.#begun = true
    this.#running.set(key, { label, startedAt: at, note: '', vms: new Map() })
  }

  #applyToVm(event: Extract<RunEvent, { vm: string }>): void {
    if (event.type === 'boot-ended') {
      this.#note(event.key, `${event.vm}: ${event.line}`)
      return
    }
    if (event.type === 'vm-ended') {
      this.#running.get(event.key)?.vms.delete(event.vm)
      this.#note(event.key, `${event.vm}: ${event.kind}`)
      return
    }
    const vm = this.#vm(event.key, event.vm, event.at)
    if (event.type === 'phase') {
      vm.phase = event.phase
      vm.driven = false
    }
    if (event.type === 'console-line' && !vm.driven) vm.lastLine = event.line
    if (event.type === 'guest-command') {
      vm.driven = true
      vm.lastLine = `$ ${event.argv.join(' ')}`
    }
  }

  #note(key: string, text: string): void {
    const scenario = this.#running.get(key)
    if (scenario) scenario.note = text
  }

  /** Made on first mention; of a scenario that is over, it is made and forgotten. */
  #vm(key: string, name: string, at: number): VmProgress {
    const vms = this.#running.get(key)?.vms
    const vm = vms?.get(name) ?? { startedAt: at, phase: 'preparing', lastLine: '', driven: false }
    vms?.set(name, vm)
    return vm
  }

  labelOf(key: string): string | undefined {
    return this.#labels.get(key)
  }

  /** A row a VM; a scenario that has none at the moment has a row of its own, and so has what comes before all. */
  rows(): readonly ProgressRow[] {
    if (this.#planned > 0 && !this.#begun)
      return [{ label: 'materials', phase: 'preparing', startedAt: this.#startedAt, text: this.#runNote }]
    return [...this.#running.values()].flatMap((scenario) =>
      scenario.vms.size === 0 ? [scenarioRow(scenario)] : vmRows(scenario),
    )
  }

  /** `2 running, 3 of 12 done (1 fail), 1:05` needs these. */
  summary(): {
    running: number
    planned: number
    startedAt: number
    retried: number
    ended: Readonly<Record<Outcome, number>>
  } {
    return {
      running: this.#running.size,
      planned: this.#planned,
      startedAt: this.#startedAt,
      retried: this.#retried,
      ended: this.#ended,
    }
  }
}

function scenarioRow({ label, startedAt, note }: ScenarioProgress): ProgressRow {
  return { label, phase: 'preparing', startedAt, text: note }
}

function vmRows(scenario: ScenarioProgress): readonly ProgressRow[] {
  const several = scenario.vms.size > 1
  return [...scenario.vms].map(([name, vm]) => ({
    label: several ? `${scenario.label} ${name}` : scenario.label,
    phase: vm.phase,
    startedAt: vm.startedAt,
    text: vm.lastLine === '' ? scenario.note : vm.lastLine,
  }))
}
