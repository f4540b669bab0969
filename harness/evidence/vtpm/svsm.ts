/** The SVSM's way: REPORT_DATA hashes a nonce and a manifest with the vTPM's EK. AMD 58019, 7 (attestation). */
import { digest, equalBytes } from '../../base/digest.ts'
import { parseServicesManifest, SERVICES_MANIFEST_GUID, VTPM_SERVICE } from '../../formats/svsm-manifest.ts'
import { parseTpmPublic, type TpmPublic, tpmName } from '../../formats/tpm2/public.ts'
import { bindingMismatch, type EndorsingReport, mustBeMostPrivileged } from './hardware-report.ts'

/** What an SVSM answered: AMD 58019, 7.1 (SVSM_ATTEST_SERVICES) and 7.2. */
export interface SvsmAttestation {
  /** `services`: the GUID table of all services (SVSM_ATTEST_SERVICES). `single`: the vTPM's manifest alone. */
  readonly form: 'services' | 'single'
  /** As configfs-tsm gives it in `manifestblob`. */
  readonly manifest: Uint8Array
  /** What was asked with: the verifier's, 64 bytes. */
  readonly nonce: Uint8Array
}

/** TPM_ALG_RSA and TPM_ALG_ECC, with which a TPMT_PUBLIC begins: a GUID table begins with neither. */
const KEY_TYPES: readonly number[] = [0x0001, 0x0023]

/**
 * Manifest and form, told by the first two bytes: the vTPM's own manifest is its EK as a TPMT_PUBLIC. AMD 58019, 7.
 * Never throws.
 */
export function svsmAttestation(manifest: Uint8Array): Pick<SvsmAttestation, 'form' | 'manifest'> {
  const type = ((manifest[0] ?? 0) << 8) | (manifest[1] ?? 0)
  return { form: KEY_TYPES.includes(type) ? 'single' : 'services', manifest }
}

/**
 * What configfs-tsm demands, and Coconut's SVSM: no longer one is hashed. Nothing says where in what is hashed the
 * nonce ends, so after a shorter one a guest could begin a manifest of its own, and have the true one follow in it.
 */
const NONCE_BYTES = 64

/** A vTPM whose EK the hardware vouches for: AMD 58019, 7. `ekName`: TPM 2.0 Part 1, "Names"; 34 bytes with SHA-256. */
export interface SvsmVtpmEndorsement {
  readonly kind: 'svsm'
  readonly hardware: 'snp'
  /** The vTPM's endorsement key: bind an AK to it with `makeCredential`. */
  readonly ek: TpmPublic
  readonly ekName: Uint8Array
}

/**
 * `report` is the verified SNP report that came with the manifest. Throws VerifyError `binding-mismatch` where its
 * REPORT_DATA is not SHA-512(nonce ‖ manifest), its VMPL is not 0, or there is no vTPM; FormatError for a malformed
 * manifest. AMD 58019, 7.
 */
export function verifySvsmEndorsement(
  attestation: SvsmAttestation,
  report: EndorsingReport,
): SvsmVtpmEndorsement {
  const { form, manifest, nonce } = attestation
  if (report.kind !== 'snp')
    throw bindingMismatch('an SVSM runs on SEV-SNP only', { expected: 'snp', got: report.kind })
  mustBeMostPrivileged(report)
  mustNotHideAnother({ manifest, nonce })
  const expected = digest('sha512', nonce, manifest)
  if (!equalBytes(expected, report.reportData))
    throw bindingMismatch('REPORT_DATA is not the SHA-512 digest of the nonce and the manifest', {
      expected: expected.toString('hex'),
      got: Buffer.from(report.reportData).toString('hex'),
    })
  const ek = parseTpmPublic(form === 'single' ? manifest : vtpmManifest(manifest))
  return { kind: 'svsm', hardware: 'snp', ek, ekName: tpmName(ek) }
}

/**
 * The second guard is for an SVSM that takes longer nonces after all: no table stands within a manifest. Throws
 * VerifyError `binding-mismatch`.
 */
function mustNotHideAnother({ manifest, nonce }: Pick<SvsmAttestation, 'manifest' | 'nonce'>): void {
  if (nonce.length !== NONCE_BYTES)
    throw bindingMismatch('only a nonce of full length tells where the manifest begins', {
      expected: `a nonce of ${NONCE_BYTES} bytes (--nonce)`,
      got: `${nonce.length} bytes`,
    })
  const at = Buffer.from(manifest).indexOf(SERVICES_MANIFEST_GUID, 1)
  if (at >= 0)
    throw bindingMismatch('the manifest holds another table of services', {
      expected: 'one table, at 0x0',
      got: `another at 0x${at.toString(16)}`,
    })
}

function vtpmManifest(manifest: Uint8Array): Uint8Array {
  const services = parseServicesManifest(manifest)
  const vtpm = services.find(({ guid }) => guid === VTPM_SERVICE)
  if (vtpm && vtpm.data.length > 0) return vtpm.data
  throw bindingMismatch('the manifest has no vTPM service', {
    expected: VTPM_SERVICE,
    got: services.map(({ guid }) => guid).join(', ') || 'no services',
  })
}
