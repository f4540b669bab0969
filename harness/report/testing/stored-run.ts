/** A run as it lies on disk, of any size, with everything in it that a guest can say: for tests and the bench. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RunEvent, RunHost, ScenarioResult } from '../../run/events.ts'
import { RunFiles } from '../run-files.ts'
import { result } from './fake-run.ts'

/** Would run, load, end an element, hide or turn text around, were it more than text. */
export const HOSTILE_LINES: readonly string[] = [
  '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">',
  '</script></script ><script>document.title="owned"</script>',
  '--></style><svg onload=alert(1)><iframe src="https://attacker.invalid/">',
  '<link rel=stylesheet href="https://attacker.invalid/x.css"><base href="https://attacker.invalid/">',
  'javascript:alert(1) {{constructor.constructor("alert(1)")()}}',
  'U+2028 \u2028 U+2029 \u2029 bidi \u202e desrever \u2066 zero\u200bwidth \ufeff tag \u{e0041}',
  '\x1b]8;;https://attacker.invalid/\x07link\x1b]8;;\x07 \x1b[2J\x1b[31mred\x1b[0m \x9b31m \x00 \x07',
  'ok 1 - forged\rBail out!',
]

const HOST: RunHost = {
  ...{ name: '<b>bench-2</b>', system: 'Linux 6.12', processor: 'a processor', cores: 2 },
  ...{ memoryMiB: 8192, attestbed: '0.1.0' },
}
const SHA256 = 'd74bd3eaeacda58d'.repeat(4)

export interface StoredRunOptions {
  readonly results: readonly ScenarioResult[]
  /** Of the console of each run. */
  readonly lines?: (number: number) => readonly (string | Uint8Array)[]
  /** Milliseconds between two lines. */
  readonly pace?: number
  /** Events of each run, after its boot. */
  readonly events?: (key: string, at: number) => readonly RunEvent[]
}

/** `dir` of each result is a name; the directories are made below `directory`. Returns the results as stored. */
export function storeRun(
  directory: string,
  { results, lines = () => HOSTILE_LINES, pace = 100, events = () => [] }: StoredRunOptions,
): readonly ScenarioResult[] {
  const stored = results.map((each) => (each.dir === '' ? each : { ...each, dir: join(directory, each.dir) }))
  const planned = stored.map(({ scenario, variant, repetition }, number) => {
    return { key: `k${number}`, scenario, variant, ...(repetition !== undefined && { repetition }) }
  })
  const files = new RunFiles()
  const at = Date.UTC(2026, 10, 22, 3, 41)
  files.event({ type: 'run-started', at, version: 4, directory, planned, jobs: 2, host: HOST })
  files.event({ type: 'run-note', at, text: `a note ${HOSTILE_LINES[0]}` })
  for (const [number, each] of stored.entries()) {
    const key = `k${number}`
    for (const event of bootEvents(each, {
      key,
      at,
      pace,
      said: lines(number),
      more: events(key, at + 1000),
    }))
      files.event(event)
  }
  files.event({ type: 'run-ended', at: at + 60_000, result: { results: stored } })
  files.close()
  return stored
}

interface Boot {
  readonly key: string
  readonly at: number
  readonly pace: number
  readonly said: readonly (string | Uint8Array)[]
  readonly more: readonly RunEvent[]
}

function bootEvents(each: ScenarioResult, { key, at, pace, said, more }: Boot): readonly RunEvent[] {
  const { scenario, variant, dir } = each
  const vm = 'owner'
  if (dir === '') return [{ type: 'scenario-ended', at, key, result: each }]
  storeConsole(join(dir, vm, 'boot-1'), said, pace)
  const phase = (name: 'firmware' | 'kernel' | 'userspace', after: number): RunEvent => {
    return { type: 'phase', at: at + after, key, vm, phase: name }
  }
  return [
    { type: 'scenario-started', at, key, scenario, title: 'a title', variant, directory: dir, attempt: 1 },
    {
      type: 'vm-started',
      at: at + 100,
      key,
      vm,
      argv: ['qemu-system-x86_64', '-name', HOSTILE_LINES[1] ?? ''],
    },
    ...[phase('firmware', 100), phase('kernel', 400), phase('userspace', 700)],
    { type: 'qmp-event', at: at + 800, key, vm, name: 'RESET', data: '{"guest":true}' },
    phase('kernel', 900),
    ...more,
    {
      type: 'vm-ended',
      at: at + 5000,
      key,
      vm,
      kind: 'killed',
      reason: 'the harness killed QEMU',
      consoleTail: '',
    },
    { type: 'scenario-ended', at: at + 5100, key, result: each },
  ]
}

function storeConsole(directory: string, lines: readonly (string | Uint8Array)[], pace: number): void {
  mkdirSync(directory, { recursive: true })
  const pieces = lines.map((line) => Buffer.concat([Buffer.from(line), Buffer.from('\r\n')]))
  writeFileSync(join(directory, 'console.raw'), Buffer.concat(pieces))
  const times = pieces.map((piece, number) => `[${number * pace},${piece.length}]\n`)
  writeFileSync(join(directory, 'console.times'), times.join(''))
  const material = { role: 'firmware', path: '/usr/share/OVMF_<b>.fd', bytes: 3653632, sha256: SHA256 }
  writeFileSync(join(directory, 'bill.json'), JSON.stringify({ materials: [material] }))
}

/** `count` runs: scenarios by variants, each with a console of some `kilobytes`, no two alike. */
export function manyResults(count: number): readonly ScenarioResult[] {
  const [vtpms, firmware] = [
    ['stateful', 'stateless', 'none'] as const,
    ['ovmf', 'ovmf-secboot', 'ovmf-amdsev'],
  ]
  const columns = vtpms.length * firmware.length
  return Array.from({ length: count }, (_, number) => {
    const column = number % columns
    const base = result()
    return result({
      scenario: `subject-${Math.floor(number / columns / 20)}/scenario-${Math.floor(number / columns)}`,
      variant: {
        ...base.variant,
        vtpm: vtpms[column % 3] ?? 'none',
        firmware: firmware[Math.floor(column / 3)] ?? 'ovmf',
      },
      outcome: number % 97 === 0 ? 'fail' : number % 13 === 0 ? 'skip' : 'pass',
      seconds: 20 + (number % 40),
      dir: `run-${number}`,
    })
  })
}

/** Lines such as a boot prints, different for each run. */
export function bootLines(number: number, count = 250): readonly string[] {
  return Array.from({ length: count }, (_, line) => {
    const value = Math.imul(number * 1009 + line, 2654435761) >>> 0
    return `[${(line * 0.013).toFixed(6).padStart(12)}] device ${value.toString(16)}: port ${value % 977} of ${line} is up`
  })
}
