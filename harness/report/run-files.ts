/**
 * `events.jsonl` and `result.json`: one pair for the whole run in its directory, one pair for each scenario in
 * its own run directory. Every events.jsonl begins with a line that carries the schema version. Console lines
 * are left out: the console's transcript has them, complete and with their times.
 */
import { closeSync, mkdirSync, openSync, renameSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { EVENT_SCHEMA_VERSION, type RunEvent } from '../run/events.ts'
import type { Reporter } from './reporter.ts'

export const EVENTS_FILE = 'events.jsonl'
export const RESULT_FILE = 'result.json'
/** Beside them, made of them when the run is over. */
export const REPORT_FILE = 'report.html'
const PRIVATE = 0o600

class EventLog {
  readonly #directory: string
  readonly #file: number

  constructor(directory: string, header: object) {
    this.#directory = directory
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    this.#file = openSync(join(directory, EVENTS_FILE), 'w', PRIVATE)
    this.write(header)
  }

  write(value: object): void {
    writeSync(this.#file, `${JSON.stringify(value)}\n`)
  }

  /** Written aside and renamed: a result.json that exists is complete. */
  finish(result: object): void {
    const target = join(this.#directory, RESULT_FILE)
    writeFileSync(`${target}.new`, `${JSON.stringify(result, null, 2)}\n`, { mode: PRIVATE })
    renameSync(`${target}.new`, target)
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** Writes are synchronous, so a killed run keeps its log. */
export class RunFiles implements Reporter {
  readonly name = 'run directory'
  #run: EventLog | undefined
  readonly #scenarios = new Map<string, EventLog>()

  event(event: RunEvent): void {
    if (event.type === 'console-line') return
    if (event.type === 'run-started') {
      if (event.directory !== '') this.#run = new EventLog(event.directory, event)
      return
    }
    if (event.type === 'scenario-started') this.#open(event)
    this.#run?.write(event)
    if ('key' in event) this.#scenarios.get(event.key)?.write(event)
    if (event.type === 'scenario-ended' || event.type === 'attempt-ended') this.#end(event)
    if (event.type === 'run-ended') this.#run?.finish(event.result)
  }

  #open({ key, directory, at }: Extract<RunEvent, { type: 'scenario-started' }>): void {
    if (directory === '') return
    const header = { at, type: 'log-started', version: EVENT_SCHEMA_VERSION }
    this.#scenarios.set(key, new EventLog(directory, header))
  }

  #end({ key, result }: Extract<RunEvent, { type: 'scenario-ended' | 'attempt-ended' }>): void {
    const log = this.#scenarios.get(key)
    this.#scenarios.delete(key)
    log?.finish(result)
    log?.close()
  }

  close(): void {
    for (const log of this.#scenarios.values()) log.close()
    this.#scenarios.clear()
    this.#run?.close()
    this.#run = undefined
  }
}
