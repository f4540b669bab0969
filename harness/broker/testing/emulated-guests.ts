/** Guests of emulated platforms, as clients of a broker. Their roots are simulated: only a policy that names them trusts them. */
import { sha256Hex } from '../../base/digest.ts'
import type { ResolvedPolicy } from '../../evidence/policy/resolve.ts'
import { type SnpClaims, SnpSignerEmulation } from '../../evidence/testing/snp-signer.ts'
import { collateralFiles, SIMULATED_TIME } from '../../evidence/testing/tdx-collateral.ts'
import { makeTdxPki } from '../../evidence/testing/tdx-pki.ts'
import { makeTdxQuote, type TdReportSpec } from '../../evidence/testing/tdx-quote.ts'
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
