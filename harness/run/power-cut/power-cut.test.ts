import { createHash } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import type { FatExtent } from '../../formats/fat.ts'
import { FatImage } from '../../formats/testing/fat-volume.ts'
import { FLASH, type FlashRecord, variableFlash } from '../../formats/testing/variable-flash.ts'
import { candidatesOf, dangerOf, orderOf } from './candidates.ts'
import { describeDiskWrite, describeFlashWrite } from './describe.ts'
import { statesOfLostWrites } from './lost-writes.ts'
import { recordedOrder, recordOrder } from './recorded-order.ts'
import { mustBeOrder, ofControl, samplingOf } from './sampling.ts'
import { type CutEvent, cutStates, eventsOf, type RecordedUpdate, stateAfter } from './states.ts'

const SECTOR = 512
/** Where the ESP lies on the disk. */
const ESP_AT = 4 * SECTOR
const DIRECTORY = 0x10

interface Files {
  readonly a?: string
  readonly b?: string
  /** Under the name that it has until it is whole. */
  readonly half?: string
}

/** `a.efi` in clusters 4 and 5, `b.efi` or `b.new` in 6 and 7, all in the directory `EFI`. */
function esp({ a, b, half }: Files): FatImage {
  const image = new FatImage({ type: 'FAT12', clusters: 12 })
  image.directory(image.rootAt, [{ name: 'EFI', attributes: DIRECTORY, first: 3 }])
  image.chain([3])
  const second = b ?? half
  image.directory(image.clusterAt(3), [
    ...(a === undefined ? [] : [{ name: 'A       EFI', first: 4, size: a.length }]),
    ...(b === undefined ? [] : [{ name: 'B       EFI', first: 6, size: b.length }]),
    ...(half === undefined ? [] : [{ name: 'B       NEW', first: 6, size: half.length }]),
  ])
  image.chain([4, 5])
  if (a !== undefined) image.bytes.write(a, image.clusterAt(4))
  if (second !== undefined) {
    image.chain([6, 7])
    image.bytes.write(second, image.clusterAt(6))
  }
  return image
}

const OLD = 'a'.repeat(600)
const NEW = 'b'.repeat(600)

/** The write of the sectors in which `after` differs, in the range. */
function diskWrite(after: FatImage, { offset, size }: FatExtent): CutEvent {
  const data = Buffer.from(after.bytes.subarray(offset, offset + size))
  return { on: 'disk', write: { kind: 'write', at: 0, offset: ESP_AT + offset, size, data } }
}

function flashWrite(flash: Buffer): CutEvent {
  return { on: 'variables', write: { kind: 'write', at: 0, offset: 0, size: flash.length, data: flash } }
}

const next = (state?: number): FlashRecord => ({
  ...{ name: 'BootNext', data: Buffer.from([2, 0]) },
  ...(state !== undefined && { state }),
})
const order: FlashRecord = { name: 'BootOrder', data: Buffer.from([1, 0]) }
const entry: FlashRecord = { name: 'Boot0002', data: Buffer.from('slot b') }

const first = esp({ a: OLD })
const part = {
  data: { offset: first.clusterAt(6), size: 2 * SECTOR },
  fat: { offset: first.fatAt, size: SECTOR },
}
const directory = { offset: first.clusterAt(3), size: SECTOR }

/** Copies beside, renames, enters, has it tried once: step by step as an updater does it. */
function robust(): RecordedUpdate {
  const copied = esp({ a: OLD, half: NEW })
  const events = [
    diskWrite(copied, part.data),
    diskWrite(copied, part.fat),
    diskWrite(copied, directory),
    diskWrite(esp({ a: OLD, b: NEW }), directory),
    // The same content once more, and a write to another partition.
    diskWrite(esp({ a: OLD, b: NEW }), directory),
    {
      on: 'disk' as const,
      write: { kind: 'write' as const, at: 0, offset: 0, size: 512, data: Buffer.alloc(512, 'r') },
    },
    flashWrite(variableFlash([order, { ...entry, state: 0x7f }])),
    flashWrite(variableFlash([order, entry])),
    flashWrite(variableFlash([order, entry, next()])),
    { on: 'vtpm' as const, version: 1 },
  ]
  return {
    esp: { bytes: first.bytes, offset: ESP_AT },
    variables: variableFlash([order]),
    ...{ vtpm: ['v0', 'v1'], vtpmAtStart: 0, events },
    marks: [
      { name: 'start', after: 0 },
      { name: 'installed', after: 9 },
    ],
  }
}

t.test('states are told apart by bytes, and put together by what a boot reads', async (t) => {
  const states = cutStates(robust())
  t.strictSame(
    states.map(({ after }) => after),
    [0, 1, 2, 3, 4, 7, 8, 9, 10],
    'repeated writes, and those of other partitions, make no state',
  )
  const contents = new Set(states.map(({ content }) => content))
  t.equal(contents.size, 7, 'clusters of no file are not read')
  t.equal(states[0]?.content, states[2]?.content)
  const sum = (text: string) => createHash('sha256').update(text).update('\n').digest('hex')
  t.strictSame(
    [...(states.at(-1)?.esp.files ?? [])],
    [
      ['EFI', 'directory'],
      ['EFI/A.EFI', sum(OLD)],
      ['EFI/B.EFI', sum(NEW)],
    ],
  )
})

t.test('the worst states come first, each kind in turn, one of each content', async (t) => {
  const update = robust()
  const candidates = candidatesOf(cutStates(update), update, 1)
  const dangers = candidates.map(({ danger }) => danger)
  t.strictSame(dangers.slice(0, 2), ['directory', 'boot-variables'])
  t.strictSame(dangers.slice(2, 5).toSorted(), ['at-rest', 'torn', 'vtpm'], 'each kind once in a round')
  t.strictSame(dangers.slice(5), ['boot-variables', 'at-rest'])
  const afters = (wanted: string) =>
    candidates.flatMap(({ danger, state }) => (danger === wanted ? state.after : [])).toSorted()
  t.strictSame(afters('directory'), [3], 'before the rename')
  t.strictSame(afters('boot-variables'), [4, 8], 'after the rename, and between two variables')
  t.strictSame([...afters('torn'), ...afters('vtpm')], [7, 10])
})

t.test(
  'a state is reported with the write that made its content, not with the last one before the cut',
  async (t) => {
    const update = robust()
    const states = cutStates(update)
    const starts = Array.from({ length: 20 }, (_, seed) =>
      candidatesOf(states, update, seed).filter(({ state }) => state.content === states[0]?.content),
    ).flat()
    t.ok(new Set(starts.map(({ state }) => state.after)).size > 1, 'one of three alike is drawn')
    t.strictSame(new Set(starts.map(({ made }) => made.after)), new Set([0]))
  },
)

t.test('a disk with a cache loses any of the writes that it was not told to flush', async (t) => {
  const update = robust()
  const states = cutStates(update)
  const lost = statesOfLostWrites(update, states)
  const torn = lost.find(({ lost }) => lost.join() === '1')
  t.equal(torn?.after, update.events.length)
  const whole = states.at(-1)?.esp.files.get('EFI/B.EFI')
  t.not(torn?.esp.files.get('EFI/B.EFI'), whole, 'the renamed file has none of its data')
  t.strictSame(
    candidatesOf([...states, ...lost], update, 1)
      .flatMap(({ danger, state }) => (state.lost.length > 0 ? danger : []))
      .toSorted(),
    ['directory', 'lost-writes', 'lost-writes', 'lost-writes'],
    'a file that another name had before, and what only lacks writes',
  )

  const [data, table, ...others] = update.events
  const flush = {
    ...data,
    write: { kind: 'flush', at: 0, offset: 0, size: 0, data: new Uint8Array() },
  } as CutEvent
  const flushed = { ...update, events: [data, table, flush, ...others].flatMap((event) => event ?? []) }
  const left = statesOfLostWrites(flushed, cutStates(flushed))
  t.strictSame(
    left.flatMap(({ esp }) => esp.files.get('EFI/B.EFI') ?? []).filter((content) => content !== whole),
    [],
    'what was flushed is not lost',
  )
  for (const state of [...lost, ...left]) {
    const source = lost.includes(state) ? update : flushed
    const alone = { ...source, events: eventsOf(source, state), marks: [] }
    const scratch = cutStates(alone).at(-1)
    t.equal(state.content, scratch?.content, `as if nothing but that had been written: ${state.lost}`)
  }
})

t.test('a seed draws the same sample again, another one another', async (t) => {
  const update = robust()
  const states = cutStates(update)
  const drawn = (seed: number) =>
    candidatesOf(states, update, seed)
      .map(({ state }) => state.after)
      .join()
  const seeds = Array.from({ length: 20 }, (_, seed) => drawn(seed))
  t.strictSame(
    seeds,
    Array.from({ length: 20 }, (_, seed) => drawn(seed)),
  )
  t.ok(new Set(seeds).size > 1)
})

t.test('two recordings of the same steps have the same order, whatever is random in them', async (t) => {
  const drawn = (update: RecordedUpdate) => orderOf(candidatesOf(cutStates(update), update, 1))
  const update = robust()
  t.equal(drawn({ ...update, vtpm: ['w0', 'w1'] }), drawn(update))
  t.not(drawn({ ...update, events: update.events.slice(0, -2) }), drawn(update))
  const longer = variableFlash([order, { ...entry, data: Buffer.from('slot c') }])
  const other = update.events.map((event, index) => (index === 7 ? flashWrite(longer) : event))
  t.not(drawn({ ...update, events: other }), drawn(update), 'the same names with another value')
})

t.test('the order of a recording is found again beside its VM, by its seed', async (t) => {
  const point = t.testdir({ owner: {}, control: {} })
  await recordOrder(join(point, 'owner'), { seed: 7, order: 'f62a05c2' })
  t.equal(await recordedOrder(point, 7), 'f62a05c2')
  t.equal(await recordedOrder(point, 8), undefined)
  t.equal(await recordedOrder(join(point, 'none'), 7), undefined)
})

t.test('an order that is not the one of these states boots none', async (t) => {
  const sampling = samplingOf({ seed: 1, order: 'f62a05c2' })
  t.doesNotThrow(() => mustBeOrder('f62a05c2', sampling))
  t.doesNotThrow(() => mustBeOrder('00000000', samplingOf()))
  const range = { first: 36, last: 70 }
  const control = ofControl({ ...sampling, states: range })
  t.strictSame(control, { seed: 1, states: { first: 1, last: 4 } }, 'another recording, from its worst on')
  t.strictSame(ofControl({ seed: 1, states: 'all' }), { seed: 1, states: 'all' })
  t.throws(() => mustBeOrder('00000000', sampling), { name: 'UsageError', message: /f62a05c2.*00000000/ })
})

t.test('a state that comes back is the one at the end, and at the mark', async (t) => {
  const [start, between] = [variableFlash([order]), variableFlash([order, entry])]
  const events = [
    flashWrite(between),
    flashWrite(start),
    flashWrite(variableFlash([order, next()])),
    flashWrite(start),
  ]
  const states = cutStates({ ...robust(), events })
  t.strictSame(
    [0, 1, 2, 3, 4].map((count) => stateAfter(states, count)?.after),
    [0, 1, 0, 3, 0],
  )
  const marks = [{ name: 'tried', after: 4 }]
  const dangers = candidatesOf(states, { marks }, 1).map(({ danger, state }) => [danger, state.after])
  t.equal(
    dangers.find(([, after]) => after === 3)?.[0],
    'boot-variables',
    'the mark is not the last new state',
  )
})

t.test('whatever the budget, no kind of danger is left out for every seed', async (t) => {
  const update = robust()
  const states = cutStates(update)
  const all = [...states, ...statesOfLostWrites(update, states)]
  const kinds = new Set(candidatesOf(all, update, 0).map(({ danger }) => danger))
  const tried = Array.from({ length: 50 }, (_, seed) => candidatesOf(all, update, seed).slice(0, 4)).flat()
  t.ok(kinds.size > 4)
  t.strictSame(new Set(tried.map(({ danger }) => danger)), kinds)
})

t.test('a program that is overwritten in place is the worst there is', async (t) => {
  const events = [
    diskWrite(esp({ a: `${'b'.repeat(512)}${'a'.repeat(88)}` }), {
      offset: first.clusterAt(4),
      size: SECTOR,
    }),
    diskWrite(esp({ a: NEW }), { offset: first.clusterAt(5), size: SECTOR }),
  ]
  const marks = [
    { name: 'start', after: 0 },
    { name: 'installed', after: 2 },
  ]
  const update = { ...robust(), events, marks }
  const [worst, ...others] = candidatesOf(cutStates(update), update, 1)
  t.match(worst, { danger: 'boot-file', state: { after: 1 }, made: { after: 1 }, alike: 1 })
  t.strictSame(
    others.map(({ danger }) => danger),
    ['at-rest', 'at-rest'],
  )
})

t.test('that writes are lost hides nothing worse', async (t) => {
  const update = robust()
  const states = cutStates(update)
  const [state, rest] = [states[0], states.slice(0, 1)]
  if (state === undefined) return t.fail('a state')
  const lost = { ...state, lost: [1], content: 'x' }
  const files = new Map([...state.esp.files, ['EFI/A.EFI', 'other']])
  t.equal(dangerOf(lost, rest), 'lost-writes')
  t.equal(dangerOf({ ...lost, esp: { ...state.esp, files } }, rest), 'boot-file')
  t.equal(dangerOf({ ...lost, esp: { ...state.esp, problem: 'x' } }, rest), 'unreadable')
})

t.test('a volume and a store that cannot be read are states, not failures', async (t) => {
  const broken = esp({ a: OLD })
  broken.bytes.fill(0xff, 0, SECTOR)
  const circle = esp({ a: OLD })
  circle.chain([4, 5], 4)
  const events = [
    diskWrite(circle, part.fat),
    diskWrite(broken, { offset: 0, size: SECTOR }),
    flashWrite(Buffer.alloc(variableFlash([]).length)),
  ]
  const update = { ...robust(), events, marks: [{ name: 'start', after: 0 }] }
  const states = cutStates(update)
  t.equal(states[1]?.esp.files.get('EFI/A.EFI'), 'unreadable')
  t.match(states[2]?.esp.problem, /Signature_word/)
  t.match(states[3]?.variables.problem, /FileSystemGuid/)
  const dangers = candidatesOf(states, update, 1).map(({ danger, state }) => [danger, state.after])
  t.strictSame(
    dangers.toSorted().map(([danger]) => danger),
    ['at-rest', 'boot-file', 'unreadable', 'unreadable'],
  )
})

t.test('a write is described by the structure that it changed', async (t) => {
  const before = esp({ a: OLD }).bytes
  const after = esp({ a: OLD, b: NEW }).bytes
  const partitions = [
    { number: 2, type: '', guid: '', label: 'root', offset: ESP_AT + before.length, size: SECTOR },
  ]
  const late = esp({ a: OLD, b: NEW })
  late.chain([6, 7, 8])
  const disk = { before, after, end: late.bytes, esp: { offset: ESP_AT, size: before.length }, partitions }
  const words = (offset: number) => describeDiskWrite({ offset, size: SECTOR }, disk)
  t.match(words(ESP_AT), /^boot sectors/)
  t.match(words(ESP_AT + first.fatAt), /^file allocation table 1 \(sector 1 of the ESP, 512 bytes\)$/)
  t.match(words(ESP_AT + first.rootAt), /^root directory/)
  t.match(words(ESP_AT + first.clusterAt(3)), /^directory EFI /)
  t.match(words(ESP_AT + first.clusterAt(5)), /^sector 1 of EFI\/A\.EFI /)
  t.match(words(ESP_AT + first.clusterAt(6)), /^sector 0 of EFI\/B\.EFI /)
  t.match(words(ESP_AT + first.clusterAt(8)), /^what becomes sector 2 of EFI\/B\.EFI /)
  t.match(words(ESP_AT + first.clusterAt(9)), /^clusters of no file/)
  t.match(words(ESP_AT + before.length), /^partition root/)
  t.match(words(0), /^the partition table/)
})

t.test('what a guest calls its files and partitions drives no terminal', async (t) => {
  const image = esp({ a: OLD })
  image.directory(image.clusterAt(3), [
    { name: 'A       EFI', longName: 'a\u001b[2J\u202e.efi', first: 4, size: OLD.length },
  ])
  const { length } = image.bytes
  const partitions = [
    { number: 2, type: '', guid: '', label: 'r\u009b2J', offset: ESP_AT + length, size: SECTOR },
  ]
  const volumes = { before: image.bytes, after: image.bytes, end: image.bytes }
  const disk = { ...volumes, esp: { offset: ESP_AT, size: length }, partitions }
  const words = (offset: number) => describeDiskWrite({ offset, size: SECTOR }, disk)
  t.match(words(ESP_AT + image.clusterAt(4)), /^sector 0 of EFI\/a\\x1b\[2J\\u\{202e\}\.efi \(/)
  t.match(words(ESP_AT + length), /^partition r\\u\{9b\}2J \(/)
})

t.test('a write to the flash is described by the variable that it belongs to', async (t) => {
  const flash = variableFlash([order, next(0x7f)])
  const words = (change: Buffer) => describeFlashWrite(flash, 0, change)
  t.match(
    words(variableFlash([order, next()])),
    /^state of variable BootNext \(flash offset 0x[0-9a-f]+: 0x7f becomes 0x3f\)$/,
  )
  t.match(words(variableFlash([{ ...order, data: Buffer.from([7, 0]) }, next(0x7f)])), /^variable BootOrder/)
  t.match(words(variableFlash([order, next(0x7f), entry])), /^variable Boot0002/)
  const spare = Buffer.from(flash)
  spare.writeUInt8(0, FLASH.workingAt + 100)
  t.match(words(spare), /^blocks of the fault tolerant writes/)
  t.equal(words(flash), 'the variable store, as it was')
  const half = Buffer.from(variableFlash([order, next(0x7f), entry]))
  half.fill(0xff, half.indexOf(Buffer.from('Boot0002', 'utf16le')))
  t.match(words(half), /^variable that has no name yet/)
  t.match(describeFlashWrite(Buffer.alloc(100), 0, Buffer.from([1])), /a store that cannot be read/)
})
