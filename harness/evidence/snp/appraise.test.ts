/** One test a finding's code: the report is authentic, and this is all that is wrong with it. */
import t from 'tap'
import { decodeGuestPolicy, decodePlatformInfo } from '../../formats/snp/flags.ts'
import type { ResolvedPolicy, ResolvedSnpPolicy } from '../policy/resolve.ts'
import { type SnpCase, snpRequest, tdxRequest } from '../testing/emulated-requests.ts'
import { bytes, finds, hex, type Row } from '../testing/finds.ts'
import { verifyEvidence } from '../verify-evidence.ts'

const SNP_ROWS: readonly Row<SnpCase, ResolvedSnpPolicy>[] = [
  {
    code: 'launch-digest',
    what: 'another launch digest',
    section: { launchDigests: [hex(1, 48), hex(2, 48)] },
    good: { claims: { measurement: bytes(2, 48) } },
    bad: { claims: { measurement: bytes(3, 48) } },
  },
  {
    code: 'product',
    what: 'another product line',
    section: { products: ['milan'] },
    bad: { platform: { product: 'genoa' } },
  },
  {
    code: 'signing-key',
    what: 'a VLEK',
    section: { signingKeys: ['vcek'] },
    bad: { platform: { signer: 'vlek' } },
  },
  {
    code: 'chip-id',
    what: 'another chip',
    section: { chipIds: [hex(5, 64)] },
    good: { platform: { hwId: bytes(5, 64) } },
    bad: { platform: { hwId: bytes(6, 64) } },
  },
  {
    code: 'chip-id',
    what: 'a chip that only the firmware names',
    section: { chipIds: [hex(5, 64)] },
    good: { platform: { hwId: bytes(5, 64) } },
    bad: { platform: { signer: 'vlek' }, claims: { chipId: bytes(5, 64) } },
  },
  {
    code: 'csp-id',
    what: 'no provider',
    section: { signingKeys: ['vcek'] },
    badSection: { cspIds: ['CN=other'] },
  },
  {
    code: 'report-version',
    what: 'an old report',
    section: { minimumReportVersion: 3 },
    bad: { claims: { version: 2 } },
  },
  {
    code: 'debug',
    what: 'DEBUG, by default',
    section: {},
    bad: { claims: { policy: decodeGuestPolicy(0xb0000n) } },
  },
  {
    code: 'migration-agent',
    what: 'MIGRATE_MA, by default',
    section: {},
    bad: { claims: { policy: decodeGuestPolicy(0x70000n) } },
  },
  {
    code: 'migration-agent',
    what: 'a migration agent, by default',
    section: {},
    bad: { claims: { reportIdMa: bytes(1, 32) } },
  },
  ...(['smt', 'singleSocket', 'cxlAllowed', 'memAes256Xts', 'raplDisabled', 'ciphertextHiding'] as const).map(
    (name, index): Row<SnpCase, ResolvedSnpPolicy> => {
      const mask = [1n << 16n, 1n << 20n, 1n << 21n, 1n << 22n, 1n << 23n, 1n << 24n][index] ?? 0n
      return {
        code: 'guest-policy',
        what: `${name} not set`,
        section: { guestPolicy: { [name]: 'required' } },
        good: { claims: { policy: decodeGuestPolicy(0x20000n | mask) } },
        bad: { claims: { policy: decodeGuestPolicy(0x20000n) } },
      }
    },
  ),
  {
    code: 'guest-policy',
    what: 'SMT where it is forbidden',
    section: { guestPolicy: { smt: 'forbidden' } },
    good: { claims: { policy: decodeGuestPolicy(0x20000n) } },
    bad: { claims: { policy: decodeGuestPolicy(0x30000n) } },
  },
  {
    code: 'guest-policy',
    what: 'a lower ABI',
    section: { guestPolicy: { minimumAbi: { major: 1, minor: 5 } } },
    good: { claims: { policy: decodeGuestPolicy(0x30106n) } },
    bad: { claims: { policy: decodeGuestPolicy(0x30099n) } },
  },
  ...(['smt', 'tsme', 'ecc', 'raplDisabled', 'ciphertextHidingDram', 'aliasCheckComplete'] as const).map(
    (name, index): Row<SnpCase, ResolvedSnpPolicy> => ({
      code: 'platform-info',
      what: `${name} not set`,
      section: { platformInfo: { [name]: 'required' } },
      good: { claims: { platformInfo: decodePlatformInfo(1n << BigInt(index)) } },
      bad: { claims: { platformInfo: decodePlatformInfo(0n) } },
    }),
  ),
  { code: 'vmpl', what: 'another VMPL', section: { vmpls: [0] }, bad: { claims: { vmpl: 2 } } },
  {
    code: 'vmpl',
    what: 'a report that the host asked for, by default',
    section: {},
    bad: { claims: { vmpl: 'host' } },
  },
  {
    code: 'reported-tcb',
    what: 'an old boot loader',
    section: { minimumReportedTcb: { milan: { bootloader: 4 } } },
    badSection: { minimumReportedTcb: { milan: { bootloader: 5 } } },
  },
  {
    code: 'reported-tcb',
    what: 'a product that the minimum does not name',
    section: { minimumReportedTcb: { milan: { snp: 1 } } },
    badSection: { minimumReportedTcb: { turin: { fmc: 1 } } },
  },
  ...(
    [
      ['current-tcb', 'minimumCurrentTcb'],
      ['committed-tcb', 'minimumCommittedTcb'],
      ['launch-tcb', 'minimumLaunchTcb'],
    ] as const
  ).map(
    ([code, key]): Row<SnpCase, ResolvedSnpPolicy> => ({
      ...{ code, what: 'an old microcode' },
      section: { [key]: { milan: { microcode: 219 } } },
      badSection: { [key]: { milan: { microcode: 220 } } },
    }),
  ),
  {
    code: 'provisional-firmware',
    what: 'firmware that is not committed',
    section: { provisionalFirmware: 'forbidden' },
    bad: { claims: { committedFirmware: { major: 1, minor: 55, build: 28 } } },
  },
  {
    code: 'firmware-version',
    what: 'old firmware',
    section: { minimumFirmware: { major: 1, minor: 54, build: 99 } },
    badSection: { minimumFirmware: { major: 1, minor: 55, build: 30 } },
  },
  {
    code: 'guest-svn',
    what: 'an old guest',
    section: { minimumGuestSvn: 4 },
    good: { claims: { guestSvn: 4 } },
    bad: { claims: { guestSvn: 3 } },
  },
  {
    code: 'mitigations',
    what: 'a mitigation that was off at launch',
    section: { launchMitigations: '0000000000000005' },
    good: { claims: { version: 5, launchMitigations: 7n, currentMitigations: 0n } },
    bad: { claims: { version: 5, launchMitigations: 1n, currentMitigations: 7n } },
  },
  ...(
    [
      ['host-data', 'hostData', 'hostData', 32],
      ['family-id', 'familyIds', 'familyId', 16],
      ['image-id', 'imageIds', 'imageId', 16],
      ['id-key', 'idKeyDigests', 'idKeyDigest', 48],
    ] as const
  ).map(
    ([code, key, field, length]): Row<SnpCase, ResolvedSnpPolicy> => ({
      ...{ code, what: `another ${field}`, section: { [key]: [hex(8, length)] } },
      good: { claims: { [field]: bytes(8, length) } },
      bad: { claims: { [field]: bytes(9, length) } },
    }),
  ),
  {
    code: 'author-key',
    what: 'another author key',
    section: { authorKeyDigests: [hex(8, 48)] },
    good: { claims: { authorKeyDigest: bytes(8, 48), keyInfo: { authorKeyEnabled: true } } },
    bad: { claims: { authorKeyDigest: bytes(9, 48), keyInfo: { authorKeyEnabled: true } } },
  },
  {
    code: 'report-data',
    what: 'another REPORT_DATA',
    section: { reportData: { value: hex(8, 64) } },
    good: { claims: { reportData: bytes(8, 64) } },
    bad: { claims: { reportData: bytes(9, 64) } },
  },
  {
    code: 'prediction-missing',
    what: 'a prediction that nobody made',
    section: {},
    badSection: { predicted: [{ firmware: 'f', vcpus: 1, cpu: 'EPYC' }] },
  },
]

for (const { code, what, section, good, bad, badSection } of SNP_ROWS)
  t.test(`SNP, ${code}: ${what}`, async (t) => {
    await finds(t, snpRequest({ ...good, policy: { snp: section } }))
    await finds(t, snpRequest({ ...(badSection ? good : bad), policy: { snp: badSection ?? section } }), code)
  })

t.test('all findings are reported, not the first', async (t) => {
  const policy = { snp: { launchDigests: [hex(1, 48)], vmpls: [0], products: ['genoa' as const] } }
  const claims = { policy: decodeGuestPolicy(0xb0000n), vmpl: 3 }
  await finds(t, snpRequest({ claims, policy }), 'product', 'launch-digest', 'vmpl', 'debug')
})

t.test('a nonce must be in REPORT_DATA, and the policy can require one', async (t) => {
  const nonce = bytes(7, 32)
  const reportData = Buffer.concat([nonce, Buffer.alloc(32)])
  const required: ResolvedPolicy = { snp: {}, freshness: { nonce: 'required' } }
  await finds(t, snpRequest({ claims: { reportData }, policy: required, more: { nonce } }))
  await finds(t, snpRequest({ claims: { reportData }, policy: required }), 'nonce-missing')
  await finds(t, snpRequest({ policy: required, more: { nonce } }), 'report-data')
})

t.test('revocation of SNP certificates can be required', async (t) => {
  await finds(t, snpRequest({ policy: { snp: {}, revocation: 'required' } }), 'revocation-unchecked')
})

t.test('a policy without a section for the kind accepts none of it', async (t) => {
  await finds(t, snpRequest({ policy: { tdx: {} } }), 'policy-silent')
  await finds(t, tdxRequest({ policy: { snp: {} } }), 'policy-silent')
})

t.test('a root that the policy does not name is nobody’s', async (t) => {
  for (const request of [snpRequest(), tdxRequest()]) {
    const { simulatedRoots: _, ...policy } = request.policy
    const { authentic, findings } = await verifyEvidence({ ...request, policy })
    t.equal(authentic, false)
    t.ok(['unknown-root', 'qe-identity'].includes(findings[0]?.code ?? ''), JSON.stringify(findings))
  }
})
