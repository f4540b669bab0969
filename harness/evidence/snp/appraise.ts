/**
 * Is an authentic SNP report acceptable? All that the policy finds wrong; what it does not name has its strict default.
 */
import type { Finding } from '../../base/errors.ts'
import type { FirmwareVersion, SnpReport } from '../../formats/snp/report.ts'
import { type SnpProduct, type SnpTcb, tcbText } from '../../formats/snp/tcb.ts'
import type { AppraisalContext } from '../appraisal.ts'
import {
  atLeast,
  bitAsRequired,
  bound,
  hasBits,
  hexOf,
  nonceGiven,
  oneOf,
  policySilent,
  recentEnough,
  rootAccepted,
} from '../checks.ts'
import { type FindingCode, finding } from '../finding.ts'
import type { ResolvedSnpPolicy } from '../policy/resolve.ts'
import type { MinimumTcb } from '../policy/snp.ts'
import type { VerifiedSnpReport } from './verify.ts'

/**
 * Every finding about a report of AMD 56860, none where it is acceptable; without a section `snp`, `policy-silent`.
 * Never throws.
 */
export function appraiseSnpReport(
  verified: VerifiedSnpReport,
  context: AppraisalContext,
): readonly Finding[] {
  const { snp } = context.policy
  if (snp === undefined) return [policySilent('SNP reports', 'snp')]
  const { report } = verified
  const { simulated, keyId, anchor } = verified.chain.root
  return [
    ...rootAccepted({ simulated, keyId, label: anchor.label }, context),
    ...signerFindings(verified, { ...context, snp }),
    ...launchFindings(report, snp),
    ...guestPolicyFindings(report, snp),
    ...platformFindings(report, snp),
    ...tcbFindings(verified, snp),
    ...firmwareFindings(report, snp),
    ...bound({ field: 'REPORT_DATA', got: report.reportData, binding: snp.reportData, nonce: context.nonce }),
    ...nonceGiven(context),
  ]
}

function signerFindings(
  { report, signer, chain, chipId }: VerifiedSnpReport,
  context: AppraisalContext & { readonly snp: ResolvedSnpPolicy },
): readonly Finding[] {
  const { snp, policy } = context
  const { product } = chain.root
  // The chip of a report is worth what the certificate says of it.
  const chip = chipId === 'certified' ? hexOf(report.chipId) : chipId
  const { revocationChecked, listsIssued } = chain.chain
  return [
    ...oneOf({ code: 'product', field: 'the product line' }, product, snp.products),
    ...oneOf({ code: 'signing-key', field: 'the kind of signing key' }, signer, snp.signingKeys),
    ...oneOf({ code: 'chip-id', field: 'CHIP_ID' }, chip, snp.chipIds),
    ...oneOf({ code: 'csp-id', field: "the VLEK's CSP_ID" }, chain.endorsement.cspId ?? 'none', snp.cspIds),
    ...atLeast(
      { code: 'report-version', field: 'the version of the report' },
      report.version,
      snp.minimumReportVersion,
    ),
    ...(policy.revocation === 'required' && revocationChecked === 0
      ? [
          finding('revocation-unchecked', 'nobody looked whether the certificates were revoked', {
            expected: `a revocation list of ${chain.root.anchor.label}`,
            got: 'none',
          }),
        ]
      : []),
    ...recentEnough(listsIssued, context),
  ]
}

function launchFindings(report: SnpReport, snp: ResolvedSnpPolicy): readonly Finding[] {
  const { vmpl, guestSvn } = report
  const check = (code: FindingCode, field: string, got: Uint8Array, allowed: readonly string[] | undefined) =>
    oneOf({ code, field }, hexOf(got), allowed)
  return [
    ...(snp.predicted === undefined
      ? []
      : [
          finding('prediction-missing', 'the policy asks for what was predicted, and nothing was predicted', {
            expected: 'launch digests computed from the materials',
            got: 'none',
          }),
        ]),
    ...check('launch-digest', 'MEASUREMENT (the launch digest)', report.measurement, snp.launchDigests),
    ...vmplFindings(vmpl, snp.vmpls),
    ...check('host-data', 'HOST_DATA', report.hostData, snp.hostData),
    ...check('family-id', 'FAMILY_ID', report.familyId, snp.familyIds),
    ...check('image-id', 'IMAGE_ID', report.imageId, snp.imageIds),
    ...check('id-key', 'ID_KEY_DIGEST', report.idKeyDigest, snp.idKeyDigests),
    ...check('author-key', 'AUTHOR_KEY_DIGEST', report.authorKeyDigest, snp.authorKeyDigests),
    ...atLeast({ code: 'guest-svn', field: 'GUEST_SVN' }, guestSvn, snp.minimumGuestSvn),
    ...check('migration-agent', 'REPORT_ID_MA', report.reportIdMa, snp.migrationAgents ?? NO_MIGRATION_AGENT),
  ]
}

/** All ones: none is associated. */
const NO_MIGRATION_AGENT = ['ff'.repeat(32)]

/** A report that the host asked for says nothing that the guest wanted said, so no policy accepts it. */
function vmplFindings(vmpl: SnpReport['vmpl'], allowed: readonly number[] | undefined): readonly Finding[] {
  if (vmpl !== 'host') return oneOf({ code: 'vmpl', field: 'VMPL' }, vmpl, allowed)
  return [
    finding('vmpl', "the host asked for the report, not the guest: its REPORT_DATA is the host's", {
      expected: `VMPL ${allowed?.join(', ') ?? '0 to 3'}`,
      got: 'host',
    }),
  ]
}

const POLICY_BITS = [
  'smt',
  'singleSocket',
  'cxlAllowed',
  'memAes256Xts',
  'raplDisabled',
  'ciphertextHiding',
  'pageSwapDisabled',
] as const

function guestPolicyFindings({ policy }: SnpReport, snp: ResolvedSnpPolicy): readonly Finding[] {
  const rules = snp.guestPolicy ?? {}
  const { debug = 'forbidden', migrateMa = 'forbidden', minimumAbi } = rules
  return [
    ...bitAsRequired({ code: 'debug', field: 'POLICY.DEBUG' }, policy.debug, debug),
    ...bitAsRequired({ code: 'migration-agent', field: 'POLICY.MIGRATE_MA' }, policy.migrateMa, migrateMa),
    ...POLICY_BITS.flatMap((name) =>
      bitAsRequired({ code: 'guest-policy', field: `POLICY, ${name}` }, policy[name], rules[name]),
    ),
    ...versionFindings('guest-policy', 'the ABI that POLICY demands', {
      got: [policy.abi.major, policy.abi.minor],
      minimum: minimumAbi && [minimumAbi.major, minimumAbi.minor],
    }),
  ]
}

const PLATFORM_BITS = [
  'smt',
  'tsme',
  'ecc',
  'raplDisabled',
  'ciphertextHidingDram',
  'aliasCheckComplete',
  'iommuWriteSafe',
  'sevTio',
] as const

function platformFindings({ platformInfo }: SnpReport, snp: ResolvedSnpPolicy): readonly Finding[] {
  return PLATFORM_BITS.flatMap((name) =>
    bitAsRequired(
      { code: 'platform-info', field: `PLATFORM_INFO, ${name}` },
      platformInfo[name],
      snp.platformInfo?.[name],
    ),
  )
}

function tcbFindings({ report, chain }: VerifiedSnpReport, snp: ResolvedSnpPolicy): readonly Finding[] {
  const { product } = chain.root
  return [
    ...minimumFindings(
      { code: 'reported-tcb', field: 'REPORTED_TCB', product },
      report.reportedTcb,
      snp.minimumReportedTcb,
    ),
    ...minimumFindings(
      { code: 'current-tcb', field: 'CURRENT_TCB', product },
      report.currentTcb,
      snp.minimumCurrentTcb,
    ),
    ...minimumFindings(
      { code: 'committed-tcb', field: 'COMMITTED_TCB', product },
      report.committedTcb,
      snp.minimumCommittedTcb,
    ),
    ...minimumFindings(
      { code: 'launch-tcb', field: 'LAUNCH_TCB', product },
      report.launchTcb,
      snp.minimumLaunchTcb,
    ),
  ]
}

const COMPONENTS = ['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const

/** Component by component: a higher microcode makes up for no older boot loader. */
function minimumFindings(
  {
    code,
    field,
    product,
  }: { readonly code: FindingCode; readonly field: string; readonly product: SnpProduct },
  got: SnpTcb,
  minimum: MinimumTcb | undefined,
): readonly Finding[] {
  if (minimum === undefined) return []
  const least: Partial<Record<(typeof COMPONENTS)[number], number | undefined>> | undefined = minimum[product]
  if (least === undefined)
    return [
      finding(code, `the policy names no smallest ${field} for this product line`, {
        expected: `one of ${Object.keys(minimum).join(', ')}`,
        got: product,
      }),
    ]
  return COMPONENTS.flatMap((name) =>
    atLeast({ code, field: `${field}, ${name}` }, got[name] ?? 0, least[name]),
  )
}

function firmwareFindings(report: SnpReport, snp: ResolvedSnpPolicy): readonly Finding[] {
  const { currentFirmware, launchMitigations = 0n, currentMitigations = 0n } = report
  const numbers = ({ major, minor, build }: FirmwareVersion) => [major, minor, build]
  return [
    ...versionFindings('firmware-version', 'the current firmware', {
      got: numbers(currentFirmware),
      minimum: snp.minimumFirmware && numbers(snp.minimumFirmware),
    }),
    ...(snp.provisionalFirmware === 'forbidden' ? provisionalFindings(report) : []),
    ...hasBits({ code: 'mitigations', field: 'LAUNCH_MIT_VECTOR' }, launchMitigations, snp.launchMitigations),
    ...hasBits(
      { code: 'mitigations', field: 'CURRENT_MIT_VECTOR' },
      currentMitigations,
      snp.currentMitigations,
    ),
  ]
}

/** What is not committed can be rolled back at any time. */
function provisionalFindings(report: SnpReport): readonly Finding[] {
  const { currentFirmware, committedFirmware, currentTcb, committedTcb } = report
  const text = ({ major, minor, build }: FirmwareVersion) => `${major}.${minor}.${build}`
  const differs = (field: string, got: string, expected: string): readonly Finding[] =>
    got === expected
      ? []
      : [
          finding('provisional-firmware', `${field} is not committed: the host can take it back`, {
            expected,
            got,
          }),
        ]
  return [
    ...differs('the current firmware', text(currentFirmware), text(committedFirmware)),
    ...differs('CURRENT_TCB', tcbText(currentTcb), tcbText(committedTcb)),
  ]
}

function versionFindings(
  code: FindingCode,
  field: string,
  { got, minimum }: { readonly got: readonly number[]; readonly minimum: readonly number[] | undefined },
): readonly Finding[] {
  if (minimum === undefined || isAtLeast(got, minimum)) return []
  return [
    finding(code, `${field} is below the minimum`, {
      expected: `at least ${minimum.join('.')}`,
      got: got.join('.'),
    }),
  ]
}

/** Number by number, the first one that differs decides. */
function isAtLeast(got: readonly number[], minimum: readonly number[]): boolean {
  const differing = minimum.findIndex((least, index) => got[index] !== least)
  return differing < 0 || (got[differing] ?? 0) > (minimum[differing] ?? 0)
}
