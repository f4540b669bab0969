import t from 'tap'
import { devicePathText, encodeDevicePath, filePathOnPartition } from '../../formats/device-path.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { variableData } from '../tpm/variable-event.ts'
import { eventWords } from './event-words.ts'

t.test('variables are named as a prediction names them', async (t) => {
  const guid = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
  const bytes = variableData({ name: 'PK', guid, data: Buffer.alloc(7) })
  t.equal(eventWords(EV.EFI_VARIABLE_DRIVER_CONFIG, bytes), 'variable PK, 7 bytes')
  const absent = variableData({ name: 'db', guid, data: Buffer.alloc(0) })
  t.equal(eventWords(EV.EFI_VARIABLE_BOOT2, absent), 'variable db, not there')
})

t.test('images by their path, tagged events and text by what they say', async (t) => {
  const partition = { partition: 1, start: 2048n, size: 4096n, guid: '01020304-0506-0708-090a-0b0c0d0e0f10' }
  const path = filePathOnPartition(partition, '\\EFI\\BOOT\\BOOTX64.EFI')
  const encoded = encodeDevicePath(path)
  const head = Buffer.alloc(32)
  head.writeBigUInt64LE(BigInt(encoded.length), 24)
  const event = Buffer.concat([head, encoded])
  t.equal(eventWords(EV.EFI_BOOT_SERVICES_APPLICATION, event), devicePathText(path).slice(0, 120))
  const tag = Buffer.from('\x01\0\0\0\x0d\0\0\0Linux initrd\0', 'latin1')
  t.equal(eventWords(EV.EVENT_TAG, tag), 'Linux initrd')
  t.equal(eventWords(EV.IPL, Buffer.from('quiet\0', 'utf16le')), 'quiet')
})

t.test('what is malformed says nothing, or only its text', async (t) => {
  t.equal(eventWords(EV.EFI_VARIABLE_DRIVER_CONFIG, Buffer.from('text')), 'text')
  t.equal(eventWords(EV.EFI_GPT_EVENT, Buffer.alloc(92, 1)), '')
  t.equal(eventWords(EV.IPL, Buffer.from('\x1b[2J')), '')
})
