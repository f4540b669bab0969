/** A plan for people: what runs, and why the rest does not. */
import { escapeControls } from '../base/text.ts'
import type { ExpiredMark, Variant } from '../run/events.ts'
import { describeVariant } from './labels.ts'
import { pad, wrap } from './layout.ts'
import type { Palette } from './palette.ts'

export interface PlanEntry {
  readonly scenario: string
  readonly variant: Variant
  readonly skip?: { readonly code: string; readonly reason: string; readonly hint?: string }
  readonly unstable?: string
}

export interface PlanView {
  readonly title: string | undefined
  readonly entries: readonly PlanEntry[]
  readonly leftOut: { readonly excluded: number; readonly pairwise: number; readonly otherShards: number }
  readonly expired: readonly ExpiredMark[]
  /** What VMs may take together. */
  readonly room: { readonly vcpus: number; readonly memoryMiB: number; readonly diskMiB: number }
}

interface Look {
  readonly palette: Palette
  readonly width: number
}

const INDENT = '    '
const WORD_CELLS = 5
/** Of the variants that one reason skips, so many are named. */
const MOST_NAMED = 3

export function planText(view: PlanView, look: Look): string {
  const runnable = view.entries.filter(({ skip }) => skip === undefined)
  const skipped = view.entries.filter(({ skip }) => skip !== undefined)
  const scenarios = [...Map.groupBy(runnable, ({ scenario }) => scenario)]
  const reasons = [...Map.groupBy(skipped, ({ skip }) => `${skip?.code}: ${skip?.reason}`)]
  const lines = [
    ...(view.title === undefined ? [] : [...wrap(escapeControls(view.title), look.width), '']),
    ...scenarios.flatMap(([id, entries]) => [
      look.palette.strong(id),
      ...entries.flatMap((entry) => runLines(entry, look)),
    ]),
    ...(reasons.length > 0 ? ['', look.palette.strong('Skipped, by reason')] : []),
    ...reasons.flatMap(([reason, entries]) => skipLines(reason, entries, look)),
    '',
    ...summaryLines(view, look),
  ]
  return `${lines.join('\n')}\n`
}

function runLines({ variant, unstable }: PlanEntry, look: Look): readonly string[] {
  const words = unstable === undefined ? '' : `, unstable: ${unstable}`
  return item('run', 'pass', `${describeVariant(variant)}${words}`, look)
}

/** A reason that holds for a thousand variants is told once. */
function skipLines(reason: string, skipped: readonly PlanEntry[], look: Look): readonly string[] {
  const [{ skip } = {}] = skipped
  const named = skipped.slice(0, MOST_NAMED)
  const more = skipped.length - named.length
  const details = [
    ...(skip?.hint === undefined ? [] : [`hint: ${skip.hint}`]),
    ...named.map(({ scenario, variant }) => `${scenario} (${describeVariant(variant)})`),
    ...(more > 0 ? [`and ${more} more; --json lists them all`] : []),
  ]
  const indent = INDENT + ' '.repeat(WORD_CELLS)
  return [
    ...item('skip', 'skip', `${skipped.length} for ${reason.split('\n')[0]}`, look),
    ...details.flatMap((words) =>
      wrap(escapeControls(words), look.width - indent.length).map((line) =>
        look.palette.faint(indent + line),
      ),
    ),
  ]
}

function item(word: string, colour: 'pass' | 'skip', text: string, look: Look): readonly string[] {
  const lead = INDENT.length + WORD_CELLS
  const [first = '', ...rest] = wrap(escapeControls(text), Math.max(20, look.width - lead))
  return [
    `${INDENT}${look.palette.outcome(colour, pad(word, WORD_CELLS))}${first}`,
    ...rest.map((line) => ' '.repeat(lead) + line),
  ]
}

function summaryLines({ entries, leftOut, expired, room }: PlanView, look: Look): readonly string[] {
  const skipped = entries.filter(({ skip }) => skip !== undefined).length
  const unstable = entries.filter(
    ({ unstable: mark, skip }) => mark !== undefined && skip === undefined,
  ).length
  const parts = [
    `${entries.length - skipped} to run${unstable > 0 ? ` (${unstable} marked unstable)` : ''}`,
    `${skipped} skipped`,
    ...(leftOut.excluded > 0 ? [`${leftOut.excluded} excluded`] : []),
    ...(leftOut.pairwise > 0 ? [`${leftOut.pairwise} left out by --pairwise`] : []),
    ...(leftOut.otherShards > 0 ? [`${leftOut.otherShards} in other shards`] : []),
  ]
  const { vcpus, memoryMiB, diskMiB } = room
  return [
    ...wrap(parts.join(', '), look.width).map(look.palette.strong),
    ...wrap(
      `All VMs together may take ${vcpus} cores, ${memoryMiB} MiB of memory, ${diskMiB} MiB of disk.`,
      look.width,
    ),
    ...expired.flatMap((mark) => expiredLines(mark, look)),
  ]
}

function expiredLines({ place, reason, until, variants }: ExpiredMark, look: Look): readonly string[] {
  const words = `Out of date: ${place}: "${reason}" skipped ${variants} variants until ${until}; they run again, and the run fails until the mark is removed or renewed.`
  return wrap(escapeControls(words), look.width).map((line) => look.palette.outcome('fail', line))
}
