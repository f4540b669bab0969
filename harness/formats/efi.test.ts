import t from 'tap'
import { refuses, refusesTruncation, survivesChangedBytes } from '../base/testing/refusals.ts'
import { addBootEntry, bootConfiguration, setBootNext, setBootOrder } from './boot-configuration.ts'
import {
  devicePathText,
  encodeDevicePath,
  fileOf,
  filePathOnPartition,
  hardDriveOf,
  parseDevicePath,
} from './device-path.ts'
import { guidBytes, guidText } from './guid.ts'
import {
  bootEntryName,
  bootEntryNumber,
  encodeBootNumbers,
  encodeLoadOption,
  LOAD_OPTION_ACTIVE,
  parseBootNumbers,
  parseLoadOption,
} from './load-option.ts'
import { encodeSignatureLists, parseSignatureLists, SIGNATURE_TYPES } from './signature-list.ts'
import { FLASH, sumToZero, variableFlash, volumeHeader } from './testing/variable-flash.ts'
import { findVariable, parseVariableStore } from './variable-store.ts'
import { compareVariableStores, deleteVariable, setVariable } from './variable-store-edit.ts'

const OTHER_GUID = '00112233-4455-6677-8899-aabbccddeeff'
const bootNext = { name: 'BootNext', data: Buffer.from([3, 0]) }
const bootOrder = { name: 'BootOrder', data: Buffer.from([1, 0, 3, 0]) }
const names = (image: Uint8Array) => parseVariableStore(image).variables.map(({ name }) => name)

// --- GUID ---

t.test('a GUID keeps its text, and only its first three groups are swapped', async (t) => {
  t.equal(
    guidBytes('01234567-89AB-cdef-0123-456789abcdef').toString('hex'),
    '67452301ab89efcd0123456789abcdef',
  )
  t.equal(guidText(guidBytes(OTHER_GUID)), OTHER_GUID)
  refuses(t, () => guidBytes('01234567'), 'bad-value', 'GUID')
})

// --- Variable store ---

t.test('parseVariableStore gives what the firmware would answer', async (t) => {
  const flash = variableFlash([
    { name: 'Gone', data: Buffer.from('x'), state: 0x3d },
    { name: 'HalfWritten', data: Buffer.from('x'), state: 0x7f },
    { name: 'BootNext', data: Buffer.from([9, 0]), state: 0x3e },
    bootNext,
    { name: 'KeptInTransition', data: Buffer.from('old'), state: 0x3e, guid: OTHER_GUID },
  ])
  const store = parseVariableStore(flash)
  t.strictSame(names(flash), ['BootNext', 'KeptInTransition'])
  t.strictSame(findVariable(store, { name: 'BootNext' })?.data, Buffer.from([3, 0]))
  t.equal(findVariable(store, { name: 'KeptInTransition', guid: OTHER_GUID })?.attributes, 7)
  t.equal(findVariable(store, { name: 'KeptInTransition' }), undefined)
  t.match(store, {
    deletedRecords: 3,
    unfinishedWrite: 'none',
    layout: { volumeLength: 3072, blockSize: 512 },
  })
})

t.test('a record whose start was being written when the power went ends the list', async (t) => {
  const flash = variableFlash([bootNext])
  const next = FLASH.recordsAt + 80
  t.equal(parseVariableStore(flash).freeBytes, FLASH.recordsEnd - next)
  // StartId and then the rest of the header are written before the state: 0xff there, anything behind it.
  for (const start of [[0xaa], [0xaa, 0x55], [0xaa, 0x55, 0xff, 0, 7], [0xff, 0x55]]) {
    Buffer.from(start).copy(flash, next)
    t.strictSame(names(flash), ['BootNext'], start.join())
  }
  flash.writeUInt16LE(0x1234, next)
  refuses(t, () => parseVariableStore(flash), 'bad-magic', 'StartId')
})

t.test('a combined image is read as far as its first volume goes', async (t) => {
  const image = Buffer.concat([variableFlash([bootNext]), volumeHeader(1024), Buffer.alloc(952)])
  t.strictSame(names(image), ['BootNext'])
  refuses(
    t,
    () => parseVariableStore(Buffer.concat([variableFlash([]), Buffer.alloc(512)])),
    'trailing-bytes',
  )
})

t.test('parseVariableStore refuses what is short, reserved, of another size or another format', async (t) => {
  const good = variableFlash([bootNext, bootOrder])
  refusesTruncation(t, good, parseVariableStore)
  survivesChangedBytes(t, good, parseVariableStore)
  const reserved = [
    ...range(0, 16),
    54,
    71,
    ...range(FLASH.storeAt + 22, FLASH.storeAt + 28),
    FLASH.recordsAt + 3,
  ]
  for (const at of reserved)
    for (let bit = 0; bit < 8; bit++) {
      const flash = Buffer.from(good)
      flash.writeUInt8(1 << bit, at)
      refuses(t, () => parseVariableStore(sumToZero(flash)), 'reserved-bit')
    }
  const wrong = (at: number, value: number, field: string) => {
    const flash = Buffer.from(good)
    flash.writeUInt8(value, at)
    refuses(t, () => parseVariableStore(at < FLASH.storeAt ? sumToZero(flash) : flash), 'bad-value', field)
  }
  wrong(32, 1, 'FvLength')
  wrong(48, 80, 'HeaderLength')
  wrong(52, 1, 'ExtHeaderOffset')
  wrong(55, 1, 'Revision')
  wrong(FLASH.storeAt + 19, 1, 'Size')
  wrong(FLASH.storeAt + 20, 0, 'Format')
  wrong(FLASH.storeAt + 21, 0xff, 'State')
  const unsummed = Buffer.from(good)
  unsummed.writeUInt8(1, 44)
  refuses(t, () => parseVariableStore(unsummed), 'bad-value', 'Checksum')
  refuses(t, () => parseVariableStore(Buffer.alloc(3072)), 'bad-magic', 'FileSystemGuid')
  const plain = Buffer.from(good)
  guidBytes(OTHER_GUID).copy(plain, FLASH.storeAt)
  refuses(t, () => parseVariableStore(plain), 'bad-magic', 'Signature')
})

t.test('an error names the offset in the file', async (t) => {
  const flash = variableFlash([bootNext])
  flash.writeUInt32LE(0x7fffffff, FLASH.recordsAt + 40)
  t.match(
    refuses(t, () => parseVariableStore(flash), 'truncated', 'Data'),
    {
      offset: FLASH.recordsAt + 60 + 18,
    },
  )
})

t.test('setVariable and deleteVariable change one variable and nothing else', async (t) => {
  const before = variableFlash([bootOrder, { name: 'Old', data: Buffer.from('x'), state: 0x3d }])
  const after = setVariable(before, bootNext)
  t.strictSame(names(after), ['BootOrder', 'BootNext'])
  t.equal(parseVariableStore(after).deletedRecords, 0)
  t.match(compareVariableStores(before, after), [
    { change: 'added', name: 'BootNext', after: { attributes: 7 } },
  ])
  const changed = setVariable(after, { ...bootOrder, data: Buffer.from([3, 0]) })
  t.strictSame(names(changed), ['BootOrder', 'BootNext'])
  t.match(compareVariableStores(after, changed), [{ change: 'changed', name: 'BootOrder' }])
  const less = deleteVariable(changed, { name: 'BootNext' })
  t.match(compareVariableStores(changed, less), [{ change: 'removed', name: 'BootNext' }])
  t.ok(after.subarray(FLASH.recordsEnd).equals(before.subarray(FLASH.recordsEnd)))
  t.ok(deleteVariable(less, { name: 'Absent' }).equals(less))
  refuses(t, () => setVariable(before, { name: 'Big', data: Buffer.alloc(900) }), 'too-large', 'records')
})

t.test('an interrupted write that the firmware will replay is told, and no edit is lost in it', async (t) => {
  const done = { header: 7, record: 6 }
  const fate = (...writes: Parameters<typeof variableFlash>[1] & {}) =>
    parseVariableStore(variableFlash([bootNext], writes)).unfinishedWrite
  t.equal(fate(), 'none')
  t.equal(fate(done, done), 'none')
  t.equal(fate(done, { header: 1, record: 0 }), 'dropped-at-boot')
  t.equal(fate({ header: 3, record: 0 }), 'dropped-at-boot')
  t.equal(fate(done, { header: 3, record: 2 }), 'replayed-at-boot')
  t.equal(fate({ header: 3, record: 6 }), 'dropped-at-boot')
  const pending = variableFlash([bootNext], [{ header: 3, record: 2 }])
  refuses(t, () => setVariable(pending, bootOrder), 'bad-value', 'WriteQueue')
  const blockless = variableFlash([bootNext])
  blockless.fill(0xff, FLASH.workingAt, FLASH.workingAt + 16)
  t.equal(parseVariableStore(blockless).unfinishedWrite, 'no-working-block')
  t.strictSame(names(setVariable(blockless, bootOrder)), ['BootNext', 'BootOrder'])
  blockless[blockless.length - 1] = 0
  refuses(t, () => setVariable(blockless, bootOrder), 'bad-value', 'SpareArea')
  const endless = variableFlash([], [done])
  endless.writeBigUInt64LE(2n ** 60n, FLASH.workingAt + 32 + 24)
  refuses(t, () => parseVariableStore(endless), 'too-large', 'NumberOfWrites')
})

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index)
}

// --- Signature lists ---

t.test('signature lists keep their contents, and refuse sizes that do not add up', async (t) => {
  const lists = [
    {
      type: SIGNATURE_TYPES.x509,
      header: Buffer.alloc(0),
      signatures: [{ owner: OTHER_GUID, data: Buffer.alloc(40, 1) }],
    },
    {
      type: SIGNATURE_TYPES.sha256,
      header: Buffer.from('head'),
      signatures: [1, 2].map((fill) => ({ owner: OTHER_GUID, data: Buffer.alloc(32, fill) })),
    },
  ]
  const bytes = encodeSignatureLists(lists)
  t.strictSame(encodeSignatureLists(parseSignatureLists(bytes)), bytes)
  t.match(parseSignatureLists(bytes), [{ signatures: { length: 1 } }, { signatures: { length: 2 } }])
  t.strictSame(parseSignatureLists(Buffer.alloc(0)), [])
  const first = encodeSignatureLists(lists.slice(0, 1))
  for (let length = 1; length < first.length; length++)
    t.throws(() => parseSignatureLists(first.subarray(0, length)), { name: 'FormatError' }, `${length} bytes`)
  survivesChangedBytes(t, bytes, parseSignatureLists)
  first.writeUInt32LE(16, 24)
  refuses(t, () => parseSignatureLists(first), 'bad-value', 'SignatureSize')
  first.writeUInt32LE(27, 16)
  refuses(t, () => parseSignatureLists(first), 'bad-value', 'SignatureListSize')
})

// --- Device paths and load options ---

const partition = { partition: 1, start: 2048n, size: 262144n, guid: OTHER_GUID }

t.test('a path to a file on a partition keeps its parts', async (t) => {
  const path = filePathOnPartition(partition, '/EFI/Linux/b.efi')
  const parsed = parseDevicePath(encodeDevicePath(path))
  t.strictSame(hardDriveOf(parsed), partition)
  t.equal(fileOf(parsed), '\\EFI\\Linux\\b.efi')
  t.equal(devicePathText(parsed), `HD(1,GPT,${OTHER_GUID},0x800,0x40000)/\\EFI\\Linux\\b.efi`)
  refusesTruncation(t, encodeDevicePath(path), parseDevicePath)
  survivesChangedBytes(t, encodeDevicePath(path), (bytes) => devicePathText(parseDevicePath(bytes)))
  refuses(t, () => parseDevicePath(Buffer.from([4, 4, 3, 0])), 'bad-value', 'Length')
  refuses(t, () => parseDevicePath(Buffer.from('7fff040000', 'hex')), 'trailing-bytes')
  refuses(t, () => parseDevicePath(Buffer.alloc(4 * 300, Buffer.from([9, 9, 4, 0]))), 'too-large')
})

t.test('a load option keeps its parts, and BootXXXX its number', async (t) => {
  const option = {
    ...{ attributes: LOAD_OPTION_ACTIVE, description: 'slot B ü', optionalData: Buffer.from('more') },
    paths: [filePathOnPartition(partition, 'b.efi')],
  }
  const bytes = encodeLoadOption(option)
  t.strictSame(encodeLoadOption(parseLoadOption(bytes)), bytes)
  t.match(parseLoadOption(bytes), { attributes: 1, description: 'slot B ü' })
  const bare = encodeLoadOption({ ...option, optionalData: Buffer.alloc(0) })
  refusesTruncation(t, bare, parseLoadOption)
  survivesChangedBytes(t, bytes, parseLoadOption)
  refuses(
    t,
    () => parseLoadOption(Buffer.from('01000000000041000000', 'hex')),
    'bad-value',
    'FilePathListLength',
  )
  t.strictSame([bootEntryName(0xab), bootEntryNumber('Boot00AB')], ['Boot00AB', 0xab])
  t.strictSame(['BootNext', 'Boot00ab', 'xBoot0001'].map(bootEntryNumber), [undefined, undefined, undefined])
  t.strictSame(parseBootNumbers(encodeBootNumbers([1, 0xab00])), [1, 0xab00])
  refuses(t, () => parseBootNumbers(Buffer.from([1, 0, 2])), 'truncated')
})

t.test('boot entries get the first free number, and BootNext comes and goes', async (t) => {
  const bootFile = (file: string) => ({ description: file, file, partition })
  const first = addBootEntry(variableFlash([]), bootFile('EFI/Linux/a.efi'))
  const second = addBootEntry(first.image, bootFile('EFI/Linux/b.efi'))
  t.strictSame([first.number, second.number], [0x100, 0x101])
  const tried = setBootNext(setBootOrder(second.image, [0x100]), 0x101)
  t.strictSame(bootConfiguration(tried), {
    entries: [
      { number: 0x100, description: 'EFI/Linux/a.efi', active: true, file: '\\EFI\\Linux\\a.efi' },
      { number: 0x101, description: 'EFI/Linux/b.efi', active: true, file: '\\EFI\\Linux\\b.efi' },
    ],
    order: [0x100],
    next: 0x101,
  })
  t.strictSame(bootConfiguration(setBootNext(tried, undefined)).next, undefined)
  const without = deleteVariable(tried, { name: 'Boot0100' })
  t.equal(addBootEntry(without, bootFile('c.efi')).number, 0x100)
  refuses(
    t,
    () => bootConfiguration(setVariable(tried, { name: 'Boot0100', data: Buffer.alloc(3) })),
    'truncated',
  )
})
