import fc from 'fast-check'
import t from 'tap'
import { type FormatCode, FormatError } from '../../base/errors.ts'
import { outcomeOf, refusesToParse, refusesTruncation } from '../../base/testing/rejects.ts'
import { CERTIFICATE_GUIDS, encodeCertificateTable, parseCertificateTable } from './certificate-table.ts'
import { encodeEcdsaPublicKey } from './ecdsa.ts'
import { encodeSnpReport, type SnpReportFields } from './encode-report.ts'
import { decodeGuestPolicy, decodePlatformInfo, encodeKeyInfo } from './flags.ts'
import { encodeIdAuthentication, encodeIdBlock, parseIdAuthentication, parseIdBlock } from './id-block.ts'
import { parseSnpReport, SNP_REPORT_BYTES, type SnpReportVersion } from './report.ts'
import { decodeTcb, encodeTcb, snpProcessor, tcbText } from './tcb.ts'

const PRODUCTS = {
  milan: { family: 25, model: 1, stepping: 1 },
  genoa: { family: 25, model: 17, stepping: 1 },
  bergamo: { family: 25, model: 160, stepping: 2 },
  turin: { family: 26, model: 2, stepping: 1 },
} as const

const filled = (length: number, value: number): Uint8Array => Buffer.alloc(length, value)

/** Every byte field of another value, so that a field read from the wrong place shows. */
function fields(version: SnpReportVersion, product: keyof typeof PRODUCTS = 'milan'): SnpReportFields {
  const layout = product === 'turin' ? 'turin' : 'milan-genoa'
  const tcb = (start: number) =>
    decodeTcb(
      encodeTcb(
        { fmc: start, bootloader: start + 1, tee: start + 2, snp: start + 3, microcode: start + 4 },
        layout,
      ),
      layout,
    )
  const key = { authorKeyEnabled: true, maskChipKey: false, signingKey: 'vlek' } as const
  const chipId = Buffer.alloc(64)
  chipId.set(filled(product === 'turin' ? 8 : 64, 0x1a))
  return {
    ...{
      version,
      guestSvn: 0x01020304,
      policy: decodeGuestPolicy(0x30137n),
      familyId: filled(16, 1),
      imageId: filled(16, 2),
    },
    ...{ vmpl: 3, currentTcb: tcb(0x10), platformInfo: decodePlatformInfo(0x05n) },
    ...{
      keyInfo: { ...key, raw: encodeKeyInfo(key) },
      reportData: filled(64, 3),
      measurement: filled(48, 4),
    },
    ...{
      hostData: filled(32, 5),
      idKeyDigest: filled(48, 6),
      authorKeyDigest: filled(48, 7),
      reportId: filled(32, 8),
    },
    ...{
      reportIdMa: filled(32, 9),
      reportedTcb: tcb(0x20),
      ...(version >= 3 && { cpuid: PRODUCTS[product] }),
      chipId,
    },
    ...{ committedTcb: tcb(0x30), currentFirmware: { major: 1, minor: 55, build: 29 } },
    ...{ committedFirmware: { major: 1, minor: 54, build: 28 }, launchTcb: tcb(0x40) },
    ...(version >= 4 && { launchMitigations: 0x0102030405060708n, currentMitigations: 0x1112131415161718n }),
    signature: { r: filled(48, 0x51), s: filled(48, 0x52) },
  }
}

const VERSIONS = [2, 3, 4, 5] as const

t.test('parseSnpReport reads back what was written, in every version and product', async (t) => {
  for (const version of VERSIONS)
    for (const product of Object.keys(PRODUCTS) as (keyof typeof PRODUCTS)[]) {
      const expected = fields(version, product)
      const bytes = encodeSnpReport(expected)
      t.equal(bytes.length, SNP_REPORT_BYTES)
      const report = parseSnpReport(bytes)
      t.match(report, expected as object, `${version} ${product}`)
      t.equal(report.tcbLayout, product === 'turin' ? 'turin' : 'milan-genoa')
      t.same(encodeSnpReport(report), bytes)
    }
})

t.test('parseSnpReport finds each field at the offset that the specification gives', async (t) => {
  const bytes = encodeSnpReport(fields(5))
  const at = (offset: number, length: number) => bytes.subarray(offset, offset + length).toString('hex')
  t.equal(at(0x00, 0x10), `05000000${'04030201'}${'3701030000000000'}`)
  t.equal(at(0x10, 0x20), '01'.repeat(16) + '02'.repeat(16))
  t.equal(
    at(0x30, 0x20),
    `03000000${'01000000'}${'1112000000001314'}${'0500000000000000'}${'05000000'}00000000`,
  )
  t.equal(at(0x50, 0x40), '03'.repeat(64))
  t.equal(at(0x90, 0x30), '04'.repeat(48))
  t.equal(at(0xc0, 0x20), '05'.repeat(32))
  t.equal(at(0xe0, 0x60), '06'.repeat(48) + '07'.repeat(48))
  t.equal(at(0x140, 0x40), '08'.repeat(32) + '09'.repeat(32))
  t.equal(at(0x180, 0x20), `2122000000002324${'190101'}${'00'.repeat(21)}`)
  t.equal(at(0x1a0, 0x40), '1a'.repeat(64))
  t.equal(at(0x1e0, 0x18), `3132000000003334${'1d370100'}${'1c360100'}${'4142000000004344'}`)
  t.equal(at(0x1f8, 0x10), '08070605040302011817161514131211')
  t.equal(at(0x2a0, 0x90), `${'51'.repeat(48)}${'00'.repeat(24)}${'52'.repeat(48)}${'00'.repeat(24)}`)
})

/** Reserved bits by version: byte offset and mask of what must be zero. */
function reservedBits(version: SnpReportVersion, product: 'milan' | 'turin'): [number, number][] {
  const bits: [number, number][] = []
  const range = (from: number, to: number) => {
    for (let at = from; at < to; at++) bits.push([at, 0xff])
  }
  bits.push([0x0b, version >= 4 ? 0xfc : 0xfe])
  range(0x0c, 0x10)
  const [from, to] = product === 'turin' ? [4, 7] : [2, 6]
  for (const tcb of [0x38, 0x180, 0x1e0, 0x1f0]) range(tcb + from, tcb + to)
  bits.push([0x40, version === 2 ? 0xe0 : version === 3 ? 0xc0 : 0])
  range(0x41, 0x48)
  bits.push([0x48, 0xe0])
  range(0x49, 0x50)
  range(version === 2 ? 0x188 : 0x18b, 0x1a0)
  bits.push([0x1eb, 0xff], [0x1ef, 0xff])
  range(version >= 4 ? 0x208 : 0x1f8, 0x2a0)
  range(0x2d0, 0x2e8)
  range(0x318, 0x4a0)
  return bits
}

t.test('parseSnpReport refuses every reserved bit that is set, and says where', async (t) => {
  const cases = [...VERSIONS.map((version) => [version, 'milan'] as const), [5, 'turin'] as const]
  for (const [version, product] of cases) {
    const bytes = encodeSnpReport(fields(version, product))
    const wrong: string[] = []
    for (const [offset, mask] of reservedBits(version, product))
      for (let bit = 0; bit < 8; bit++) {
        if (((mask >> bit) & 1) === 0) continue
        const changed = Buffer.from(bytes)
        changed[offset] = (changed[offset] ?? 0) ^ (1 << bit)
        const outcome = outcomeOf(() => parseSnpReport(changed))
        const fits = outcome instanceof FormatError && outcome.code === 'reserved-bit'
        if (!fits || Math.abs(outcome.offset - offset) > 7)
          wrong.push(`0x${offset.toString(16)}.${bit}: ${outcome}`)
      }
    t.same(wrong, [], `version ${version}, ${product}`)
  }
})

t.test('parseSnpReport refuses values that no firmware writes', async (t) => {
  const refuse = (at: number, value: number, field: string, code: FormatCode = 'bad-value') => {
    const bytes = encodeSnpReport(fields(3))
    bytes.writeUInt32LE(value, at)
    refusesToParse(t, () => parseSnpReport(bytes), { code, field }, `${field} ${value}`)
  }
  for (const version of [0, 1, 6, 0xffffffff]) refuse(0, version, 'VERSION')
  refuse(0x08, 0x10137, 'POLICY', 'reserved-bit')
  for (const vmpl of [4, 0xfffffffe]) refuse(0x30, vmpl, 'VMPL')
  for (const algorithm of [0, 2, 0xffffffff]) refuse(0x34, algorithm, 'SIGNATURE_ALGO')
  for (const key of [2, 3, 4, 5, 6]) refuse(0x48, key << 2, 'KEY_INFO')
  refuse(0x48, 0, 'AUTHOR_KEY_DIGEST')
  for (const cpuid of [0x000000, 0x000018, 0x00201a, 0x005019, 0x00b019, 0x00001b])
    refuse(0x188, cpuid, 'CPUID_FAM_ID')
  const host = encodeSnpReport({ ...fields(3), vmpl: 'host' })
  t.equal(parseSnpReport(host).vmpl, 'host')
})

t.test('parseSnpReport refuses every other length', async (t) => {
  const bytes = encodeSnpReport(fields(5, 'turin'))
  refusesTruncation(t, bytes, parseSnpReport)
  refusesToParse(t, () => parseSnpReport(Buffer.concat([bytes, Buffer.alloc(1)])), { code: 'trailing-bytes' })
  refusesToParse(t, () => parseSnpReport(bytes.subarray(0, 1183)), { code: 'truncated', offset: 0 })
})

t.test('parseSnpReport answers any 1184 bytes with a report or a FormatError', async (t) => {
  const seeds = VERSIONS.map((version) => encodeSnpReport(fields(version)))
  const change = fc.tuple(fc.nat(SNP_REPORT_BYTES - 1), fc.nat(255))
  fc.assert(
    fc.property(fc.nat(3), fc.array(change, { maxLength: 8 }), (index, changes) => {
      const bytes = Buffer.from(seeds[index] ?? [])
      for (const [at, value] of changes) bytes[at] = value
      const outcome = outcomeOf(() => parseSnpReport(bytes))
      return outcome === 'accepted' || outcome instanceof FormatError
    }),
    { numRuns: 2000 },
  )
  t.pass('2000 inputs')
})

t.test(
  'a version 2 report names no processor: CHIP_ID of 8 bytes is Turin’s, a masked one nobody’s',
  async (t) => {
    t.equal(parseSnpReport(encodeSnpReport(fields(2, 'turin'))).tcbLayout, 'turin')
    const masked = parseSnpReport(encodeSnpReport({ ...fields(2), chipId: Buffer.alloc(64) }))
    t.equal(masked.tcbLayout, 'milan-genoa')
    t.equal(masked.processor, undefined)
  },
)

t.test('processors and TCBs are named as people know them', async (t) => {
  t.equal(snpProcessor({ family: 25, model: 160, stepping: 2 })?.name, 'Bergamo or Siena')
  t.equal(snpProcessor({ family: 26, model: 17, stepping: 0 })?.product, 'turin')
  t.equal(snpProcessor({ family: 23, model: 49, stepping: 0 }), undefined)
  const raw = Buffer.from('0101010400000051', 'hex')
  t.equal(tcbText(decodeTcb(raw, 'turin')), 'FMC 1, bootloader 1, TEE 1, SNP 4, microcode 81')
  t.equal(tcbText(decodeTcb(raw, 'milan-genoa')), 'bootloader 1, TEE 1, SNP 0, microcode 81')
})

const table = encodeCertificateTable([
  { guid: CERTIFICATE_GUIDS.vcek, bytes: filled(100, 1) },
  { guid: CERTIFICATE_GUIDS.ask, bytes: filled(50, 2) },
])

t.test('parseCertificateTable gives the entries, whatever padding follows them', async (t) => {
  for (const bytes of [table, Buffer.concat([table, Buffer.alloc(4096)])]) {
    const entries = parseCertificateTable(bytes)
    t.same(
      entries.map(({ guid, offset, bytes: { length } }) => [guid, offset, length]),
      [
        [CERTIFICATE_GUIDS.vcek, 72, 100],
        [CERTIFICATE_GUIDS.ask, 172, 50],
      ],
    )
  }
  t.same(parseCertificateTable(new Uint8Array()), [])
  t.same(parseCertificateTable(Buffer.alloc(24)), [])
  t.equal(
    table.subarray(0, 16).toString('hex'),
    '63da758de6644564adc5f4b93be8accd',
    'GUIDs in the order of their bytes',
  )
})

t.test('parseCertificateTable refuses entries that point elsewhere, are empty or too many', async (t) => {
  refusesTruncation(t, table.subarray(0, 222), (cut) =>
    cut.length === 0 ? parseCertificateTable(Buffer.alloc(1)) : parseCertificateTable(cut),
  )
  const patched = (at: number, value: number) => {
    const bytes = Buffer.from(table)
    bytes.writeUInt32LE(value, at)
    return () => parseCertificateTable(bytes)
  }
  refusesToParse(t, patched(20, 0), { code: 'bad-value', field: 'entry 0', offset: 20 }, 'length 0')
  refusesToParse(t, patched(20, 0xffffffff), { code: 'truncated', field: 'entry 0' }, 'length max')
  refusesToParse(t, patched(20, 151), { code: 'truncated', field: 'entry 0' }, 'a byte too long')
  refusesToParse(t, patched(16, 71), { code: 'bad-value', field: 'entry 0', offset: 16 }, 'into the entries')
  refusesToParse(t, patched(16, 0), { code: 'bad-value', field: 'entry 0' }, 'offset 0')
  refusesToParse(t, patched(16, 0xffffffff), { code: 'truncated', field: 'entry 0' }, 'offset max')
  t.equal(parseCertificateTable(Buffer.concat([table]))[0]?.bytes.length, 100)
  const many = encodeCertificateTable(
    Array.from({ length: 65 }, () => ({ guid: CERTIFICATE_GUIDS.ark, bytes: filled(1, 1) })),
  )
  refusesToParse(t, () => parseCertificateTable(many), { code: 'too-large' })
  refusesToParse(t, () => parseCertificateTable(Buffer.alloc(1024 * 1024 + 1)), { code: 'too-large' })
  refusesToParse(t, () => parseCertificateTable(filled(48, 1)), {
    code: 'truncated',
    field: 'GUID',
    offset: 48,
  })
})

const key = (value: number) => {
  const point = { x: filled(48, value), y: filled(48, value + 1) }
  return { ...point, raw: encodeEcdsaPublicKey(point) }
}
const signature = { r: filled(48, 0x61), s: filled(48, 0x62) }
const idAuthentication = { idSignature: signature, idKey: key(0x71), author: { signature, key: key(0x81) } }

t.test('ID blocks and their authentication read back, and refuse what is reserved or cut off', async (t) => {
  const block = {
    launchDigest: filled(48, 1),
    familyId: filled(16, 2),
    imageId: filled(16, 3),
    guestSvn: 9,
    policy: 0x30000n,
  }
  const blockBytes = encodeIdBlock(block)
  t.match(parseIdBlock(blockBytes), block)
  refusesTruncation(t, blockBytes, parseIdBlock)
  refusesToParse(t, () => parseIdBlock(filled(96, 1)), { code: 'bad-value', field: 'VERSION', offset: 80 })
  refusesToParse(t, () => parseIdBlock(Buffer.concat([blockBytes, Buffer.alloc(1)])), {
    code: 'trailing-bytes',
  })
  const bytes = encodeIdAuthentication(idAuthentication)
  t.match(parseIdAuthentication(bytes), idAuthentication)
  const alone = encodeIdAuthentication({ idSignature: signature, idKey: key(0x71) })
  t.equal(parseIdAuthentication(alone).author, undefined)
  refusesTruncation(t, bytes, parseIdAuthentication)
  const patch = (from: Buffer, at: number, value: number) => {
    const changed = Buffer.from(from)
    changed.writeUInt32LE(value, at)
    return () => parseIdAuthentication(changed)
  }
  refusesToParse(t, patch(bytes, 0, 0), { code: 'bad-value', field: 'ID_KEY_ALGO' })
  refusesToParse(t, patch(bytes, 4, 2), { code: 'bad-value', field: 'AUTHOR_KEY_ALGO' })
  refusesToParse(t, patch(bytes, 0x240, 1), { code: 'bad-value', field: 'ID_KEY.CURVE', offset: 0x240 })
  for (const at of [0x08, 0x3c, 0x40 + 48, 0x240 + 4 + 48, 0x640, 0x644, 0x67c, 0xc84, 0xffc])
    refusesToParse(t, patch(bytes, at, 1), { code: 'reserved-bit' }, `0x${at.toString(16)}`)
  refusesToParse(t, patch(alone, 0x680, 1), { code: 'reserved-bit' }, 'a signature of no author')
})
