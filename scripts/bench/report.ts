/** A bench as a person reads it, and as a program does. */
import { escapeControls } from '../../harness/base/text.ts'
import { type Figure, type Limit, type MeasureResult, standingOf, type Unit } from './figure.ts'
import type { MachineState } from './machine-state.ts'
import { summarize } from './statistics.ts'

export interface MeasureReport {
  readonly id: string
  readonly title: string
  readonly seconds: number
  /** Or why there are no figures. */
  readonly result: MeasureResult | Error
}

export interface BenchReport {
  readonly machine: MachineState
  readonly measures: readonly MeasureReport[]
}

/** The document of `--json`. */
export function benchDocument({ machine, measures }: BenchReport): unknown {
  return {
    machine,
    measures: measures.map(({ id, title, seconds, result }) =>
      result instanceof Error
        ? { id, title, seconds, error: result.message }
        : { id, title, seconds, figures: result.figures.map(figureDocument), notes: result.notes ?? [] },
    ),
  }
}

function figureDocument(figure: Figure): unknown {
  return { ...figure, ...summarize(figure.samples), ...standingOf(figure) }
}

export function machineText(machine: MachineState): string {
  const { cores, processor, memoryMiB, load, accelerator, accelerators } = machine
  const gigabytes = (memoryMiB / 1024).toFixed(0)
  const lines = [
    `bench on ${cores} cores (${processor}), ${gigabytes} GiB, load average ${load.join(' ')}`,
    `guests run by ${accelerator}; ${accelerators}`,
    ...(machine.busy ? [`! ${machine.busy}`] : []),
  ]
  return `${lines.map((line) => escapeControls(line)).join('\n')}\n`
}

export function measureText({ id, title, seconds, result }: MeasureReport): string {
  const head = `\n${id}: ${title} (${seconds.toFixed(0)} s)\n`
  if (result instanceof Error) return `${head}  ERROR: ${escapeControls(result.message)}\n`
  const notes = (result.notes ?? []).map((note) => `  note: ${escapeControls(note)}\n`)
  return [head, ...result.figures.map(figureLine), ...notes].join('')
}

const NAME_WIDTH = 52
const RANGE_WIDTH = 24

function figureLine(figure: Figure): string {
  const { name, unit, samples, limit } = figure
  const { median, min, max, noise } = summarize(samples)
  const range =
    samples.length === 1
      ? '1 sample'
      : `${number(min, unit)}-${number(max, unit)} ±${Math.round(noise * 50)} % n=${samples.length}`
  const value = `${number(median, unit)} ${unit === 'ratio' ? '×' : unit}`
  // What only explains another figure stands further in.
  const label = limit === undefined ? `    ${name}` : `  ${name}`
  const words = [
    label.padEnd(NAME_WIDTH),
    value.padStart(10),
    ' ',
    range.padEnd(RANGE_WIDTH),
    verdict(figure),
  ]
  return `${words.join(' ').trimEnd()}\n`
}

function verdict(figure: Figure): string {
  const { limit, unit } = figure
  const standing = standingOf(figure)
  if (limit === undefined || standing === undefined) return ''
  const words = standing.reached ? 'reached' : 'NOT REACHED'
  return `${limitText(limit, unit)}: ${words}${standing.close ? ', within the noise' : ''}`
}

function limitText(limit: Limit, unit: Unit): string {
  const words = 'atMost' in limit ? `at most ${limit.atMost}` : `at least ${limit.atLeast}`
  return unit === 'ratio' ? words : `${words} ${unit}`
}

const DIGITS: Readonly<Record<Unit, number>> = { ms: 0, s: 1, MB: 0, 'MB/s': 0, '/s': 0, ratio: 3 }

function number(value: number, unit: Unit): string {
  return value.toFixed(DIGITS[unit])
}
