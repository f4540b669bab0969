/** Digests are computed here from what shim's sources say (tpm.c, mok.c, sbat.c), over a shim made byte by byte. */
import t from 'tap'
import { digest } from '../../base/digest.ts'
import { authenticodeDigest } from '../../formats/authenticode.ts'
import { guidBytes } from '../../formats/guid.ts'
import { parseShim, SHIM_LOCK } from '../../formats/shim.ts'
import { encodeSignatureLists, SIGNATURE_TYPES } from '../../formats/signature-list.ts'
import { compressedFirmware } from '../../formats/testing/firmware-volume.ts'
import { PE_LAYOUT, syntheticPe } from '../../formats/testing/pe-file.ts'
import { type FlashRecord, variableFlash } from '../../formats/testing/variable-flash.ts'
import { predictTpm } from './boot.ts'
import { eventDigest } from './event.ts'
import { parseFirmwareCode } from './firmware-code.ts'

const LEVEL = 'sbat,1,2025021800\nshim,4\n'
const VENDOR = Buffer.from('300101', 'hex')
const NAMES = Buffer.from('\0\0\0\0.sbatlevel\0.vendor_cert\0', 'latin1')

function littleEndian(...words: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * words.length)
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, 4 * index)
  return bytes
}

/** The string table is the last thing in the file; there are no symbols. */
function shimFile(vendorDenied: Uint8Array = new Uint8Array()): Buffer {
  const levels = Buffer.from(`${LEVEL}\0latest\0`)
  const certificates = littleEndian(VENDOR.length, vendorDenied.length, 16, 16 + VENDOR.length)
  const file = syntheticPe({
    sections: [
      { name: '/4', content: Buffer.concat([littleEndian(0, 8, 8 + LEVEL.length + 1), levels]) },
      { name: '/15', content: Buffer.concat([certificates, VENDOR, vendorDenied]) },
    ],
    tail: NAMES,
  })
  file.writeUInt32LE(file.length - NAMES.length, PE_LAYOUT.peAt + 4 + 8)
  return file
}

const listOf = (type: string, owner: string, data: Uint8Array) =>
  encodeSignatureLists([{ type, header: Buffer.alloc(0), signatures: [{ owner, data }] }])
const OWNER = '11111111-2222-3333-4444-555555555555'
const SHIM = shimFile()
const UKI = syntheticPe({ sections: [{ name: '.linux', content: Buffer.from('kernel') }] })
const DIGEST = authenticodeDigest(UKI, 'sha256')
const MOK: FlashRecord = {
  ...{ name: 'MokList', guid: SHIM_LOCK, data: listOf(SIGNATURE_TYPES.sha256, OWNER, DIGEST) },
}

const plain = parseFirmwareCode(compressedFirmware())
const FIRMWARE = {
  ...{ ...plain, version: Buffer.from('v\0', 'utf16le') },
  features: { ...plain.features, secureBoot: true },
}

function predict(records: readonly FlashRecord[], shim = SHIM) {
  const db = listOf(SIGNATURE_TYPES.sha256, OWNER, authenticodeDigest(shim, 'sha256'))
  const variables = variableFlash([
    { name: 'PK', data: Buffer.from('key') },
    { name: 'db', guid: 'd719b2cb-3d3a-4596-a3bc-dad00e67656f', data: db },
    ...records,
  ])
  return predictTpm({ firmware: FIRMWARE, variables, uki: UKI, shim })
}

function digestsOf({ events }: ReturnType<typeof predict>, pcr: number) {
  return events
    .filter((event) => event.pcr === pcr)
    .map((event) => eventDigest(event, 'sha256')?.toString('hex'))
}

const sha256 = (...parts: readonly (string | Uint8Array)[]) => digest('sha256', ...parts).toString('hex')

/** UEFI_VARIABLE_DATA, by hand. */
function variable(name: string, data: Uint8Array): Buffer {
  const lengths = Buffer.alloc(16)
  lengths.writeUInt32LE(name.length)
  lengths.writeUInt32LE(data.length, 8)
  return Buffer.concat([guidBytes(SHIM_LOCK), lengths, Buffer.from(name, 'utf16le'), data])
}

t.test('what shim carries is found by the long names of its sections', async (t) => {
  const { automaticSbatLevel, vendorAuthorized, vendorDenied } = parseShim(shimFile(Buffer.from('dbx')))
  t.equal(Buffer.from(automaticSbatLevel).toString(), LEVEL)
  t.strictSame(Buffer.from(vendorAuthorized), VENDOR)
  t.equal(Buffer.from(vendorDenied).toString(), 'dbx')
})

t.test('a shim that is cut off anywhere, or is none, is a FormatError', async (t) => {
  // The names need their last NUL; behind it there is nothing.
  for (let length = 0; length < SHIM.length; length++)
    t.throws(() => parseShim(SHIM.subarray(0, length)), { name: 'FormatError' }, `${length} bytes`)
  t.throws(() => parseShim(UKI), { name: 'FormatError', field: '.vendor_cert' })
})

t.test('PCR 14 has the vendor and the owner, the denied, and the default trust', async (t) => {
  const vendor = listOf(SIGNATURE_TYPES.x509, SHIM_LOCK, VENDOR)
  const nobody = listOf(SIGNATURE_TYPES.sha256, SHIM_LOCK, Buffer.alloc(32))
  t.strictSame(digestsOf(predict([MOK]), 14), [sha256(vendor, MOK.data), sha256(nobody), sha256('\x01')])
  const denying = listOf(SIGNATURE_TYPES.sha256, SHIM_LOCK, Buffer.alloc(32, 1))
  t.equal(digestsOf(predict([MOK], shimFile(denying)), 14)[1], sha256(denying))
})

t.test('PCR 7 has the level, then the entry of MokList; PCR 4 has shim, then the UKI', async (t) => {
  const prediction = predict([MOK])
  t.equal(prediction.refused, undefined)
  const entry = Buffer.concat([guidBytes(OWNER), DIGEST])
  t.strictSame(digestsOf(prediction, 7).slice(-2), [
    sha256(variable('SbatLevel', Buffer.from(LEVEL))),
    sha256(variable('MokListRT', entry)),
  ])
  t.strictSame(digestsOf(prediction, 4).slice(-2), [
    authenticodeDigest(SHIM, 'sha256').toString('hex'),
    DIGEST.toString('hex'),
  ])
})

t.test('a later level in the store stays, an earlier one does not', async (t) => {
  const level = (date: string) => {
    const data = Buffer.from(`sbat,1,${date}\n`)
    return digestsOf(predict([MOK, { name: 'SbatLevel', guid: SHIM_LOCK, data }]), 7).at(-2)
  }
  t.equal(level('2030010100'), sha256(variable('SbatLevel', Buffer.from('sbat,1,2030010100\n'))))
  t.equal(level('2021030218'), sha256(variable('SbatLevel', Buffer.from(LEVEL))))
})

t.test('shim refuses what is in no list, and what is in MokListX, and measures neither', async (t) => {
  const denied: FlashRecord = { ...MOK, name: 'MokListX' }
  for (const records of [[], [MOK, denied]]) {
    const prediction = predict(records)
    t.equal(prediction.refusedBy, 'shim')
    t.notOk(prediction.events.some(({ what }) => what === 'UKI'))
    t.match(prediction.registers('sha256')[4], { known: false, reasons: [/^shim refuses the UKI: /] })
  }
})

t.test(
  'where a variable changes what shim does, its registers are unknown and name the variable',
  async (t) => {
    const registers = predict([MOK, { name: 'MokSBState', guid: SHIM_LOCK, data: Buffer.of(1) }]).registers(
      'sha256',
    )
    for (const index of [4, 7, 14]) t.match(registers[index], { known: false, reasons: [/MokSBState/] })
  },
)
