/** Whether the revocation lists that a caller gave were of any use: one that was passed over must not look heeded. */
import type { Finding } from '../../base/errors.ts'
import type { Crl } from '../../formats/crl.ts'
import { type Certificate, nameText } from '../../formats/x509.ts'
import { finding } from '../finding.ts'

/**
 * One finding `crl-unused` for each file of which no list is of an issuer in `path` (leaf, its issuer, and so on,
 * without the root). The lists of the others were checked with the path: RFC 5280, 6.3.3. `read` throws FormatError.
 */
export function unusedLists(
  files: readonly Uint8Array[],
  {
    path,
    read,
  }: { readonly path: readonly Certificate[]; readonly read: (file: Uint8Array) => readonly Crl[] },
): readonly Finding[] {
  const isOfPath = ({ issuer }: Crl) =>
    path.some((certificate) => Buffer.compare(certificate.issuer.raw, issuer.raw) === 0)
  return files.flatMap((file) => {
    const lists = read(file)
    if (lists.some(isOfPath)) return []
    return [
      finding('crl-unused', 'a revocation list that was given is of no issuer in the chain', {
        expected: `a list of ${[...new Set(path.map(({ issuer }) => nameText(issuer)))].join(' or ')}`,
        got: lists.map(({ issuer }) => nameText(issuer)).join('; ') || 'no revocation list',
      }),
    ]
  })
}
