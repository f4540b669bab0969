/** Recordings, byte by byte: what is read of them, and what is refused. */
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { FormatError } from '../base/errors.ts'
import type { Launch } from './launch.ts'
import { launchOf } from './launch-of.ts'
import { parseRecording } from './recording.ts'
import {
  encodeRecording,
  GPA_UNKNOWN,
  KIND,
  resetSystemRegisters,
  SET_REGS,
  SET_SREGS2,
  SEV_ES_RECORDS,
  SNP_RECORDS,
  type SyntheticRecord,
  TDX_RECORDS,
} from './testing/synthetic-recording.ts'

const read = (records: readonly SyntheticRecord[]): Launch =>
  launchOf(parseRecording(encodeRecording(records)))
const digestOf = (records: readonly SyntheticRecord[]): string => read(records).digest.toString('hex')

function thrownBy(action: () => unknown): unknown {
  try {
    action()
    return undefined
  } catch (error) {
    return error
  }
}

const refused = (records: readonly SyntheticRecord[], t: Test, field: string): void => {
  t.match(
    thrownBy(() => read(records)),
    { name: 'FormatError', field },
    field,
  )
}

const STREAMS = { snp: SNP_RECORDS, tdx: TDX_RECORDS, 'sev-es': SEV_ES_RECORDS } as const

t.test('pages are named in the order in which they were measured, with where they lie', async (t) => {
  const pages = (records: readonly SyntheticRecord[]) =>
    read(records).pages.map(({ gpa, type, contents }) => `${type} ${gpa?.toString(16)}+${contents.length}`)
  t.strictSame(pages(SNP_RECORDS), ['normal fffff000+4096', 'zero 800000+8192', 'vmsa fffffffff000+4096'])
  t.strictSame(pages(TDX_RECORDS), ['extended fffff000+4096', 'added 809000+8192'])
  t.strictSame(pages(SEV_ES_RECORDS), ['normal fffff000+4096', 'vmsa undefined+4096'])
})

t.test("SEV's digest is the SHA-256 of the memory and the VMSAs, in their order", async (t) => {
  const { pages, digest, technology, fields } = read(SEV_ES_RECORDS)
  const [rom, vmsa] = pages
  t.equal(technology, 'sev-es')
  t.strictSame(fields, { POLICY: '0x5' })
  const expected = createHash('sha256')
    .update(Buffer.alloc(4096, 0x5a))
    .update(vmsa?.contents ?? '')
  t.equal(digest.toString('hex'), expected.digest('hex'))
  t.equal(rom?.gpa, 0xffff_f000n)
})

t.test('the VMSA holds what was set, with what KVM adds', async (t) => {
  const vmsa = Buffer.from(read(SNP_RECORDS).pages.at(-1)?.contents ?? [])
  t.equal(vmsa.subarray(0x10, 0x20).toString('hex'), '00f09b00ffff00000000ffff00000000', 'CS')
  t.equal(vmsa.subarray(0x90, 0x94).toString('hex'), '00008b00', 'TR')
  t.equal(vmsa.readBigUInt64LE(0xd0), 0x1000n, 'EFER has SVME')
  t.equal(vmsa.readBigUInt64LE(0x148), 0x40n, 'CR4 has MCE')
  t.equal(vmsa.readBigUInt64LE(0x158), 0x10n, 'CR0 has lost CD and NW')
  t.equal(vmsa.readBigUInt64LE(0x310), 0x800f12n, 'RDX')
  t.equal(vmsa.readBigUInt64LE(0x3b0), 1n, 'SEV_FEATURES')
  t.equal(vmsa.readUInt16LE(0x410), 0x37f, 'FCW')
})

t.test('every byte of system and general registers that the save area has changes the digest', async (t) => {
  const before = digestOf(SNP_RECORDS)
  const changed = (code: number, at: number): string =>
    digestOf(
      SNP_RECORDS.map((record) => {
        if (record.code !== code || !record.payload) return record
        const payload = Buffer.from(record.payload)
        payload.writeUInt8((payload[at] ?? 0) ^ 0x80, at)
        return { ...record, payload }
      }),
    )
  for (let at = 0; at < 144; at++) t.not(changed(SET_REGS, at), before, `regs ${at}`)
  // Bases, limits and selectors of the eight segments.
  for (let at = 0; at < 192; at++) if (at % 24 < 14) t.not(changed(SET_SREGS2, at), before, `sregs ${at}`)
})

t.test('what is set after the digest is final is no part of it', async (t) => {
  const late = { kind: KIND.state, code: SET_REGS, payload: Buffer.alloc(144, 1) }
  t.equal(digestOf([...SNP_RECORDS.slice(0, -1), late, { kind: KIND.end }]), digestOf(SNP_RECORDS))
})

t.test('a page more, a page less, another type, place or content: another digest', async (t) => {
  for (const [name, records] of Object.entries(STREAMS)) {
    const before = digestOf(records)
    const pages = records.filter(({ kind }) => kind === KIND.memory)
    for (const page of pages) {
      const swap = (other: readonly SyntheticRecord[]) =>
        records.flatMap((each) => (each === page ? other : [each]))
      const bigger = Buffer.from(page.payload ?? [])
      bigger.writeUInt8(bigger.readUInt8(100) ^ 1, 100)
      const hasContents = page.subject !== 3 && !(name === 'tdx' && page.subject === 0)
      t.equal(digestOf(swap([{ ...page, payload: bigger }])) !== before, hasContents, `${name}: contents`)
      if (name === 'sev-es') continue
      t.not(digestOf(swap([])), before, `${name}: dropped`)
      t.not(digestOf(swap([page, page])), before, `${name}: twice`)
      t.not(digestOf(swap([{ ...page, gpa: (page.gpa ?? 0n) + 4096n }])), before, `${name}: elsewhere`)
      t.not(
        digestOf(swap([{ ...page, subject: page.subject === 1 ? 0 + (name === 'tdx' ? 0 : 3) : 1 }])),
        before,
      )
    }
  }
})

t.test('the order of pages counts', async (t) => {
  const swapped = [...SNP_RECORDS]
  ;[swapped[6], swapped[7]] = [swapped[7] ?? { kind: 0 }, swapped[6] ?? { kind: 0 }]
  t.not(digestOf(swapped), digestOf(SNP_RECORDS))
})

t.test('a recording that stops anywhere gives no digest', async (t) => {
  for (const [name, records] of Object.entries(STREAMS)) {
    const whole = encodeRecording(records)
    // In the payloads of pages nothing new can happen: every length at first, then each 997th.
    for (let length = 0; length < whole.length; length += length < 1024 ? 1 : 997)
      t.ok(
        thrownBy(() => launchOf(parseRecording(whole.subarray(0, length)))) instanceof FormatError,
        `${name}: ${length}`,
      )
    t.throws(() => parseRecording(Buffer.concat([whole, Buffer.alloc(1)])), { code: 'trailing-bytes' })
    refused(
      [...records.slice(0, -2), { kind: KIND.end }],
      t,
      records[0]?.code === 5
        ? 'KVM_TDX_FINALIZE_VM'
        : records[0]?.code === 4
          ? 'SNP_LAUNCH_FINISH'
          : 'LAUNCH_FINISH',
    )
  }
})

t.test('what no recorder writes is refused by name', async (t) => {
  const [vm, ...rest] = SNP_RECORDS
  const withRecord = (record: SyntheticRecord) => [
    ...SNP_RECORDS.slice(0, 4),
    record,
    ...SNP_RECORDS.slice(4),
  ]
  refused(rest, t, 'VM record')
  refused(withRecord(vm ?? { kind: 1 }), t, 'VM record')
  refused(withRecord({ kind: 9 }), t, 'kind')
  refused(withRecord({ kind: KIND.vcpu, subject: 7 }), t, 'vCPU')
  refused(withRecord({ kind: KIND.state, subject: 1 }), t, 'vCPU')
  refused(withRecord({ kind: KIND.place, subject: 99 }), t, 'place')
  refused(withRecord({ kind: KIND.command, code: 55 }), t, 'command')
  refused([{ kind: KIND.vm, code: 1 }, ...rest], t, 'type of VM')
  const page = { kind: KIND.memory, code: 101, subject: 1, gpa: 0n, payload: Buffer.alloc(4096) }
  refused(withRecord({ ...page, subject: 7 }), t, 'page type')
  refused(withRecord({ ...page, gpa: 5n }), t, 'gpa')
  refused(withRecord({ ...page, gpa: GPA_UNKNOWN }), t, 'gpa')
  refused(withRecord({ ...page, payload: Buffer.alloc(4095) }), t, 'length')
  refused(withRecord({ ...page, payload: Buffer.alloc(0) }), t, 'length')
  const state = { kind: KIND.state, code: SET_SREGS2, payload: resetSystemRegisters().subarray(0, 100) }
  t.throws(() => read(withRecord(state)), { constructor: FormatError, code: 'truncated' })
  const header = encodeRecording(SNP_RECORDS)
  for (let at = 0; at < 16; at++) {
    const broken = Buffer.from(header)
    broken.writeUInt8(broken.readUInt8(at) ^ 0x10, at)
    t.ok(thrownBy(() => parseRecording(broken)) instanceof FormatError, `header byte ${at}`)
  }
})
