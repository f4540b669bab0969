import t from 'tap'
import { refusesToParse, refusesTruncation } from '../../base/testing/rejects.ts'
import { parseGptEvent, parseImageLoadEvent, parseTaggedEvent, parseVariableEvent } from './efi-events.ts'
import { gptEvent, imageLoadEvent, taggedEvent, variableEvent } from './testing/efi-event-data.ts'

const GUID = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
const END_PATH = Buffer.from('7fff0400', 'hex')

/** Writes a u64 into a copy. */
function with64(bytes: Uint8Array, offset: number, value: bigint): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeBigUInt64LE(value, offset)
  return copy
}

t.test('a variable event has GUID, name and data', async (t) => {
  const bytes = variableEvent(GUID, 'SecureBoot', Buffer.of(1))
  t.strictSame(parseVariableEvent(bytes), { guid: GUID, name: 'SecureBoot', data: Buffer.of(1) })
  t.equal(parseVariableEvent(variableEvent(GUID, 'PK', Buffer.alloc(0))).data.length, 0)
  t.strictSame(
    parseVariableEvent(Buffer.concat([bytes, Buffer.alloc(6)])).data,
    Buffer.of(1),
    "an old shim's stray bytes",
  )
  refusesTruncation(t, bytes, parseVariableEvent)
  for (const stray of [1, 5, 7]) {
    const longer = Buffer.concat([bytes, Buffer.alloc(stray)])
    refusesToParse(t, () => parseVariableEvent(longer), { code: 'bad-value', field: 'VariableDataLength' })
  }
  for (const value of [513n, 2n ** 63n, 2n ** 64n - 1n])
    refusesToParse(t, () => parseVariableEvent(with64(bytes, 16, value)), {
      code: 'too-large',
      field: 'UnicodeNameLength',
      offset: 16,
    })
  for (const value of [0n, 2n, 2n ** 64n - 1n])
    refusesToParse(t, () => parseVariableEvent(with64(bytes, 24, value)), {
      code: 'bad-value',
      field: 'VariableDataLength',
      offset: 24,
    })
})

t.test('an image event has an address, a size and perhaps a path', async (t) => {
  const bytes = imageLoadEvent(END_PATH)
  t.match(parseImageLoadEvent(bytes), { address: 0x1000n, bytes: 0x2000n })
  t.equal(parseImageLoadEvent(imageLoadEvent(Buffer.alloc(0))).path, undefined)
  refusesTruncation(t, bytes, parseImageLoadEvent)
  for (const value of [0n, 5n, 2n ** 64n - 1n])
    refusesToParse(t, () => parseImageLoadEvent(with64(bytes, 24, value)), {
      code: 'bad-value',
      field: 'LengthOfDevicePath',
      offset: 24,
    })
})

t.test('a partition table event has the disk and its partitions', async (t) => {
  const bytes = gptEvent(GUID, ['esp', 'root'])
  t.match(parseGptEvent(bytes), {
    diskGuid: GUID,
    partitions: [{ label: 'esp' }, { label: 'root', firstLba: 100n }],
  })
  refusesTruncation(t, bytes, parseGptEvent)
  refusesToParse(t, () => parseGptEvent(Buffer.concat([bytes, Buffer.of(0)])), { code: 'trailing-bytes' })
  refusesToParse(t, () => parseGptEvent(with64(bytes, 92, 3n)), { code: 'truncated' })
  refusesToParse(t, () => parseGptEvent(with64(bytes, 92, 1n)), { code: 'trailing-bytes' })
  for (const value of [1025n, 2n ** 64n - 1n])
    refusesToParse(t, () => parseGptEvent(with64(bytes, 92, value)), {
      code: 'bad-value',
      field: 'NumberOfPartitions',
    })
  for (const value of [0n, 127n, 4097n])
    refusesToParse(t, () => parseGptEvent(with64(bytes, 84, value)), { code: 'bad-value' })
})

t.test('a tagged event has an identifier and data', async (t) => {
  const bytes = taggedEvent(0x8f3b22ec, 'Linux initrd')
  t.match(parseTaggedEvent(bytes), { id: 0x8f3b22ec, data: Buffer.from('Linux initrd\0') })
  refusesTruncation(t, bytes, parseTaggedEvent)
  refusesToParse(t, () => parseTaggedEvent(Buffer.concat([bytes, Buffer.of(0)])), {
    code: 'bad-value',
    field: 'taggedEventDataSize',
  })
})
