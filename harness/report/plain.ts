import { escapeControls } from '../base/text.ts'
import type { Phase, RunEvent } from '../run/events.ts'
import { labelsOf } from './labels.ts'
import type { Palette } from './palette.ts'
import type { TerminalView } from './reporter.ts'
import { resultLines } from './result-lines.ts'

export interface PlainOptions {
  readonly write: (text: string) => void
  readonly palette: Palette
}

/** Timestamped lines for logs and pipes: changes of phase, notes and results, but not the consoles. */
export class PlainReporter implements TerminalView {
  readonly name = 'plain view'
  readonly #write: (text: string) => void
  readonly #palette: Palette
  readonly #labels = new Map<string, string>()
  readonly #phases = new Map<string, Phase>()

  constructor({ write, palette }: PlainOptions) {
    this.#write = write
    this.#palette = palette
  }

  event(event: RunEvent): void {
    for (const line of this.#lines(event)) this.#write(`${timeOfDay(event.at)} ${line}\n`)
  }

  announce(words: string): void {
    const lines = words.split('\n').map((line) => escapeControls(line))
    this.#write(`${timeOfDay(Date.now())} ${lines.join('\n')}\n`)
  }

  #lines(event: RunEvent): readonly string[] {
    switch (event.type) {
      case 'run-started':
        for (const [key, label] of labelsOf(event.planned)) this.#labels.set(key, label)
        return [`${event.planned.length} to run, at most ${event.jobs} at once`]
      case 'run-extended':
        for (const [key, label] of labelsOf(event.planned)) this.#labels.set(key, label)
        return [`${event.planned.length} more to run: nothing has failed yet`]
      case 'scenario-started':
        return [`${this.#label(event.key)}: started${attemptWords(event.attempt)}`]
      case 'attempt-ended': {
        // The rest of it, lines of a console most of all, stands in the table at the end.
        const [reason = ''] = event.result.reason.split('\n')
        return [`${this.#label(event.key)}: broke, and is tried again: ${escapeControls(reason)}`]
      }
      case 'run-note':
        return [escapeControls(event.text)]
      case 'phase':
        return this.#phase(event.key, event.vm, event.phase)
      case 'note':
        return [`${this.#label(event.key)}: ${escapeControls(event.text)}`]
      case 'boot-ended':
        return [`${this.#label(event.key)}: ${event.vm}: ${escapeControls(event.line)}`]
      case 'vm-ended':
        return [`${this.#label(event.key)}: ${event.vm}: ${event.kind}${because(event.reason)}`]
      case 'scenario-ended':
        return resultLines(event.result, { label: this.#label(event.key), palette: this.#palette })
      default:
        return []
    }
  }

  #phase(key: string, vm: string, phase: Phase): readonly string[] {
    const id = `${key} ${vm}`
    if (this.#phases.get(id) === phase) return []
    this.#phases.set(id, phase)
    return [`${this.#label(key)}: ${vm}: ${phase}`]
  }

  #label(key: string): string {
    return this.#labels.get(key) ?? key
  }
}

function attemptWords(attempt: number): string {
  return attempt === 1 ? '' : `, attempt ${attempt}`
}

function because(reason: string): string {
  return reason === '' ? '' : `: ${escapeControls(reason)}`
}

function timeOfDay(at: number): string {
  return new Date(at).toTimeString().slice(0, 8)
}
