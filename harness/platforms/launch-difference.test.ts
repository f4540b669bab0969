import t from 'tap'
import type { MeasuredPages } from '../measure/documents/document.ts'
import { launchDifference } from './launch-difference.ts'

const page = (gpa: number, type: string, sha256?: string, count?: number): MeasuredPages => ({
  ...{ gpa: `0x${gpa.toString(16)}`, size: 4096, type },
  ...(sha256 !== undefined && { sha256 }),
  ...(count !== undefined && { count }),
})
const PAGES = [
  page(0x1000, 'normal', 'aa'),
  page(0x2000, 'zero'),
  page(0x3000, 'secrets'),
  page(0xf000, 'vmsa', 'bb', 3),
]

t.test('equal lists have no difference, however their VMSAs are counted', async (t) => {
  t.equal(launchDifference(PAGES, PAGES), undefined)
  const oneByOne = [...PAGES.slice(0, 3), page(0xf000, 'vmsa', 'bb'), page(0xf000, 'vmsa', 'bb', 2)]
  t.equal(launchDifference(PAGES, oneByOne), undefined)
})

t.test('the first difference is named for what it is', async (t) => {
  const without = (index: number) => PAGES.filter((_, each) => each !== index)
  const replaced = (index: number, other: MeasuredPages) =>
    PAGES.map((each, at) => (at === index ? other : each))
  t.equal(launchDifference(PAGES, without(1)), 'zero 0x2000+0x1000 was not measured')
  t.equal(launchDifference(without(1), PAGES), 'zero 0x2000+0x1000 was measured, but not predicted')
  t.equal(launchDifference(PAGES, PAGES.slice(0, 3)), 'vmsa 0xf000+0x1000 was not measured')
  t.equal(launchDifference(PAGES.slice(0, 3), PAGES), 'vmsa 0xf000+0x1000 was measured, but not predicted')
  t.equal(
    launchDifference(PAGES, replaced(3, page(0xf000, 'vmsa', 'bb', 2))),
    'vmsa 0xf000+0x1000 was not measured',
  )
  t.equal(
    launchDifference(PAGES, replaced(0, page(0x1000, 'normal', 'cc'))),
    'normal 0x1000+0x1000 has other contents',
  )
  t.equal(
    launchDifference(PAGES, replaced(1, page(0x2000, 'normal', 'cc'))),
    'normal 0x2000+0x1000 was measured instead of zero 0x2000+0x1000',
  )
  t.equal(
    launchDifference(
      PAGES,
      [PAGES[1], PAGES[0], ...PAGES.slice(2)].flatMap((each) => each ?? []),
    ),
    'normal 0x1000+0x1000 was not measured',
    'an order is a difference',
  )
})

t.test('a changed VMSA is not taken for a missing one, though all lie at one place', async (t) => {
  const vmsas = [page(0xf000, 'vmsa', 'bb'), page(0xf000, 'vmsa', 'cc', 7)]
  const changed = [page(0xf000, 'vmsa', 'dd'), page(0xf000, 'vmsa', 'cc', 7)]
  t.equal(launchDifference(vmsas, changed), 'vmsa 0xf000+0x1000 has other contents')
  t.equal(launchDifference(vmsas, vmsas.slice(1)), 'vmsa 0xf000+0x1000 was not measured')
})

t.test('of VMSAs the registers are named', async (t) => {
  const vmsa = (registers: Record<string, string>, sha256: string) => [
    { ...page(0xf000, 'vmsa', sha256), registers },
  ]
  const before = vmsa({ rip: '0xfff0', efer: '0x1000' }, 'aa')
  t.equal(
    launchDifference(before, vmsa({ rip: '0xfff1', rdx: '0x1', efer: '0x1000' }, 'bb')),
    'vmsa 0xf000+0x1000 differs in rip, rdx',
  )
  t.equal(
    launchDifference(before, vmsa({ rip: '0xfff0', efer: '0x1000' }, 'bb')),
    'vmsa 0xf000+0x1000 has other contents',
    'a register that has no name is still a difference',
  )
})
