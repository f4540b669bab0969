/** Measured pages that differ: by address, then VMSAs one by one, then the order. */
import type { InputName, MeasuredPages } from '../../measure/documents/document.ts'
import type { Difference } from './difference.ts'
import { type ChangedInputs, causesAmong } from './inputs.ts'

const PAGE_BYTES = 0x1000

/** A stretch of guest memory that both documents cut in the same places. */
interface Piece {
  readonly gpa: number
  readonly size: number
  readonly a: MeasuredPages | undefined
  readonly b: MeasuredPages | undefined
}

export function pageDifferences(
  a: readonly MeasuredPages[] | undefined,
  b: readonly MeasuredPages[] | undefined,
  changed: ChangedInputs,
): readonly Difference[] {
  if (a === undefined || b === undefined) return []
  const memory = (pages: readonly MeasuredPages[]) => pages.filter(({ type }) => type !== 'vmsa')
  const all = pieces(memory(a), memory(b))
  const common = all.filter((piece) => piece.a && piece.b)
  const differing = all.flatMap((piece) => {
    const difference = pieceDifference(piece, changed)
    return difference ? [{ piece, difference }] : []
  })
  return [
    ...joined(differing),
    ...orderDifference({ a: turns(a), b: turns(b), common }, changed),
    ...vmsaDifferences(vmsas(a), vmsas(b), changed),
  ]
}

/** Cut at every border of either list: as many pieces as there are borders, whatever the sizes. */
function pieces(a: readonly MeasuredPages[], b: readonly MeasuredPages[]): readonly Piece[] {
  const sorted = (pages: readonly MeasuredPages[]) => pages.toSorted((x, y) => start(x) - start(y))
  const borders = [...new Set([...a, ...b].flatMap((page) => [start(page), end(page)]))].sort((x, y) => x - y)
  const [finderA, finderB] = [finder(sorted(a)), finder(sorted(b))]
  return borders.slice(0, -1).map((gpa, index) => ({
    ...{ gpa, size: (borders[index + 1] ?? gpa) - gpa },
    ...{ a: finderA(gpa), b: finderB(gpa) },
  }))
}

/** For ascending addresses: each list is walked once. */
function finder(sorted: readonly MeasuredPages[]): (gpa: number) => MeasuredPages | undefined {
  let index = 0
  return (gpa) => {
    for (let page = sorted[index]; page !== undefined && end(page) <= gpa; page = sorted[index]) index += 1
    const page = sorted[index]
    return page !== undefined && start(page) <= gpa ? page : undefined
  }
}

function pieceDifference({ gpa, size, a, b }: Piece, changed: ChangedInputs): Difference | undefined {
  const what = a && b ? contentDifference(a, b) : a ? `${kind(a)} only in A` : b ? `${kind(b)} only in B` : ''
  if (what === '' || what === undefined) return undefined
  return { where: place(gpa, size), what, causes: causesOf(a ?? b, changed) }
}

function contentDifference(a: MeasuredPages, b: MeasuredPages): string | undefined {
  if (a.type !== b.type) return `${named(a)}type ${a.type} against ${b.type}`
  const isSameStretch = start(a) === start(b) && a.size === b.size
  if (!isSameStretch || a.sha256 === undefined || b.sha256 === undefined || a.sha256 === b.sha256)
    return undefined
  const listPages = a.size > PAGE_BYTES ? '; --each-page of predict says which pages' : ''
  return `${named(a)}other contents${listPages}`
}

/** The firmware decides what lies where; the page of the hashes table also comes from what is hashed. */
function causesOf(page: MeasuredPages | undefined, changed: ChangedInputs): readonly InputName[] {
  const hashes: readonly InputName[] = ['kernel', 'initrd', 'append']
  const isHashes = page?.what === 'kernel-hashes' || (page?.type === 'normal' && start(page) < 0x8000_0000)
  return causesAmong(
    isHashes ? [...hashes, 'firmware'] : ['firmware', 'firmwareDigest', 'vmm', 'qemu'],
    changed,
  )
}

/** Neighbours that differ in the same way become one. */
function joined(
  differing: readonly { readonly piece: Piece; readonly difference: Difference }[],
): readonly Difference[] {
  const runs: { gpa: number; size: number; readonly difference: Difference }[] = []
  for (const { piece, difference } of differing) {
    const last = runs.at(-1)
    if (last && last.gpa + last.size === piece.gpa && last.difference.what === difference.what)
      last.size += piece.size
    else runs.push({ gpa: piece.gpa, size: piece.size, difference })
  }
  return runs.map(({ gpa, size, difference }) => ({ ...difference, where: place(gpa, size) }))
}

/** The first stretch of the common ones that comes at another turn: the order is measured, too. */
function orderDifference(
  { a, b, common }: { readonly a: Turns; readonly b: Turns; readonly common: readonly Piece[] },
  changed: ChangedInputs,
): readonly Difference[] {
  const inA = common.toSorted((x, y) => turn(a, x.a) - turn(a, y.a) || x.gpa - y.gpa)
  const inB = common.toSorted((x, y) => turn(b, x.b) - turn(b, y.b) || x.gpa - y.gpa)
  const index = inA.findIndex((piece, at) => piece !== inB[at])
  const [first, instead] = [inA[index], inB[index]]
  if (first === undefined || instead === undefined) return []
  return [
    {
      where: 'order of pages',
      what: `A measures 0x${first.gpa.toString(16)} where B measures 0x${instead.gpa.toString(16)}`,
      causes: causesAmong(['firmware', 'vmm', 'passes', 'qemu'], changed),
    },
  ]
}

/** Position of an entry in its document. */
type Turns = ReadonlyMap<MeasuredPages, number>

function turns(pages: readonly MeasuredPages[]): Turns {
  return new Map(pages.map((page, index) => [page, index]))
}

function turn(of: Turns, page: MeasuredPages | undefined): number {
  return (page && of.get(page)) ?? -1
}

interface Vmsa {
  readonly first: number
  readonly count: number
  readonly page: MeasuredPages
}

/** VMSAs by the number of their vCPU. */
function vmsas(pages: readonly MeasuredPages[]): readonly Vmsa[] {
  let first = 0
  return pages
    .filter(({ type }) => type === 'vmsa')
    .map((page) => {
      const count = page.count ?? page.size / PAGE_BYTES
      first += count
      return { first: first - count, count, page }
    })
}

function vmsaDifferences(
  a: readonly Vmsa[],
  b: readonly Vmsa[],
  changed: ChangedInputs,
): readonly Difference[] {
  const total = (list: readonly Vmsa[]) => list.reduce((sum, { count }) => sum + count, 0)
  const differing =
    total(a) === total(b)
      ? []
      : [
          {
            where: 'VMSAs',
            what: `${total(a)} against ${total(b)}`,
            causes: causesAmong(['vcpus'], changed),
          },
        ]
  const borders = [...new Set([...a, ...b].map(({ first }) => first))].sort((x, y) => x - y)
  const at = (list: readonly Vmsa[], vcpu: number) =>
    list.find(({ first, count }) => first <= vcpu && vcpu < first + count)
  return [
    ...differing,
    ...borders.flatMap((vcpu, index) => {
      const [left, right] = [at(a, vcpu), at(b, vcpu)]
      if (!left || !right || left.page.sha256 === right.page.sha256) return []
      const last = (borders[index + 1] ?? Math.min(total(a), total(b))) - 1
      return {
        where: last > vcpu ? `VMSAs of vCPU ${vcpu} to ${last}` : `VMSA of vCPU ${vcpu}`,
        what: registerDifference(left.page, right.page),
        causes: causesAmong(['cpu', 'guestFeatures', 'vmm', 'firmware', 'qemu'], changed),
      }
    }),
  ]
}

function registerDifference(a: MeasuredPages, b: MeasuredPages): string {
  const [left, right] = [a.registers, b.registers]
  if (left === undefined || right === undefined) return 'other contents'
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])]
  const changed = names.filter((name) => left[name] !== right[name])
  return (
    changed.map((name) => `${name} ${left[name] ?? '0x0'} against ${right[name] ?? '0x0'}`).join(', ') ||
    'other contents, outside of the registers listed'
  )
}

function start({ gpa }: MeasuredPages): number {
  return Number(gpa)
}

function end(page: MeasuredPages): number {
  return start(page) + page.size
}

function kind(page: MeasuredPages): string {
  return `${named(page)}type ${page.type}`
}

function named({ what, type }: MeasuredPages): string {
  return what === undefined || what === type ? '' : `${what}: `
}

function place(gpa: number, size: number): string {
  const first = `0x${gpa.toString(16)}`
  return size <= PAGE_BYTES ? `page ${first}` : `pages ${first} to 0x${(gpa + size - 1).toString(16)}`
}
