import { sha256Hex } from '../../base/digest.ts'
import { SNP_PRODUCTS } from '../../formats/snp/tcb.ts'
import { type Certificate, commonName } from '../../formats/x509.ts'
import type { VerifyRequest } from '../request.ts'
import { AMD_ROOTS, LINE_NAMES, type SnpRoot, simulatedSnpRoot } from './roots.ts'

/**
 * AMD's roots, and of the given certificates those whose keys the policy names under `simulatedRoots`: nothing is
 * trusted for being given. The product line is the one in the root's common name; without one it is left out.
 * VerifyError as `simulatedSnpRoot`.
 */
export function simulatedRoots(
  certificates: readonly Certificate[],
  { policy }: Pick<VerifyRequest, 'policy'>,
): readonly SnpRoot[] {
  const named = policy.simulatedRoots ?? []
  const simulated = certificates.flatMap((certificate) => {
    if (!named.includes(sha256Hex(certificate.publicKey.raw))) return []
    const name = commonName(certificate.subject) ?? ''
    const product = SNP_PRODUCTS.find((line) => name.includes(LINE_NAMES[line]))
    return product ? [simulatedSnpRoot(certificate, product)] : []
  })
  return [...AMD_ROOTS, ...simulated]
}
