/**
 * Roots of emulated TDX platforms: what one vouches for says SIMULATED everywhere, and no default policy accepts it.
 */
import { sha256Hex } from '../../base/digest.ts'
import type { Certificate } from '../../formats/x509.ts'
import { trustAnchor } from '../certificates/chain.ts'
import type { VerifyRequest } from '../request.ts'
import { INTEL_TDX_MODULE, INTEL_TDX_ROOT, type TdxRoot } from './root.ts'

/** 16 bytes where a quote has the vendor of its quoting enclave: Intel TDX DCAP Quoting Library API, "Quote Header". */
export const SIMULATED_QE_VENDOR = Buffer.from('SIMULATED QE....')
/** MRSIGNER of the emulated quoting enclave. 32 bytes. Intel SDM volume 3D, "Layout of REPORT". */
export const SIMULATED_MRSIGNER = Buffer.alloc(32, 0x5a)

/** Throws VerifyError where the certificate is no self-signed authority's. RFC 5280, 4.2.1.9. */
export function simulatedTdxRoot(certificate: Certificate): TdxRoot {
  return {
    anchor: trustAnchor(certificate, 'SIMULATED SGX Root CA'),
    simulated: true,
    qeVendorId: SIMULATED_QE_VENDOR,
    qe: {
      ...{ miscSelect: 0, miscSelectMask: 0xffff_ffff, isvProdId: 2, mrSigner: SIMULATED_MRSIGNER },
      attributes: Buffer.from('11000000000000000000000000000000', 'hex'),
      attributesMask: Buffer.from('fbffffffffffffff0000000000000000', 'hex'),
    },
    module: INTEL_TDX_MODULE,
  }
}

/**
 * Intel's root, or the one of the given certificates whose key the policy names under `simulatedRoots`, for a quote of
 * an emulated quoting enclave: nothing is trusted for being given. VerifyError as `simulatedTdxRoot`.
 */
export function tdxRoot(
  qeVendorId: Uint8Array,
  certificates: readonly Certificate[],
  { policy }: Pick<VerifyRequest, 'policy'>,
): TdxRoot {
  const named = policy.simulatedRoots ?? []
  const root = certificates.find(({ publicKey }) => named.includes(sha256Hex(publicKey.raw)))
  return root && Buffer.compare(qeVendorId, SIMULATED_QE_VENDOR) === 0
    ? simulatedTdxRoot(root)
    : INTEL_TDX_ROOT
}
