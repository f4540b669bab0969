import { deepEqual, equal } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  type FlashByte,
  type StartedFirmware,
  startFirmware,
  updateVariable,
  type VariableChange,
} from '../../formats/testing/edk2-variables.ts'
import { FLASH, variableFlash } from '../../formats/testing/variable-flash.ts'
import { parseVariableStore } from '../../formats/variable-store.ts'
import { viewVariables } from './variables-content.ts'

/** Small: what is free is always scarce, so that it counts to the byte. */
const SMALL = { moreBlocks: 6, recordsAt: FLASH.recordsAt, recordsEnd: FLASH.recordsEnd + 6 * 512 }
/** More than is ever scarce, whatever the tests write. */
const AMPLE = { moreBlocks: 140, recordsAt: FLASH.recordsAt, recordsEnd: FLASH.recordsEnd + 140 * 512 }
type Room = typeof SMALL

const empty = ({ moreBlocks }: Room) => variableFlash([], [], { moreBlocks })

/** The flash after each byte that a change writes. */
function* cuts(flash: Buffer, writes: readonly FlashByte[]): Generator<Buffer> {
  const running = Buffer.from(flash)
  for (const { offset, value } of writes) {
    running.writeUInt8(value, offset)
    yield Buffer.from(running)
  }
}

function after(flash: Buffer, writes: readonly FlashByte[], count = writes.length): Buffer {
  return [...cuts(flash, writes)][count - 1] ?? flash
}

const change = fc.record(
  {
    name: fc.constantFrom('BootNext', 'BootOrder', 'Boot0002'),
    data: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    inFourSteps: fc.boolean(),
  },
  { requiredKeys: ['name'] },
)
/** Changes, each of which may be cut after so many of its bytes: the firmware is started then. */
const history = fc.array(fc.record({ change, cutAfter: fc.option(fc.nat(200), { nil: undefined }) }), {
  maxLength: 5,
})

/** All that a firmware that starts on a flash can tell; `next` where room is scarce. */
function told({ variables, reclaims, next }: StartedFirmware, room: Room): string {
  return JSON.stringify([[...variables], reclaims, room === SMALL && next])
}

function replay(
  flash: Buffer,
  room: Room,
  steps: { change: VariableChange; cutAfter?: number | undefined }[],
) {
  let now = flash
  for (const { change, cutAfter } of steps) {
    now = after(now, updateVariable(now, room, change), cutAfter)
    if (cutAfter !== undefined) now = startFirmware(now, room).flash
  }
  return now
}

/** The states of one more change after a history, the one before it first. */
function statesOf(room: Room, steps: Parameters<typeof replay>[2], last: VariableChange): readonly Buffer[] {
  const flash = replay(empty(room), room, steps)
  return [flash, ...cuts(flash, updateVariable(flash, room, last))]
}

t.test('the store is parsed as the driver reads it, whenever the power was cut before', async () => {
  fc.assert(
    fc.property(history, change, (steps, last) => {
      for (const cut of statesOf(SMALL, steps, last)) {
        const { variables, freeBytes, torn } = parseVariableStore(cut)
        const firmware = startFirmware(cut, SMALL)
        const parsed = variables.map(({ name, data }): [string, string] => [
          name,
          Buffer.from(data).toString('hex'),
        ])
        deepEqual(new Map(parsed), firmware.variables)
        equal(torn === 'reclaimed-at-boot', firmware.reclaims)
        if (!firmware.reclaims) equal(freeBytes, SMALL.recordsEnd - firmware.next)
      }
    }),
    { numRuns: 60 },
  )
})

t.test('states that are judged equal are equal to the driver', async () => {
  for (const [room, numRuns] of [[SMALL, 40] as const, [AMPLE, 5] as const])
    fc.assert(
      fc.property(history, change, (steps, last) => {
        const byKey = new Map<string, string>()
        for (const cut of statesOf(room, steps, last)) {
          const { key } = viewVariables(cut)
          const words = told(startFirmware(cut, room), room)
          equal(byKey.get(key) ?? words, words)
          byKey.set(key, words)
        }
      }),
      { numRuns },
    )
})

t.test('a write is four contents: before, to be reclaimed, passed over, and after', async (t) => {
  const first = after(
    empty(AMPLE),
    updateVariable(empty(AMPLE), AMPLE, { name: 'A', data: Buffer.from('old') }),
  )
  const contents = (change: VariableChange) => {
    const views = [first, ...cuts(first, updateVariable(first, AMPLE, change))].map(viewVariables)
    const inARow = views.filter(({ key }, index) => key !== views[index - 1]?.key)
    return { different: new Set(views.map(({ key }) => key)).size, torn: inARow.map(({ torn }) => torn) }
  }
  const data = Buffer.from('new')
  const torn = ['none', 'reclaimed-at-boot', 'passed-over', 'reclaimed-at-boot', 'none']
  t.strictSame(contents({ name: 'B', data }), { different: 4, torn })
  t.strictSame(
    contents({ name: 'A', data }),
    { different: 4, torn },
    'the old one counts until the new one does',
  )
  t.strictSame(contents({ name: 'A' }), { different: 2, torn: ['none', 'none'] }, 'a deletion is one byte')
  t.strictSame(
    contents({ name: 'B', data, inFourSteps: true }),
    { different: 4, torn: ['none', 'reclaimed-at-boot', 'passed-over', 'none'] },
    'with VAR_HEADER_VALID_ONLY the data is passed over with its header',
  )
})

t.test('each byte of a torn record counts as far as the driver looks at it', async (t) => {
  const begin = empty(AMPLE)
  const writes = updateVariable(begin, AMPLE, { name: 'Boot0002', data: Buffer.from('slot b') })
  const torn = (count: number) => viewVariables(after(begin, writes, count)).torn
  const header = 60
  t.strictSame([1, 2, 3, 40, header].map(torn), [
    'reclaimed-at-boot',
    ...Array.from({ length: 4 }, () => 'passed-over'),
  ])
  t.strictSame([header + 1, writes.length - 1, writes.length].map(torn), [
    'reclaimed-at-boot',
    'reclaimed-at-boot',
    'none',
  ])
  t.equal(viewVariables(after(begin, writes)).variables.size, 1, 'its state is the last byte')
  const stray = Buffer.from(begin)
  stray.writeUInt8(0, AMPLE.recordsEnd - 1)
  t.equal(viewVariables(stray).torn, 'reclaimed-at-boot', 'the free area is looked at to its end')
})

t.test('room counts where it is scarce, and what is to be replayed always', async (t) => {
  const change = { name: 'A', data: Buffer.from('x') }
  const gone = (room: Room) => {
    const there = after(empty(room), updateVariable(empty(room), room, change))
    return viewVariables(after(there, updateVariable(there, room, { name: 'A' }))).key
  }
  t.equal(gone(AMPLE), viewVariables(empty(AMPLE)).key)
  t.not(gone(SMALL), viewVariables(empty(SMALL)).key)
  const pending = variableFlash([], [{ header: 3, record: 2 }])
  const other = Buffer.from(pending)
  other.writeUInt8(0, other.length - 1)
  t.not(viewVariables(other).key, viewVariables(pending).key, 'the spare block takes the place of the store')
  for (const flash of [pending, other]) flash.fill(0xff, FLASH.workingAt, FLASH.workingAt + FLASH.blockSize)
  t.not(viewVariables(other).key, viewVariables(pending).key, 'or that of the working block')
  const [whole, erased] = [variableFlash([]), variableFlash([])]
  erased.fill(0xff, FLASH.workingAt, FLASH.workingAt + FLASH.blockSize)
  t.not(viewVariables(erased).key, viewVariables(whole).key)
})

t.test('what InitFtwProtocol makes of the working block is told apart', async (t) => {
  const at = FLASH.workingAt
  const queue = at + 32
  const { key } = viewVariables(variableFlash([]))
  const spare = FLASH.blockSize * FLASH.blocks - 1
  const changes: readonly [string, number, number, string][] = [
    ['the valid bit is erased', at + 20, 0xff, 'no-working-block'],
    ['the invalid bit is programmed', at + 20, 0xfc, 'no-working-block'],
    ['a reserved bit is programmed', at + 23, 0x7f, 'no-working-block'],
    ['another check sum', at + 16, 0, 'no-working-block'],
    ['another size of the queue', at + 25, 0, 'no-working-block'],
    ['bytes in a header that is not allocated', queue + 24, 1, 'reclaimed-at-boot'],
    ['bytes behind it', queue + 200, 0, 'reclaimed-at-boot'],
    ['a reserved bit of a header that is not allocated', queue, 0x7f, 'reclaimed-at-boot'],
  ]
  for (const [what, offset, value, unfinished] of changes) {
    const flash = variableFlash([])
    flash.writeUInt8(value, offset)
    const view = viewVariables(flash)
    t.match(view, { unfinished, problem: undefined }, what)
    t.not(view.key, key, what)
    flash.writeUInt8(0, spare)
    t.not(viewVariables(flash).key, view.key, `${what}: the spare blocks count`)
  }
})

t.test('work space behind a write counts, and so does a queue without room for another', async (t) => {
  const fate = (writes: Parameters<typeof variableFlash>[1], change?: (flash: Buffer) => void) => {
    const flash = variableFlash([], writes)
    change?.(flash)
    return viewVariables(flash).unfinished
  }
  const [done, dropped] = [
    { header: 7, record: 6 },
    { header: 3, record: 0 },
  ]
  const behind = (flash: Buffer) => void flash.writeUInt8(0, FLASH.workingAt + 32 + 2 * 80 + 5)
  t.equal(fate([done, done]), 'none')
  t.equal(fate([done, done], behind), 'reclaimed-at-boot')
  t.equal(fate([done, dropped]), 'dropped-at-boot')
  t.equal(fate([done, dropped], behind), 'reclaimed-at-boot')
  t.equal(fate(Array.from({ length: 5 }, () => done)), 'none')
  t.equal(fate(Array.from({ length: 6 }, () => done)), 'reclaimed-at-boot', 'none of 480 bytes is left')
})

t.test('a whole working block in the spare area is none', async (t) => {
  const flash = variableFlash([])
  flash.copy(flash, FLASH.workingAt + FLASH.blockSize, FLASH.workingAt, FLASH.workingAt + FLASH.blockSize)
  t.equal(viewVariables(flash).unfinished, 'none')
  flash.fill(0xff, FLASH.workingAt, FLASH.workingAt + FLASH.blockSize)
  t.equal(viewVariables(flash).unfinished, 'no-working-block')
})

t.test('stores that cannot be read are told apart by all of their bytes', async (t) => {
  const unreadable = [100, 200].map((place) => {
    const flash = Buffer.alloc(empty(SMALL).length)
    flash.writeUInt8(1, place)
    return viewVariables(flash)
  })
  t.match(unreadable, [{ problem: /FileSystemGuid/ }, { problem: /FileSystemGuid/ }])
  t.not(unreadable[0]?.key, unreadable[1]?.key)
})
