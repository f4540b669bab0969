/** Guests of emulated platforms, as clients of a broker. Their roots are simulated: only a policy that names them trusts them. */
import { sha256Hex } from '../../base/digest.ts'
import type { ResolvedPolicy } from '../../evidence/policy/resolve.ts'
import { type SnpClaims, SnpSignerEmulation } from '../../evidence/testing/snp-signer.ts'
import { collateralFiles, SIMULATED_TIME } from '../../evidence/testing/tdx-collateral.ts'
import { makeTdxPki } from '../../evidence/testing/tdx-pki.ts'
import { makeTdxQuote, type TdReportSpec } from '../../evidence/testing/tdx-quote.ts'
import { type FirmwareVersion, parseSnpReport } from '../../formats/snp/report.ts'
import { parseCertificate } from '../../formats/x509.ts'
import type { ReleasePolicy } from '../release-policy.ts'
import type { EvidenceSource } from './rcar-client.ts'

/** Within the validity of all that is simulated. */
export { SIMULATED_TIME }

/** Made once: keys take time. */
const milan = new SnpSignerEmulation()
const pki = makeTdxPki()

export const LAUNCH_DIGEST = Buffer.alloc(48, 0x5a)

/** REPORT_DATA: the digest and zeros. */
function filled(digest: Uint8Array): Buffer {
  const field = Buffer.alloc(64)
  field.set(digest)
  return field
}

/** As configfs-tsm hands it out. */
export function snpGuest(claims: SnpClaims = {}, more: Partial<EvidenceSource> = {}): EvidenceSource {
  return { ...snpGuestOf(milan, claims), ...more }
}

/** A guest of another processor. */
export function snpGuestOf(processor: SnpSignerEmulation, claims: SnpClaims = {}): EvidenceSource {
  const auxblob = processor.certificateTable().toString('base64')
  const primary = (digest: Buffer) => {
    const report = processor.report({ measurement: LAUNCH_DIGEST, reportData: filled(digest), ...claims })
    return { outblob: report.toString('base64'), auxblob }
  }
  return { tee: 'snp', primary }
}

/** As Trustee's attester sends it: virtee's struct in JSON, and a list of certificates. */
export function serdeSnpGuest(): EvidenceSource {
  const numbers = (bytes: Uint8Array) => [...bytes]
  const tcb = (raw: Uint8Array) => ({
    fmc: null,
    bootloader: raw[0],
    tee: raw[1],
    snp: raw[6],
    microcode: raw[7],
  })
  const firmware = ({ major, minor, build }: FirmwareVersion) => ({ major, minor, build })
  const primary = (digest: Buffer) => {
    const bytes = milan.report({ measurement: LAUNCH_DIGEST, reportData: filled(digest) })
    const report = parseSnpReport(bytes)
    const attestation_report = {
      ...{ version: report.version, guest_svn: report.guestSvn, policy: Number(report.policy.raw) },
      ...{ family_id: numbers(report.familyId), image_id: numbers(report.imageId), vmpl: report.vmpl },
      ...{ sig_algo: 1, current_tcb: tcb(report.currentTcb.raw), plat_info: Number(report.platformInfo.raw) },
      ...{ key_info: report.keyInfo.raw, report_data: numbers(report.reportData) },
      ...{ measurement: numbers(report.measurement), host_data: numbers(report.hostData) },
      ...{ id_key_digest: numbers(report.idKeyDigest), author_key_digest: numbers(report.authorKeyDigest) },
      ...{ report_id: numbers(report.reportId), report_id_ma: numbers(report.reportIdMa) },
      ...{ reported_tcb: tcb(report.reportedTcb.raw), chip_id: numbers(report.chipId) },
      ...{
        cpuid_fam_id: report.cpuid?.family,
        cpuid_mod_id: report.cpuid?.model,
        cpuid_step: report.cpuid?.stepping,
      },
      ...{ committed_tcb: tcb(report.committedTcb.raw), launch_tcb: tcb(report.launchTcb.raw) },
      ...{ current: firmware(report.currentFirmware), committed: firmware(report.committedFirmware) },
      signature: { r: numbers(bytes.subarray(0x2a0, 0x2e8)), s: numbers(bytes.subarray(0x2e8, 0x330)) },
    }
    const { root, intermediate, leaf } = milan.certificates
    const cert_chain = Object.entries({ ARK: root, ASK: intermediate, VCEK: leaf }).map(
      ([cert_type, data]) => ({
        ...{ cert_type, data: numbers(data) },
      }),
    )
    return { attestation_report, cert_chain }
  }
  return { tee: 'snp', primary }
}

/** As Trustee's attester sends it. */
export function tdxGuest(body: TdReportSpec = {}, more: Partial<EvidenceSource> = {}): EvidenceSource {
  const primary = (digest: Buffer) => ({
    cc_eventlog: null,
    quote: makeTdxQuote(pki, { body: { reportData: filled(digest), ...body } }).toString('base64'),
  })
  return { tee: 'tdx', primary, ...more }
}

/** Demands the emulated guests' launch digest under their simulated roots. */
export function snpRelease(
  policy: Partial<ResolvedPolicy> = {},
  more: Partial<ReleasePolicy> = {},
): ReleasePolicy {
  const launchDigests = [LAUNCH_DIGEST.toString('hex')]
  return { policy: { simulatedRoots: [milan.root.keyId], snp: { launchDigests }, ...policy }, ...more }
}

export function tdxRelease(policy: Partial<ResolvedPolicy> = {}): ReleasePolicy {
  const root = parseCertificate(pki.certificates.root)
  return {
    policy: { simulatedRoots: [sha256Hex(root.publicKey.raw)], tdx: {}, ...policy },
    certificates: [pki.certificates.root],
    collateral: Object.values(collateralFiles(pki)),
  }
}
