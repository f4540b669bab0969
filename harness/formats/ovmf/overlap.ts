/** Areas of guest memory that firmware asks for must not share a page: a page is measured once. */
import type { ByteView } from '../byte-view.ts'
import { type Area, hex } from './pointed.ts'

/** A piece of guest memory that the firmware describes, and where it does. Guest-physical, in bytes. */
export interface NamedArea extends Area {
  /** As in messages: "SEV section 3". */
  readonly name: string
  /** Offset in the file of what describes it. */
  readonly offset: number
}

/** Throws FormatError `bad-value` at the later of two areas that overlap. By pages of 4096 bytes. */
export function expectDisjoint(view: ByteView, areas: readonly NamedArea[]): void {
  const sorted = areas.toSorted((a, b) => a.gpa - b.gpa)
  for (const [index, area] of sorted.entries()) {
    const before = sorted[index - 1]
    if (before === undefined || before.gpa + before.size <= area.gpa) continue
    const [first, second] = before.offset < area.offset ? [before, area] : [area, before]
    throw view.error(`${span(second)} overlaps ${first.name} ${span(first)}`, {
      code: 'bad-value',
      field: second.name,
      offset: second.offset,
    })
  }
}

function span({ gpa, size }: Area): string {
  return `${hex(gpa)}+${hex(size)}`
}
