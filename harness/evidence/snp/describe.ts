/** An SNP report for people and for JSON. */
import type { GuestPolicy, PlatformInfo } from '../../formats/snp/flags.ts'
import type { FirmwareVersion, SnpReport } from '../../formats/snp/report.ts'
import { tcbText } from '../../formats/snp/tcb.ts'
import { nameText } from '../../formats/x509.ts'
import { hexOf } from '../checks.ts'
import type { Decoded, Fields } from '../examination.ts'
import { day, hexOrZeros, holds, open, type PageSection, row, shortName, type Voucher } from '../page.ts'
import type { VerifiedSnpEvidence } from './verified.ts'
import type { VerifiedSnpReport } from './verify.ts'

/**
 * A report with what came beside it. Fields as `describeSnpReport`, and the EK, its name and the ID block where they
 * were verified. Never throws. AMD 56860, table 23.
 */
export function describeSnpEvidence(report: SnpReport, verified?: VerifiedSnpEvidence): Decoded {
  const decoded = describeSnpReport(report, verified?.snp)
  if (verified === undefined) return decoded
  const { svsm, idBlock, akBound } = verified
  return {
    fields: {
      ...decoded.fields,
      ...(svsm && { svsm_vtpm_ek: hexOf(svsm.ek.bytes), svsm_vtpm_ek_name: hexOf(svsm.ekName) }),
      ...(idBlock && { id_block_verified: true }),
    },
    page: {
      ...decoded.page,
      vouchedBy: [
        ...decoded.page.vouchedBy,
        ...(svsm
          ? [
              holds(`an SVSM at VMPL 0 names its vTPM's EK: ${hexOf(svsm.ekName)}`),
              akBound
                ? holds('the vTPM with that EK opened a credential for the AK')
                : open(
                    'whether an AK is in that vTPM: give its quote (--quote) with a credential for the EK',
                  ),
            ]
          : []),
        ...(idBlock
          ? [
              holds(
                `the ID block is of this launch, signed by its ID key${idBlock.authorKeyDigest ? ', which the author key signed' : ''}`,
              ),
            ]
          : []),
      ],
    },
  }
}

/**
 * Fields by the names of the ABI's table ATTESTATION_REPORT (AMD 56860) in lower case; bytes in hex as they lie in the
 * report. Never throws.
 */
export function describeSnpReport(report: SnpReport, verified?: VerifiedSnpReport): Decoded {
  const product = verified?.chain.root.product ?? report.processor?.product
  return {
    fields: {
      ...reportFields(report),
      ...(product !== undefined && { product }),
      ...(verified && { chip_id_is: verified.chipId, certificate: certificateFields(verified) }),
    },
    page: {
      title: `SNP report, version ${report.version}${report.processor ? `, of a ${report.processor.name}` : ''}`,
      says: [guestSection(report), platformSection(report)],
      vouchedBy: verified ? vouchers(verified) : [],
    },
  }
}

const field = ({ raw }: SnpReport, offset: number, length: number): Uint8Array =>
  raw.subarray(offset, offset + length)

/** By the names of table 23, in lower case. TCBs and versions are the bytes as they lie in the report. */
function reportFields(report: SnpReport): Fields {
  const { fmc, bootloader, tee, snp, microcode } = report.reportedTcb
  const [cpuidFamily = 0, cpuidModel = 0, cpuidStepping = 0] = field(report, 0x188, 3)
  return {
    version: report.version,
    guest_svn: report.guestSvn,
    policy: `0x${report.policy.raw.toString(16)}`,
    family_id: hexOf(report.familyId),
    image_id: hexOf(report.imageId),
    vmpl: report.vmpl,
    sig_algo: 1,
    current_tcb: hexOf(report.currentTcb.raw),
    platform_info: `0x${report.platformInfo.raw.toString(16)}`,
    key_info: `0x${report.keyInfo.raw.toString(16)}`,
    report_data: hexOf(report.reportData),
    measurement: hexOf(report.measurement),
    host_data: hexOf(report.hostData),
    id_key_digest: hexOf(report.idKeyDigest),
    author_key_digest: hexOf(report.authorKeyDigest),
    report_id: hexOf(report.reportId),
    report_id_ma: hexOf(report.reportIdMa),
    reported_tcb: hexOf(report.reportedTcb.raw),
    ...{ cpuid_fam: cpuidFamily, cpuid_mod: cpuidModel, cpuid_step: cpuidStepping },
    chip_id: hexOf(report.chipId),
    committed_tcb: hexOf(report.committedTcb.raw),
    current_ver: hexOf(field(report, 0x1e8, 4)),
    committed_ver: hexOf(field(report, 0x1ec, 4)),
    launch_tcb: hexOf(report.launchTcb.raw),
    launch_mit_vector: hexOf(field(report, 0x1f8, 8)),
    current_mit_vector: hexOf(field(report, 0x200, 8)),
    signing_key: report.keyInfo.signingKey.toUpperCase(),
    author_key_en: report.keyInfo.authorKeyEnabled ? 1 : 0,
    mask_chip_key: report.keyInfo.maskChipKey ? 1 : 0,
    reported_tcb_fields: { ...(fmc !== undefined && { fmc }), bootloader, tee, snp, microcode },
  }
}

function certificateFields({ chain }: VerifiedSnpReport): Fields {
  const { leaf } = chain.chain
  return {
    subject: nameText(leaf.subject),
    issuer: nameText(leaf.issuer),
    not_before: leaf.notBefore.toISOString(),
    not_after: leaf.notAfter.toISOString(),
    product_name: chain.endorsement.productName,
    ...(chain.endorsement.cspId !== undefined && { csp_id: chain.endorsement.cspId }),
    root: chain.root.anchor.label,
    revocation_checked: chain.chain.revocationChecked,
  }
}

/** Names of the bits that are set. */
function bits(flags: GuestPolicy | PlatformInfo): string {
  const set = Object.entries(flags).flatMap(([name, value]) => (value === true ? [name] : []))
  return set.join(', ') || 'no bit set'
}

function guestSection(report: SnpReport): PageSection {
  const { policy, vmpl } = report
  const abi = `needs ABI ${policy.abi.major}.${policy.abi.minor} or newer`
  const debug = policy.debug ? 'DEBUG: the host can read its memory; ' : ''
  return {
    title: 'The guest',
    rows: [
      row('launch digest', hexOf(report.measurement)),
      row('REPORT_DATA', hexOrZeros(report.reportData)),
      row('HOST_DATA', hexOrZeros(report.hostData)),
      row('VMPL', vmpl, vmpl === 'host' ? 'the host asked for this report, not the guest' : ''),
      row('POLICY', `0x${policy.raw.toString(16)}`, `${debug}${bits(policy)}; ${abi}`),
      row('GUEST_SVN', report.guestSvn),
      row('FAMILY_ID', hexOrZeros(report.familyId)),
      row('IMAGE_ID', hexOrZeros(report.imageId)),
      row('ID key', keyDigest(report.idKeyDigest)),
      row('author key', keyDigest(report.authorKeyDigest)),
      row('REPORT_ID', hexOf(report.reportId)),
      row(
        'migration agent',
        report.reportIdMa.every((byte) => byte === 0xff) ? 'none' : hexOf(report.reportIdMa),
      ),
    ],
  }
}

function keyDigest(digest: Uint8Array): string {
  return digest.every((byte) => byte === 0) ? 'none' : hexOf(digest)
}

function platformSection(report: SnpReport): PageSection {
  const { currentFirmware, committedFirmware, platformInfo, launchMitigations, currentMitigations } = report
  const firmware = ({ major, minor, build }: FirmwareVersion) => `${major}.${minor}.${build}`
  const { reportedTcb, currentTcb, committedTcb, launchTcb } = report
  return {
    title: 'The platform',
    rows: [
      row('CHIP_ID', hexOrZeros(report.chipId)),
      row('PLATFORM_INFO', `0x${platformInfo.raw.toString(16)}`, bits(platformInfo)),
      row('firmware', firmware(currentFirmware), `committed ${firmware(committedFirmware)}`),
      row('reported TCB', tcbText(reportedTcb)),
      row('current TCB', tcbText(currentTcb)),
      row('committed TCB', tcbText(committedTcb)),
      row('launch TCB', tcbText(launchTcb)),
      ...(launchMitigations === undefined
        ? []
        : [
            row(
              'mitigations',
              `0x${launchMitigations.toString(16)} at launch, 0x${currentMitigations?.toString(16)} now`,
            ),
          ]),
    ],
  }
}

const CHIPS = {
  certified: 'CHIP_ID is that of the certificate',
  masked: 'which chip it was is not said: CHIP_ID is zero',
  uncertified: 'CHIP_ID is what the firmware says: a VLEK names no chip',
} as const

function vouchers({ chain, signer, chipId }: VerifiedSnpReport): readonly Voucher[] {
  const { leaf, path, revocationChecked } = chain.chain
  const { root, endorsement } = chain
  const authorities = path.slice(1).map(shortName)
  const owner = endorsement.cspId === undefined ? '' : ` of ${endorsement.cspId}`
  return [
    holds(`a ${signer.toUpperCase()}${owner} for ${endorsement.productName} signed the report`),
    holds(`its certificate is for REPORTED_TCB and valid until ${day(leaf.notAfter)}`),
    chipId === 'certified' ? holds(CHIPS[chipId]) : open(CHIPS[chipId]),
    holds(
      `${authorities.join(', ')}, then ${root.anchor.label}${root.simulated ? ' (SIMULATED)' : ' (pinned)'}`,
    ),
    revocationChecked === 0
      ? open('revocation: not looked at, no revocation list was given')
      : holds(
          `revocation: ${revocationChecked} certificate${revocationChecked === 1 ? '' : 's'} on no list of their issuer`,
        ),
  ]
}
