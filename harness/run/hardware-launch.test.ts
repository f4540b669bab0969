/** What a guest on hardware hands over, by reports and quotes of real machines (shared vectors). */
import t from 'tap'
import { parse } from 'yaml'
import { vector, vectorsMissing, vectorText } from '../base/testing/vectors.ts'
import { launchDigestIn } from './hardware-launch.ts'

const skip = { skip: vectorsMissing }
const empty = Buffer.alloc(0)

/** Field `name` of what the index expects of a vector, as text. */
function expected(file: string, name: string): string {
  const { vectors } = parse(vectorText('index.yaml'), { schema: 'failsafe' })
  return vectors.find((entry: { file: string }) => entry.file === file).expected[name]
}

t.test("an SNP report with its host's certificates gives the launch digest", skip, async (t) => {
  const file = 'snp/genoa_v3_tsm.report.bin'
  const at = new Date('2026-01-01T00:00:00Z')
  const report = { outblob: vector(file), auxblob: vector('snp/genoa_v3_tsm.auxblob.bin') }
  const digest = launchDigestIn(report, 'sev-snp', at)
  t.equal(Buffer.from(digest).toString('hex'), expected(file, 'measurement'))

  const forged = Buffer.from(report.outblob)
  forged.writeUInt8(forged.readUInt8(0x90) ^ 1, 0x90)
  t.throws(() => launchDigestIn({ ...report, outblob: forged }, 'sev-snp', at), { code: 'report-signature' })
  t.throws(() => launchDigestIn({ ...report, outblob: forged.subarray(1) }, 'sev-snp', at), {
    name: 'FormatError',
  })
  t.throws(() => launchDigestIn(report, 'sev-snp', new Date('2060-01-01T00:00:00Z')), { name: 'VerifyError' })
})

t.test('without certificates there is a reason instead of a digest', skip, async (t) => {
  const report = { outblob: vector('snp/genoa_v3_tsm.report.bin'), auxblob: empty }
  t.match(launchDigestIn(report, 'sev-snp', new Date('2026-01-01T00:00:00Z')), /endorsement-missing/)
})

t.test('a TDX quote gives MRTD; a changed one nothing', skip, async (t) => {
  const file = 'tdx/v4_uptodate.quote.bin'
  const at = new Date('2025-07-01T00:00:00Z')
  const report = { outblob: vector(file), auxblob: empty }
  t.equal(Buffer.from(launchDigestIn(report, 'tdx', at)).toString('hex'), expected(file, 'mr_td'))
  const forged = Buffer.from(report.outblob)
  forged.writeUInt8(forged.readUInt8(48 + 136) ^ 1, 48 + 136)
  t.throws(() => launchDigestIn({ ...report, outblob: forged }, 'tdx', at), { code: 'quote-signature' })
})

t.test('platforms without reports say so', async (t) => {
  for (const id of ['sev', 'sev-es', 'kvm', 'tcg'] as const)
    t.match(launchDigestIn({ outblob: empty, auxblob: empty }, id, new Date(0)), /gives its guests no report/)
})
