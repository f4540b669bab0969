/** PE headers, Authenticode, UKI sections, and the volumes that firmware decompresses. */
import { createHash } from 'node:crypto'
import t from 'tap'
import { refuses, refusesTruncation, survivesChangedBytes } from '../base/testing/refusals.ts'
import { authenticodeDigest, authenticodeSignatures } from './authenticode.ts'
import { parseAuthenticodeSignature } from './authenticode-signature.ts'
import { decompressLzma } from './lzma.ts'
import { compressedVolumes, volumeFiles } from './ovmf/volume-files.ts'
import { parsePeHeaders } from './pe.ts'
import { compressedFirmware, volume } from './testing/firmware-volume.ts'
import { PE_LAYOUT, type SyntheticSection, syntheticPe } from './testing/pe-file.ts'
import { parseUki, ukiSection } from './uki.ts'

const section = (name: string, text: string, virtualSize?: number): SyntheticSection => ({
  ...{ name, content: Buffer.from(text) },
  ...(virtualSize !== undefined && { virtualSize }),
})
const SMALL = {
  sections: [section('.text', 'code'), section('.data', 'data of the program')],
  signatures: [Buffer.from('first signature'), Buffer.from('second')],
  tail: Buffer.from('tail'),
}

t.test('headers say where what a signature leaves out is', async (t) => {
  const headers = parsePeHeaders(syntheticPe(SMALL))
  t.match(headers, {
    ...{ format: 'PE32+', machine: 0x8664, imageBase: 0x1_4000_0000n, sizeOfImage: 0x10_0000 },
    ...{ checkSumAt: PE_LAYOUT.checkSumAt, securityEntryAt: PE_LAYOUT.securityEntryAt },
  })
  t.equal(parsePeHeaders(syntheticPe({ sections: [] })).certificates, undefined)
})

t.test(
  'the Authenticode digest leaves out check sum, security entry and certificates, and nothing else',
  async (t) => {
    const file = syntheticPe(SMALL)
    const { certificates, checkSumAt } = parsePeHeaders(file)
    const expected = createHash('sha256')
      .update(file.subarray(0, checkSumAt))
      .update(file.subarray(checkSumAt + 4, PE_LAYOUT.securityEntryAt))
      .update(file.subarray(PE_LAYOUT.securityEntryAt + 8, certificates?.offset))
      .digest('hex')
    t.equal(authenticodeDigest(file, 'sha256').toString('hex'), expected)
    const left = new Set<number>()
    for (let at = 0; at < file.length; at++) {
      const changed = Buffer.from(file)
      changed[at] = (changed[at] ?? 0) ^ 0xff
      try {
        if (authenticodeDigest(changed, 'sha256').toString('hex') === expected) left.add(at)
      } catch {
        // A header that no longer parses is no digest either.
      }
    }
    const certificateBytes = Array.from(
      { length: certificates?.size ?? 0 },
      (_, index) => file.length - 1 - index,
    )
    t.ok(
      certificateBytes.every((at) => left.has(at)),
      'certificates',
    )
    t.ok(
      [0, 1, 2, 3].every((index) => left.has(checkSumAt + index)),
      'check sum',
    )
    const others = [...left].filter(
      (at) => !certificateBytes.includes(at) && (at < checkSumAt || at >= checkSumAt + 4),
    )
    // The address of the certificates is left out; their size decides what is covered.
    t.ok(
      others.every((at) => at >= PE_LAYOUT.securityEntryAt && at < PE_LAYOUT.securityEntryAt + 8),
      String(others),
    )
  },
)

t.test('sections count in the order of their place in the file', async (t) => {
  const file = syntheticPe({ sections: SMALL.sections })
  const swapped = Buffer.from(file)
  const [first, second] = [0, 1].map((index) => {
    const at = PE_LAYOUT.sectionsAt + index * 40
    return file.subarray(at, at + 40)
  })
  swapped.set(second ?? [], PE_LAYOUT.sectionsAt)
  swapped.set(first ?? [], PE_LAYOUT.sectionsAt + 40)
  const header = (bytes: Buffer) => bytes.subarray(0, parsePeHeaders(bytes).sizeOfHeaders)
  const body = file.subarray(header(file).length)
  const expected = createHash('sha256')
  const { checkSumAt, securityEntryAt } = PE_LAYOUT
  expected.update(swapped.subarray(0, checkSumAt)).update(swapped.subarray(checkSumAt + 4, securityEntryAt))
  expected.update(swapped.subarray(securityEntryAt + 8, header(swapped).length)).update(body)
  t.equal(authenticodeDigest(swapped, 'sha256').toString('hex'), expected.digest('hex'))
})

t.test('signatures are those of the table, in its order', async (t) => {
  const texts = authenticodeSignatures(syntheticPe(SMALL)).map((each) => Buffer.from(each).toString())
  t.strictSame(texts, ['first signature', 'second'])
  t.strictSame(authenticodeSignatures(syntheticPe({ sections: [] })), [])
  const broken = syntheticPe(SMALL)
  broken.writeUInt32LE(4, parsePeHeaders(broken).certificates?.offset ?? 0)
  refuses(t, () => authenticodeSignatures(broken), 'bad-value', 'dwLength')
})

t.test('an image whose parts do not fit each other is refused', async (t) => {
  const file = syntheticPe(SMALL)
  refusesTruncation(t, file, (bytes) => authenticodeDigest(bytes, 'sha256'))
  survivesChangedBytes(t, file.subarray(0), (bytes) => {
    authenticodeDigest(bytes, 'sha256')
    authenticodeSignatures(bytes)
    parseUki(bytes)
  })
  const greedy = Buffer.from(file)
  greedy.writeUInt32LE(file.length - 8, PE_LAYOUT.securityEntryAt + 4)
  greedy.writeUInt32LE(8, PE_LAYOUT.securityEntryAt)
  refuses(t, () => authenticodeDigest(greedy, 'sha256'), 'bad-value', 'CertificateTable')
  const short = Buffer.from(file)
  short.writeUInt32LE(PE_LAYOUT.securityEntryAt, PE_LAYOUT.optionalAt + 60)
  refuses(t, () => authenticodeDigest(short, 'sha256'), 'bad-value', 'SizeOfHeaders')
  const huge = Buffer.from(file)
  huge.writeUInt32LE(0x8000_0000, PE_LAYOUT.optionalAt + 56)
  refuses(t, () => parsePeHeaders(huge), 'too-large', 'SizeOfImage')
  const wrong = Buffer.from(file)
  wrong.writeUInt16LE(0x107, PE_LAYOUT.optionalAt)
  refuses(t, () => parsePeHeaders(wrong), 'bad-magic', 'Magic')
})

t.test('what is no SignedData over an image is refused as a signature', async (t) => {
  refuses(t, () => parseAuthenticodeSignature(Buffer.from('3000', 'hex')), 'truncated')
  refuses(
    t,
    () => parseAuthenticodeSignature(Buffer.from('300b06092a864886f70d010703', 'hex')),
    'bad-value',
    'contentType',
  )
})

// --- UKI ---

const MULTI = syntheticPe({
  sections: [
    ...[section('.cmdline', 'base'), section('.linux', 'kernel'), section('.osrel', 'ID=a\0\0\0', 4)],
    ...[section('.osrel', 'second'), section('.initrd', ''), section('.sbat', 'sbat', 6)],
    ...[section('.profile', 'ID=main'), section('.profile', 'ID=rescue'), section('.cmdline', 'rescue')],
    section('.dtbauto', 'tree'),
  ],
})

t.test('sections come in the measured order, as they are in memory, the first of a name', async (t) => {
  const uki = parseUki(MULTI)
  const texts = uki.sections.map(({ name, content }) => [name, Buffer.from(content).toString('latin1')])
  t.strictSame(texts, [
    ...[
      ['.linux', 'kernel'],
      ['.osrel', 'ID=a'],
      ['.cmdline', 'base'],
      ['.sbat', 'sbat\0\0'],
    ],
    ['.profile', 'ID=main'],
  ])
  t.equal(uki.profiles, 2)
})

t.test('a profile puts its sections in the place of the base', async (t) => {
  const uki = parseUki(MULTI, { profile: 1 })
  t.equal(Buffer.from(ukiSection(uki, '.cmdline') ?? []).toString(), 'rescue')
  t.equal(Buffer.from(ukiSection(uki, '.profile') ?? []).toString(), 'ID=rescue')
  t.equal(Buffer.from(ukiSection(uki, '.linux') ?? []).toString(), 'kernel')
  t.strictSame(uki.byHardware, ['.dtbauto'], 'what hardware chooses is named, not guessed')
  t.equal(Buffer.from(ukiSection(parseUki(MULTI, { profile: 7 }), '.cmdline') ?? []).toString(), 'base')
})

t.test('a section that asks for more zeros than any image has is refused', async (t) => {
  const greedy = syntheticPe({ sections: [section('.linux', 'kernel', 0xffff_ffff)] })
  refuses(t, () => parseUki(greedy), 'too-large')
})

// --- LZMA and firmware volumes ---

/** By liblzma (Python's lzma module), with the size in the header: text, counting bytes, zeros, and text again. */
const PLAIN = Buffer.concat([
  Buffer.from('attestbed measures what it decompresses; '.repeat(6)),
  Buffer.from(Array.from({ length: 64 }, (_, index) => index)),
  ...[Buffer.alloc(300), Buffer.from('attestbed measures')],
])
const COMPRESSED = {
  'lc 3, lp 0, pb 2': Buffer.from(
    '5d00000100740200000000000000309d2cca758fb7a5f0b23b1cd4c5125119590c55c1012144473103815838fd1a433fba45f525adb168eb' +
      '3021b51e1dfa6827a3b983a562eec71f134b94df003048bc49384bd36165b79e8b5e29ade27df951ea1ccdad6817f1d629e189381154ed7b' +
      'cb13ead4229c172dc50faa3a14c9291fff33912000',
    'hex',
  ),
  'lc 1, lp 2, pb 0': Buffer.from(
    '1300000100740200000000000000309e1747d01e27e4dd95910f12d265a88469d294667f4e76f605348108e525c4c06ea2018676cf206538' +
      '149d41c79deb14d5443619094a7c4b761debae534dd755d7b71fc28cd866b738b14a8c8ce3136003800ac15a714337ac96c17f914535adb5' +
      'db43a884ae332bf22624fcfd5d3218309d8453e3ffc050a800',
    'hex',
  ),
}

for (const [name, stream] of Object.entries(COMPRESSED))
  t.test(`LZMA with ${name} gives what liblzma compressed`, async (t) => {
    t.strictSame(decompressLzma(stream), PLAIN)
    survivesChangedBytes(t, stream, decompressLzma)
    // The last bytes only flush the coder: nothing is missing without them.
    refusesTruncation(t, stream.subarray(0, stream.length - 6), decompressLzma)
  })

t.test('an LZMA stream that does not say its size, or too large a one, is refused', async (t) => {
  const stream = Buffer.from(COMPRESSED['lc 3, lp 0, pb 2'])
  stream.fill(0xff, 5, 13)
  refuses(t, () => decompressLzma(stream), 'too-large', 'uncompressed size')
  const properties = Buffer.from(COMPRESSED['lc 3, lp 0, pb 2'])
  properties[0] = 225
  refuses(t, () => decompressLzma(properties), 'bad-value', 'properties')
})

t.test('compressed volumes are found in the flash, with their files', async (t) => {
  const firmware = compressedFirmware()
  const [inner, ...more] = compressedVolumes(firmware)
  t.strictSame(inner, volume([{ guid: '11111111-2222-3333-4444-555555555555', text: 'program' }]))
  t.equal(more.length, 0)
  const [file] = volumeFiles(inner ?? Buffer.alloc(0))
  t.equal(file?.guid, '11111111-2222-3333-4444-555555555555')
  t.equal(Buffer.from(file?.sections[0]?.content ?? []).toString(), 'program')
  t.strictSame(compressedVolumes(Buffer.alloc(0x3000)), [], 'flash without volumes')
})

t.test('volumes, files and sections that reach outside of what holds them are refused', async (t) => {
  const inner = volume([{ guid: '11111111-2222-3333-4444-555555555555', text: 'program' }])
  survivesChangedBytes(t, inner.subarray(0, 0x100), (bytes) =>
    volumeFiles(Buffer.concat([bytes, inner.subarray(0x100)])),
  )
  const firmware = compressedFirmware()
  firmware.writeBigUInt64LE(0x10_0000n, 32)
  refuses(t, () => compressedVolumes(firmware), 'truncated', 'firmware volume')
  firmware.writeBigUInt64LE(0n, 32)
  refuses(t, () => compressedVolumes(firmware), 'bad-value', 'FvLength')
})
