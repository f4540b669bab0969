/** One test a finding's code: the quote is authentic, and this is all that is wrong with it. */
import t from 'tap'
import type { ResolvedTdxPolicy } from '../policy/resolve.ts'
import { type TdxCase, tdxRequest } from '../testing/emulated-requests.ts'
import { bytes, finds, hex, type Row } from '../testing/finds.ts'
import { qeIdentity, tcbInfo, tcbLevel } from '../testing/tdx-collateral.ts'
import { verifyEvidence } from '../verify-evidence.ts'

const REGISTERS = [
  ['mrtd', 'mrtd', 'mrTd'],
  ['mr-config-id', 'mrConfigId', 'mrConfigId'],
  ['mr-owner', 'mrOwner', 'mrOwner'],
  ['mr-owner-config', 'mrOwnerConfig', 'mrOwnerConfig'],
  ['mr-seam', 'mrSeam', 'mrSeam'],
] as const

const outOfDate = {
  tcbInfo: tcbInfo({ tcbLevels: [tcbLevel({ status: 'OutOfDate', advisoryIds: ['INTEL-SA-00001'] })] }),
}
const hardening = {
  tcbInfo: tcbInfo({
    tcbLevels: [tcbLevel({ status: 'SWHardeningNeeded', advisoryIds: ['INTEL-SA-00001'] })],
  }),
}

const TDX_ROWS: readonly Row<TdxCase, ResolvedTdxPolicy>[] = [
  ...REGISTERS.map(
    ([code, key, field]): Row<TdxCase, ResolvedTdxPolicy> => ({
      ...{ code, what: `another ${field}`, section: { [key]: [hex(8, 48)] } },
      good: { quote: { body: { [field]: bytes(8, 48) } } },
      bad: { quote: { body: { [field]: bytes(9, 48) } } },
    }),
  ),
  ...([0, 1, 2, 3] as const).map((index): Row<TdxCase, ResolvedTdxPolicy> => {
    const rtmrs = (byte: number) => [0, 1, 2, 3].map((each) => bytes(each === index ? byte : 0, 48))
    return {
      ...{ code: 'rtmr', what: `another RTMR${index}`, section: { [`rtmr${index}`]: [hex(8, 48)] } },
      good: { quote: { body: { rtmrs: rtmrs(8) } } },
      bad: { quote: { body: { rtmrs: rtmrs(9) } } },
    }
  }),
  { code: 'tcb-status', what: 'out of date, by default', section: {}, bad: { collateral: outOfDate } },
  {
    code: 'tcb-status',
    what: 'a status that is accepted, and a worse one',
    section: { tcbStatuses: ['UpToDate', 'SWHardeningNeeded'] },
    good: { collateral: hardening },
    bad: { collateral: outOfDate },
  },
  {
    code: 'advisory',
    what: 'an advisory that is not accepted',
    section: { tcbStatuses: ['SWHardeningNeeded'], advisories: ['INTEL-SA-00001'] },
    good: { collateral: hardening },
    badSection: { tcbStatuses: ['SWHardeningNeeded'], advisories: ['INTEL-SA-00002'] },
  },
  {
    code: 'debug',
    what: 'debug, by default',
    section: {},
    bad: { quote: { body: { tdAttributes: 0x1000_0001n } } },
  },
  {
    code: 'debug',
    what: 'profiling, by default',
    section: {},
    bad: { quote: { body: { tdAttributes: 0x1000_0010n } } },
  },
  {
    code: 'td-attributes',
    what: 'a reserved bit',
    section: {},
    bad: { quote: { body: { tdAttributes: 0x1000_0100n } } },
  },
  {
    code: 'td-attributes',
    what: 'no SEPT_VE_DISABLE',
    section: { tdAttributes: { septVeDisable: 'required' } },
    good: { quote: { body: { tdAttributes: 0x1000_0000n } } },
    bad: { quote: { body: { tdAttributes: 0n } } },
  },
  {
    code: 'td-attributes',
    what: 'a TD that may be migrated',
    section: { tdAttributes: { migratable: 'forbidden' } },
    bad: { quote: { body: { tdAttributes: 0x3000_0000n } } },
  },
  {
    code: 'xfam',
    what: 'a feature that is not allowed',
    section: { xfam: { allowed: '0000000000000003' } },
    good: { quote: { body: { xfam: 3n } } },
    bad: { quote: { body: { xfam: 7n } } },
  },
  {
    code: 'xfam',
    what: 'a feature that is missing',
    section: { xfam: { required: '0000000000000003' } },
    good: { quote: { body: { xfam: 7n } } },
    bad: { quote: { body: { xfam: 1n } } },
  },
  {
    code: 'service-td',
    what: 'a service TD, by default',
    section: {},
    good: { quote: { version: 5 } },
    bad: { quote: { version: 5, body: { mrServiceTd: bytes(1, 48) } } },
  },
  {
    code: 'tee-tcb-svn',
    what: 'an old module',
    section: { minimumTeeTcbSvn: [6, 1, 3, ...Array.from({ length: 13 }, () => 0)] },
    badSection: { minimumTeeTcbSvn: [7, 1, 3, ...Array.from({ length: 13 }, () => 0)] },
  },
  {
    code: 'fmspc',
    what: 'another model',
    section: { fmspcs: ['50515253abcd'] },
    badSection: { fmspcs: ['000000000000'] },
  },
  {
    code: 'tcb-evaluation-number',
    what: 'an old assessment',
    section: { minimumTcbEvaluationDataNumber: 17 },
    badSection: { minimumTcbEvaluationDataNumber: 18 },
  },
  {
    code: 'quote-version',
    what: 'another version',
    section: { quoteVersions: [4] },
    bad: { quote: { version: 5 } },
  },
  {
    code: 'report-data',
    what: 'another REPORTDATA',
    section: { reportData: { value: hex(8, 64) } },
    good: { quote: { body: { reportData: bytes(8, 64) } } },
    bad: { quote: { body: { reportData: bytes(9, 64) } } },
  },
  {
    code: 'prediction-missing',
    what: 'a prediction that nobody made',
    section: {},
    badSection: { predicted: [{ firmware: 'f' }] },
  },
]

for (const { code, what, section, good, bad, badSection } of TDX_ROWS)
  t.test(`TDX, ${code}: ${what}`, async (t) => {
    await finds(t, tdxRequest({ ...good, policy: { tdx: section } }))
    await finds(t, tdxRequest({ ...(badSection ? good : bad), policy: { tdx: badSection ?? section } }), code)
  })

t.test(
  'TDX collateral may not be missing, unless the policy says so, nor be older than it says',
  async (t) => {
    const bare = { without: ['tcbInfo', 'qeIdentity', 'signingChain', 'rootCrl', 'pckCrl'] as const }
    const { findings } = await verifyEvidence(tdxRequest(bare))
    t.same(
      findings.map(({ code }) => code),
      ['collateral-missing', 'crl-missing', 'tcb-status'],
    )
    await finds(
      t,
      tdxRequest({ ...bare, policy: { tdx: { tcbStatuses: ['Unknown'] }, revocation: 'when-given' } }),
    )
    await finds(t, tdxRequest({ policy: { tdx: {}, freshness: { collateralDays: 12 } } }))
    await finds(
      t,
      tdxRequest({ policy: { tdx: {}, freshness: { collateralDays: 11 } } }),
      'collateral-too-old',
    )
    const old = { qeIdentity: qeIdentity({ tcbEvaluationDataNumber: 5 }) }
    const { findings: mixed } = await verifyEvidence(tdxRequest({ collateral: old }))
    t.match(mixed, [{ code: 'collateral-inconsistent' }], 'documents of different evaluations')
  },
)
