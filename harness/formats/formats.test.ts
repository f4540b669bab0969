import { crc32 } from 'node:zlib'
import t, { type Test } from 'tap'
import { type FormatCode, FormatError } from '../base/errors.ts'
import { encodeCpio } from './cpio.ts'
import { isElf, parseElfNeeds } from './elf.ts'
import { PARTITION_TYPES, parseGpt } from './gpt.ts'
import { parsePeSections, peSectionContent } from './pe.ts'

function rejects(t: Test, parse: () => unknown, code: FormatCode, field?: string): void {
  try {
    parse()
    t.fail(`accepted, FormatError ${code} is required`)
  } catch (error) {
    t.ok(error instanceof FormatError, String(error))
    t.match(error, field === undefined ? { code } : { code, field })
  }
}

/** Every shorter input must be refused as such; never another error, never an answer. */
function refusesTruncation(t: Test, bytes: Uint8Array, parse: (bytes: Uint8Array) => unknown): void {
  for (let length = 0; length < bytes.length; length++) {
    try {
      parse(bytes.subarray(0, length))
    } catch (error) {
      if (error instanceof FormatError) continue
      t.fail(`${length} bytes: ${error}`)
      continue
    }
    t.fail(`${length} of ${bytes.length} bytes were accepted`)
  }
}

// --- GPT ---

const ENTRIES_AT = 1024
const ENTRY_BYTES = 128
const ENTRY_COUNT = 4

/** The first sectors of a disk of 1000 sectors: an ESP, nothing, and a root called "root ünï". */
function gpt({ firstLba = 34, lastLba = 99 } = {}): Buffer {
  const disk = Buffer.alloc(ENTRIES_AT + ENTRY_COUNT * ENTRY_BYTES)
  const entry = (index: number, spec: { type: string; first: number; last: number; name: string }) => {
    const at = ENTRIES_AT + index * ENTRY_BYTES
    guidBytes(spec.type).copy(disk, at)
    guidBytes('00112233-4455-6677-8899-aabbccddeeff').copy(disk, at + 16)
    disk.writeBigUInt64LE(BigInt(spec.first), at + 32)
    disk.writeBigUInt64LE(BigInt(spec.last), at + 40)
    disk.write(spec.name, at + 56, 'utf16le')
  }
  entry(0, { type: PARTITION_TYPES.esp, first: firstLba, last: lastLba, name: 'esp' })
  entry(2, { type: PARTITION_TYPES.rootX64, first: 100, last: 900, name: 'root ünï' })
  disk.write('EFI PART', 512)
  disk.writeUInt32LE(92, 512 + 12)
  disk.writeBigUInt64LE(999n, 512 + 32)
  disk.writeBigUInt64LE(2n, 512 + 72)
  disk.writeUInt32LE(ENTRY_COUNT, 512 + 80)
  disk.writeUInt32LE(ENTRY_BYTES, 512 + 84)
  return sign(disk)
}

function sign(disk: Buffer): Buffer {
  disk.writeUInt32LE(crc32(disk.subarray(ENTRIES_AT)), 512 + 88)
  disk.writeUInt32LE(0, 512 + 16)
  disk.writeUInt32LE(crc32(disk.subarray(512, 512 + 92)), 512 + 16)
  return disk
}

function guidBytes(text: string): Buffer {
  const [a = '', b = '', c = '', d = '', e = ''] = text.split('-')
  const swapped = [a, b, c].map((group) => Buffer.from(group, 'hex').reverse())
  return Buffer.concat([...swapped, Buffer.from(d + e, 'hex')])
}

t.test('parseGpt gives numbers, labels and byte offsets, and skips unused entries', async (t) => {
  const { partitions, diskSize } = parseGpt(gpt())
  t.equal(diskSize, 1000 * 512)
  t.match(partitions, [
    { number: 1, type: PARTITION_TYPES.esp, label: 'esp', offset: 34 * 512, size: 66 * 512 },
    {
      number: 3,
      type: PARTITION_TYPES.rootX64,
      label: 'root ünï',
      guid: '00112233-4455-6677-8899-aabbccddeeff',
    },
  ])
})

t.test('parseGpt refuses what is no table, damaged or out of bounds', async (t) => {
  refusesTruncation(t, gpt(), parseGpt)
  rejects(t, () => parseGpt(Buffer.alloc(4096)), 'bad-magic', 'Signature')
  for (const at of [512 + 13, 512 + 40, ENTRIES_AT + 33, ENTRIES_AT + 3 * ENTRY_BYTES]) {
    const disk = gpt()
    disk.writeUInt8((disk.readUInt8(at) ^ 1) & 0xff, at)
    rejects(t, () => parseGpt(disk), 'bad-value')
  }
  rejects(t, () => parseGpt(gpt({ firstLba: 100, lastLba: 99 })), 'bad-value', 'EndingLBA')
  const many = gpt()
  many.writeUInt32LE(0xffffffff, 512 + 80)
  rejects(t, () => parseGpt(sign(many)), 'bad-value', 'NumberOfPartitionEntries')
  const far = gpt()
  far.writeBigUInt64LE(2n ** 63n, 512 + 72)
  rejects(t, () => parseGpt(sign(far)), 'too-large', 'PartitionEntryLBA')
})

// --- PE ---

/** Two sections: `.osrel` of 5 bytes padded to 16, `.cmdline` of 16. */
function pe(): Buffer {
  const file = Buffer.alloc(0x140)
  file.write('MZ')
  file.writeUInt32LE(0x40, 0x3c)
  file.write('PE\0\0', 0x40)
  file.writeUInt16LE(2, 0x46)
  file.writeUInt16LE(0x10, 0x54)
  const section = (at: number, spec: { name: string; virtualSize: number; offset: number }) => {
    file.write(spec.name, at)
    file.writeUInt32LE(spec.virtualSize, at + 8)
    file.writeUInt32LE(16, at + 16)
    file.writeUInt32LE(spec.offset, at + 20)
  }
  section(0x68, { name: '.osrel', virtualSize: 5, offset: 0x120 })
  section(0x90, { name: '.cmdline', virtualSize: 16, offset: 0x130 })
  file.write('ID=ab', 0x120)
  file.write('console=ttyS0 qu', 0x130)
  return file
}

t.test('parsePeSections and peSectionContent give names, places and unpadded content', async (t) => {
  t.same(parsePeSections(pe()), [
    { name: '.osrel', virtualSize: 5, size: 16, offset: 0x120 },
    { name: '.cmdline', virtualSize: 16, size: 16, offset: 0x130 },
  ])
  t.equal(Buffer.from(peSectionContent(pe(), '.osrel') ?? []).toString(), 'ID=ab')
  t.equal(peSectionContent(pe(), '.initrd'), undefined)
})

t.test('parsePeSections refuses what is no PE file or points outside of itself', async (t) => {
  refusesTruncation(t, pe(), parsePeSections)
  rejects(t, () => parsePeSections(Buffer.alloc(256)), 'bad-magic', 'e_magic')
  const signature = pe()
  signature.write('LE', 0x40)
  rejects(t, () => parsePeSections(signature), 'bad-magic', 'Signature')
  const many = pe()
  many.writeUInt16LE(97, 0x46)
  rejects(t, () => parsePeSections(many), 'too-large', 'NumberOfSections')
  const outside = pe()
  outside.writeUInt32LE(0x7fffffff, 0x68 + 20)
  rejects(t, () => parsePeSections(outside), 'truncated')
})

// --- ELF ---

function elf(): Buffer {
  const strings = '\0libc.so.6\0libcrypto.so.3\0'
  const file = Buffer.alloc(0x200 + strings.length)
  file.write('\x7fELF\x02\x01', 'latin1')
  file.writeBigUInt64LE(0x40n, 0x20)
  file.writeUInt16LE(3, 0x38)
  const segment = (index: number, spec: { type: number; offset: number; address: number; size: number }) => {
    const at = 0x40 + index * 56
    file.writeUInt32LE(spec.type, at)
    file.writeBigUInt64LE(BigInt(spec.offset), at + 8)
    file.writeBigUInt64LE(BigInt(spec.address), at + 16)
    file.writeBigUInt64LE(BigInt(spec.size), at + 32)
  }
  segment(0, { type: 1, offset: 0, address: 0x10000, size: file.length })
  segment(1, { type: 3, offset: 0x100, address: 0, size: 28 })
  segment(2, { type: 2, offset: 0x180, address: 0, size: 4 * 16 })
  file.write('/lib64/ld-linux-x86-64.so.2\0', 0x100)
  const dynamic = [
    [1, 1],
    [5, 0x10200],
    [1, 11],
    [0, 0],
  ] as const
  for (const [index, [tag, value]] of dynamic.entries()) {
    file.writeBigUInt64LE(BigInt(tag), 0x180 + index * 16)
    file.writeBigUInt64LE(BigInt(value), 0x188 + index * 16)
  }
  file.write(strings, 0x200, 'latin1')
  return file
}

t.test('parseElfNeeds gives the interpreter and the libraries', async (t) => {
  t.same(parseElfNeeds(elf()), {
    interpreter: '/lib64/ld-linux-x86-64.so.2',
    libraries: ['libc.so.6', 'libcrypto.so.3'],
  })
  t.ok(isElf(elf()))
  t.notOk(isElf(Buffer.from('#!/bin/sh')))
})

t.test('parseElfNeeds refuses other files and pointers that lead outside', async (t) => {
  rejects(t, () => parseElfNeeds(Buffer.from('#!/bin/sh\n')), 'bad-magic')
  const narrow = elf()
  narrow.writeUInt8(1, 4)
  rejects(t, () => parseElfNeeds(narrow), 'bad-value', 'EI_CLASS')
  const lost = elf()
  lost.writeBigUInt64LE(0x99999n, 0x180 + 16 + 8)
  rejects(t, () => parseElfNeeds(lost), 'bad-value', 'DT_STRTAB')
  for (let length = 0; length < 0x200; length++) {
    try {
      parseElfNeeds(elf().subarray(0, length))
      t.fail(`${length} bytes were accepted`)
    } catch (error) {
      if (!(error instanceof FormatError)) t.fail(`${length} bytes: ${error}`)
    }
  }
})

// --- cpio ---

/** What the archive says, read by the letter of the format. */
function listCpio(archive: Buffer): { name: string; mode: string; content: string }[] {
  const entries = []
  for (let at = 0; at < archive.length; ) {
    const field = (index: number) =>
      Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16)
    const nameAt = at + 110
    const name = archive.toString('utf8', nameAt, nameAt + field(11) - 1)
    const contentAt = (nameAt + field(11) + 3) & ~3
    const content = archive.toString('utf8', contentAt, contentAt + field(6))
    if (archive.toString('latin1', at, at + 6) !== '070701') throw new Error(`no magic at ${at}`)
    entries.push({ name, mode: field(1).toString(8), content })
    at = (contentAt + field(6) + 3) & ~3
  }
  return entries
}

t.test('encodeCpio sorts, adds parent directories and ends with the trailer', async (t) => {
  const archive = encodeCpio([
    { kind: 'link', path: 'lib', target: 'usr/lib' },
    { kind: 'file', path: 'usr/bin/tool', mode: 0o755, content: Buffer.from('abc') },
    { kind: 'file', path: 'etc/ü', content: Buffer.from('') },
  ])
  t.equal(archive.length % 4, 0)
  t.same(listCpio(archive), [
    { name: 'etc', mode: '40755', content: '' },
    { name: 'etc/ü', mode: '100644', content: '' },
    { name: 'lib', mode: '120777', content: 'usr/lib' },
    { name: 'usr', mode: '40755', content: '' },
    { name: 'usr/bin', mode: '40755', content: '' },
    { name: 'usr/bin/tool', mode: '100755', content: 'abc' },
    { name: 'TRAILER!!!', mode: '0', content: '' },
  ])
})

t.test('encodeCpio gives equal bytes for equal entries in any order, the later of two winning', async (t) => {
  const a = { kind: 'file', path: 'a', content: Buffer.from('1') } as const
  const b = { kind: 'directory', path: 'b', mode: 0o700 } as const
  t.ok(encodeCpio([a, b]).equals(encodeCpio([b, a])))
  const later = { ...a, content: Buffer.from('2') }
  t.ok(encodeCpio([a, later]).equals(encodeCpio([later])))
})
