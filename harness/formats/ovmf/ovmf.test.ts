import fc from 'fast-check'
import t, { type Test } from 'tap'
import { FormatError } from '../../base/errors.ts'
import {
  guidedTable,
  SYNTHETIC_SEV,
  type SyntheticOvmfOptions,
  syntheticOvmf,
  syntheticTdvf,
} from '../testing/synthetic-ovmf.ts'
import { type OvmfFirmware, parseOvmf, resetAddressOf } from './firmware.ts'

const SIZE = 0x10000
const VARIABLES = 0x2000
const SMALL: SyntheticOvmfOptions = { size: SIZE, variablesSize: VARIABLES }
const rom = syntheticOvmf(SMALL)

/** Everything that any launch reads. */
function readAll(file: Uint8Array): OvmfFirmware {
  const firmware = parseOvmf(file)
  firmware.sevSections()
  firmware.tdvfSections()
  return firmware
}

/** A FormatError whose field matches, with an offset inside the file or at its end. */
function refuses(t: Test, file: Uint8Array, field: RegExp, read: (file: Uint8Array) => unknown = readAll) {
  try {
    read(file)
    t.fail(`accepted, although wrong in ${field}`)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    t.match(error.field, field, error.message)
    t.ok(error.offset >= 0 && error.offset <= file.length, `${error.message}: offset`)
  }
}

t.test('the tables of a ROM', async (t) => {
  const firmware = readAll(rom)
  t.match(firmware, {
    rom: { gpa: 2 ** 32 - SIZE, size: SIZE },
    resetAddress: 0x80b004,
    hashesTable: { gpa: 0x810c00, size: 0x400 },
    secretArea: { gpa: 0x810000, size: 0xc00 },
  })
  const types = ['sec-mem', 'sec-mem', 'secrets', 'cpuid', 'svsm-caa', 'sec-mem', 'kernel-hashes']
  t.same(
    firmware.sevSections(),
    SYNTHETIC_SEV.map(({ gpa, size }, index) => ({ gpa, size, type: types[index] })),
    "in the file's order",
  )
  t.same(
    firmware.tdvfSections().map(({ type, extended }) => `${type} ${extended}`),
    ['bfv true', 'cfv false', 'temp-mem false', 'temp-mem false', 'td-hob false', 'temp-mem false'],
  )
})

t.test('a build that lacks a technology is refused only for it', async (t) => {
  const plain = syntheticOvmf({ ...SMALL, sev: 'none', tdvf: 'none', hashesTable: { gpa: 0, size: 0 } })
  const firmware = parseOvmf(plain)
  t.equal(firmware.hashesTable, undefined)
  t.throws(() => firmware.sevSections(), { name: 'FormatError', message: /not made for SNP/ })
  t.throws(() => firmware.tdvfSections(), { name: 'FormatError', message: /not made for TDX/ })
  const noReset = parseOvmf(syntheticOvmf({ ...SMALL, resetAddress: 0 }))
  t.throws(() => resetAddressOf(noReset), { name: 'FormatError', field: 'SEV-ES reset address' })
})

t.test('the code alone is right for SEV, and refused for SNP and TDX', async (t) => {
  const code = rom.subarray(VARIABLES)
  t.ok(parseOvmf(code))
  refuses(t, code, /FileSystemGuid/, (file) => parseOvmf(file).sevSections())
  refuses(t, code, /DataOffset/, (file) => parseOvmf(file).tdvfSections())
})

t.test('a truncated ROM is refused, wherever it was cut', async (t) => {
  for (let length = 0; length < rom.length; length += length % 0x1000 < 0x40 ? 1 : 0x3f)
    refuses(t, rom.subarray(0, length), /^(file|footer GUID)$/)
  for (let start = 0x1000; start < rom.length; start += 0x1000) {
    refuses(t, rom.subarray(start), /volume|FileSystemGuid|DataOffset/, (file) =>
      parseOvmf(file).sevSections(),
    )
    refuses(t, rom.subarray(start), /DataOffset/, (file) => parseOvmf(file).tdvfSections())
  }
  const gap = Buffer.concat([rom.subarray(0, 0x4000), rom.subarray(0x6000)])
  refuses(t, gap, /FvLength/, (file) => parseOvmf(file).sevSections())
})

/** Changes of single fields: [offset from the end of the file, little-endian value, bytes, expected field]. */
function refusesChange(t: Test, at: number, value: number, length: number, field: RegExp): void {
  const file = Buffer.from(rom)
  file.writeUIntLE(value, at, length)
  refuses(t, file, field)
}

t.test('a GUIDed table that is malformed, points outside or loops is refused', async (t) => {
  const footer = SIZE - 32 - 18
  for (const length of [0, 1, 17, 19, 0xffff])
    refusesChange(t, footer, length, 2, /table length|entry length/)
  const lastEntry = footer - 18
  for (const length of [0, 17, 0xffff]) refusesChange(t, lastEntry, length, 2, /entry length/)
  const twice = guidedTable([
    ['00f771de-1a7e-4fcb-890e-68c77e2fb44e', Buffer.alloc(4)],
    ['00f771de-1a7e-4fcb-890e-68c77e2fb44e', Buffer.alloc(4)],
  ])
  const file = Buffer.alloc(SIZE)
  file.set(twice, SIZE - 32 - twice.length)
  refuses(t, file, /entry GUID/)
  const short = guidedTable([['00f771de-1a7e-4fcb-890e-68c77e2fb44e', Buffer.alloc(3)]])
  file.set(short, SIZE - 32 - short.length)
  refuses(t, file, /SEV-ES reset address/)
})

t.test('metadata tables: header fields', async (t) => {
  for (const [at, name] of [
    [SIZE - 0x800, 'SEV'],
    [SIZE - 0x600, 'TDVF'],
  ] as const) {
    refusesChange(t, at, 0, 4, new RegExp(`${name} metadata signature`))
    for (const length of [0, 16, 0xffff_ffff])
      refusesChange(t, at + 4, length, 4, new RegExp(`${name} metadata length`))
    for (const version of [0, 2]) refusesChange(t, at + 8, version, 4, new RegExp(`${name} metadata version`))
    for (const count of [0, 65, 0xffff_ffff])
      refusesChange(t, at + 12, count, 4, new RegExp(`${name} metadata section count`))
    refusesChange(t, at + 12, 5, 4, new RegExp(`${name} metadata length`))
    const offset = rom.lastIndexOf(Buffer.from([...u32(SIZE - at)]))
    for (const distance of [0, 15, SIZE + 1, 0xffff_ffff])
      refusesChange(t, offset, distance, 4, new RegExp(`${name} metadata`))
  }
})

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

t.test('SEV sections that no VMM could launch', async (t) => {
  const [first, second, secrets, cpuid, ...rest] = SYNTHETIC_SEV
  if (!first || !second || !secrets || !cpuid) return
  const wrong = [
    [{ ...first, size: 0 }, /section 0 size/],
    [{ ...first, gpa: 0, size: 0 }, /section 0 size/],
    [{ ...first, size: 0x800 }, /section 0 size/],
    [{ ...first, gpa: 0x800800 }, /section 0 gpa/],
    [{ ...first, gpa: 0xffff_f000, size: 0x2000 }, /section 0 size/],
    [{ ...first, size: 0xffff_f000 }, /section 0 size/],
    [{ ...first, size: 0x5000_0000 }, /SEV section/],
    [{ ...first, gpa: 2 ** 32 - SIZE, size: 0x1000 }, /section 0/],
    [{ ...first, size: 0xb000 }, /section 1/],
    [{ ...first, type: 5 }, /section 0 type/],
    [{ ...first, type: 0 }, /section 0 type/],
    [{ ...first, type: 2 }, /section 0 size/],
    [{ ...first, type: 2, size: 0x1000 }, /section 2/],
  ] as const
  for (const [section, field] of wrong)
    refuses(t, syntheticOvmf({ ...SMALL, sev: [section, second, secrets, cpuid, ...rest] }), field)
  refuses(t, syntheticOvmf({ ...SMALL, sev: [{ ...first, gpa: 0x1000_0000, size: 0x400_1000 }] }), /sections/)
})

t.test('TDVF sections that no VMM could launch', async (t) => {
  const [bfv, cfv, memory, ...rest] = syntheticTdvf(SIZE, VARIABLES)
  if (!bfv || !cfv || !memory) return
  const wrong = [
    [{ ...memory, size: 0 }, /MemoryDataSize/],
    [{ ...memory, size: 0x800 }, /MemoryDataSize/],
    [{ ...memory, gpa: 0x800_0800 }, /MemoryAddress/],
    [{ ...memory, gpa: 2 ** 32, size: 0x1000 }, /MemoryDataSize/],
    [{ ...memory, gpa: 0x80b000 }, /section/],
    [{ ...memory, type: 4 }, /Type/],
    [{ ...memory, type: 2 }, /sections/],
    [{ ...memory, dataSize: 0x1000 }, /RawDataSize/],
    [{ ...memory, attributes: 4 }, /Attributes/],
    [{ ...memory, attributes: 3 }, /Attributes/],
  ] as const
  for (const [section, field] of wrong)
    refuses(t, syntheticOvmf({ ...SMALL, tdvf: [bfv, cfv, section, ...rest] }), field)
  refuses(t, syntheticOvmf({ ...SMALL, tdvf: [cfv, memory, ...rest] }), /sections/)
  refuses(t, syntheticOvmf({ ...SMALL, tdvf: [{ ...bfv, dataSize: 0 }, cfv] }), /RawDataSize/)
  refuses(t, syntheticOvmf({ ...SMALL, tdvf: [{ ...bfv, dataSize: SIZE }, cfv] }), /DataOffset/)
  const small = { ...bfv, size: 0x1000 }
  refuses(t, syntheticOvmf({ ...SMALL, tdvf: [small, cfv] }), /RawDataSize/)
  refuses(t, syntheticOvmf({ ...SMALL, tdvf: [{ ...bfv, dataOffset: VARIABLES + 1 }, cfv] }), /DataOffset/)
})

t.test('areas that are half zero or past 4 GiB are refused', async (t) => {
  for (const hashesTable of [
    { gpa: 0x1000, size: 0 },
    { gpa: 0, size: 0x400 },
    { gpa: 0xffff_ff00, size: 0x400 },
  ])
    refuses(t, syntheticOvmf({ ...SMALL, hashesTable }), /hashes table area/)
})

t.test('every bit of the tables, flipped: refused, or read as what it now says', async (t) => {
  const file = syntheticOvmf({ size: 0x4000, variablesSize: 0x1000 })
  const original = outcome(file)
  t.ok(original.startsWith('{'))
  for (let at = file.length - 0x800; at < file.length - 32; at++) {
    const byte = file[at] ?? 0
    // Erased bytes between the tables say nothing.
    if (byte === 0xff) continue
    for (let bit = 0; bit < 8; bit++) {
      file[at] = byte ^ (1 << bit)
      if (outcome(file) === original) t.fail(`0x${at.toString(16)} bit ${bit} is ignored`)
    }
    file[at] = byte
  }
  t.equal(outcome(file), original)
})

function summary({ file: _, sevSections, tdvfSections, ...tables }: OvmfFirmware): object {
  return { ...tables, sev: sevSections(), tdvf: tdvfSections() }
}

function outcome(file: Uint8Array): string {
  try {
    return JSON.stringify(summary(readAll(file)))
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    return error.code
  }
}

t.test('arbitrary damage: a FormatError or sections that could be launched, and nothing else', async (t) => {
  const damage = fc.array(
    fc.record({
      at: fc.integer({ min: 0, max: 0x7ff }),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }),
    }),
    { minLength: 1, maxLength: 6 },
  )
  fc.assert(
    fc.property(damage, (changes) => {
      const file = Buffer.from(rom)
      for (const { at, bytes } of changes) file.set(bytes.subarray(0, 0x800 - at), SIZE - 0x800 + at)
      expectLaunchable(file)
    }),
    { numRuns: 2000 },
  )
  fc.assert(fc.property(fc.uint8Array({ maxLength: 0x3000 }), expectLaunchable), { numRuns: 300 })
  t.pass()
})

function expectLaunchable(file: Uint8Array): void {
  try {
    const firmware = readAll(file)
    const areas = [firmware.rom, ...firmware.sevSections()].sort((a, b) => a.gpa - b.gpa)
    for (const [index, { gpa, size }] of areas.entries()) {
      const next = areas[index + 1]?.gpa ?? 2 ** 32
      if (size <= 0 || gpa % 0x1000 !== 0 || size % 0x1000 !== 0 || gpa + size > next)
        throw new Error(`accepted 0x${gpa.toString(16)}+0x${size.toString(16)}`)
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
  }
}
