import t from 'tap'
import { ByteWriter } from '../../base/bytes.ts'
import { digest } from '../../base/digest.ts'
import { refusesToParse, refusesToVerify, refusesTruncation } from '../../base/testing/rejects.ts'
import { guidBytes } from '../../formats/guid.ts'
import { parseServicesManifest, VTPM_SERVICE } from '../../formats/svsm-manifest.ts'
import { makeEk } from '../testing/software-tpm.ts'
import type { EndorsingReport } from './hardware-report.ts'
import { verifySvsmEndorsement } from './svsm.ts'

const ek = makeEk({ kind: 'rsa' })
const NONCE = Buffer.alloc(64, 3)
const OTHER_SERVICE = '11111111-2222-3333-4444-555555555555'

function manifest(services: readonly (readonly [string, Uint8Array])[]): Buffer {
  const writer = new ByteWriter({ what: 'manifest' }).bytes(
    guidBytes('63849ebb-3d92-4670-a1ff-58f9c94b87bb'),
    'GUID',
  )
  const start = 24 * (1 + services.length)
  const total = services.reduce((sum, [, data]) => sum + data.length, start)
  writer.u32le(total, 'length').u32le(services.length, 'count')
  let offset = start
  for (const [guid, data] of services) {
    writer.bytes(guidBytes(guid), 'GUID').u32le(offset, 'offset').u32le(data.length, 'size')
    offset += data.length
  }
  for (const [, data] of services) writer.bytes(data, 'data')
  return writer.finish()
}

const ALL = manifest([
  [OTHER_SERVICE, Buffer.alloc(0)],
  [VTPM_SERVICE, ek.area.bytes],
])

const vouch = (over: Uint8Array, vmpl = 0): EndorsingReport => ({
  kind: 'snp',
  reportData: digest('sha512', NONCE, over),
  vmpl,
})

t.test("an SVSM's manifest binds the vTPM's EK, alone or among all services", async (t) => {
  for (const [form, bytes] of [
    ['single', ek.area.bytes],
    ['services', ALL],
  ] as const) {
    const endorsement = verifySvsmEndorsement({ form, manifest: bytes, nonce: NONCE }, vouch(bytes))
    t.strictSame(endorsement.ek.bytes, ek.area.bytes, form)
    t.equal(endorsement.ekName.length, 34)
  }
})

t.test('binding-mismatch: not this manifest, not this nonce, not VMPL 0, no vTPM', async (t) => {
  const all = { form: 'services', manifest: ALL, nonce: NONCE } as const
  const refuses = (
    name: string,
    attestation: Parameters<typeof verifySvsmEndorsement>[0],
    report: EndorsingReport,
  ) => refusesToVerify(t, () => verifySvsmEndorsement(attestation, report), 'binding-mismatch', name)
  refuses('another manifest', all, vouch(manifest([])))
  refuses('another nonce', { ...all, nonce: Buffer.alloc(64) }, vouch(ALL))
  refuses('the guest asked for the report', all, vouch(ALL, 2))
  refuses('a TD', all, { kind: 'tdx', reportData: digest('sha512', NONCE, ALL) })
  for (const services of [[], [[OTHER_SERVICE, ek.area.bytes]], [[VTPM_SERVICE, Buffer.alloc(0)]]] as const) {
    const without = manifest(services)
    refuses('no vTPM', { ...all, manifest: without }, vouch(without))
  }
})

t.test('binding-mismatch: the nonce leaves room for a manifest before the true one', async (t) => {
  // What the SVSM hashed: a nonce that the guest made longer, and the manifest with the true EK.
  const own = makeEk({ kind: 'rsa' }).area.bytes
  const forged = manifest([
    [VTPM_SERVICE, own],
    [OTHER_SERVICE, ALL],
  ])
  for (const nonce of [Buffer.alloc(32, 3), NONCE]) {
    const reportData = digest('sha512', nonce, forged)
    const report = { kind: 'snp', reportData, vmpl: 0 } as const
    t.strictSame(digest('sha512', nonce, forged.subarray(0, -ALL.length), ALL), reportData)
    const attempt = () => verifySvsmEndorsement({ form: 'services', manifest: forged, nonce }, report)
    refusesToVerify(t, attempt, 'binding-mismatch', `${nonce.length} bytes`)
  }
  for (const length of [0, 1, 32, 63, 65]) {
    const nonce = Buffer.alloc(length, 3)
    const report = { kind: 'snp', reportData: digest('sha512', nonce, ALL), vmpl: 0 } as const
    const attempt = () => verifySvsmEndorsement({ form: 'services', manifest: ALL, nonce }, report)
    refusesToVerify(t, attempt, 'binding-mismatch', `${length} bytes`)
  }
})

t.test('a malformed services manifest is refused', async (t) => {
  refusesTruncation(t, ALL, parseServicesManifest)
  const write = (offset: number, value: number) => () => {
    const copy = Buffer.from(ALL)
    copy.writeUInt32LE(value, offset)
    return parseServicesManifest(copy)
  }
  for (const value of [0, 1, ALL.length + 1, 0xffff_ffff])
    refusesToParse(t, write(16, value), { code: 'bad-value', field: 'length' })
  for (const value of [65, 0xffff_ffff])
    refusesToParse(t, write(20, value), { code: 'too-large', field: 'services' })
  refusesToParse(t, write(20, 1), { code: 'bad-value', field: 'service offset' })
  refusesToParse(t, write(20, 0), { code: 'trailing-bytes' })
  for (const value of [0, 1, 0xffff_ffff])
    refusesToParse(t, write(24 + 16, value), { code: 'bad-value', field: 'service offset' })
  for (const value of [1, 0xffff_ffff])
    refusesToParse(t, write(24 + 20, value), { code: 'bad-value', field: 'service offset' })
  refusesToParse(t, write(0, 0), { code: 'bad-magic' })
  const twice = manifest([
    [VTPM_SERVICE, Buffer.alloc(0)],
    [VTPM_SERVICE, ek.area.bytes],
  ])
  refusesToParse(t, () => parseServicesManifest(twice), { code: 'bad-value', field: 'service GUID' })
  refusesToParse(t, () => parseServicesManifest(Buffer.alloc(1024 * 1024 + 1)), { code: 'too-large' })
})
