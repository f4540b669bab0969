/**
 * Chains of SNP endorsement keys: ARK, ASK, VCEK, or ARK, ASVK, VLEK. AMD 57230, chapters 2 and 3. What RFC 5280 leaves
 * open is fixed here: the names of each role, RSASSA-PSS with SHA-384 and a salt of 48 bytes, P-384 in the leaf.
 */
import { VerifyError } from '../../base/errors.ts'
import type { Crl } from '../../formats/crl.ts'
import { algorithmText } from '../../formats/signature-algorithm.ts'
import { type Certificate, commonName, nameText } from '../../formats/x509.ts'
import { type VerifiedChain, verifyChain } from '../certificates/chain.ts'
import type { RevocationMode } from '../certificates/revocation.ts'
import { readEndorsement, type SnpEndorsement, type SnpSigner } from './endorsement.ts'
import { AMD_ROOTS, LINE_NAMES, type SnpRoot } from './roots.ts'

/** What a chain of ARK, ASK or ASVK, and leaf (AMD 57230) is looked for with. */
export interface SnpChainRequest {
  /** The VCEK or VLEK certificate. */
  readonly leaf: Certificate
  /** With the ASK or ASVK; the ARK is not needed, what does not belong to the chain is ignored. */
  readonly certificates: readonly Certificate[]
  readonly at: Date
  readonly crls?: readonly Crl[]
  /** AMD publishes lists of the ARK's alone: `authorities` demands the one for the ASK or ASVK. Default `where-given`. */
  readonly revocation?: RevocationMode
  /** Default AMD's. */
  readonly roots?: readonly SnpRoot[]
}

/**
 * Made by verifySnpChain alone; holds for every report of the key, so keep it for many. AMD 57230, chapters 2 and 3.
 */
export interface VerifiedSnpChain {
  readonly chain: VerifiedChain
  readonly root: SnpRoot
  readonly endorsement: SnpEndorsement
}

const ISSUERS: Readonly<Record<SnpSigner, (line: string) => string>> = {
  vcek: (line) => `SEV-${line}`,
  vlek: (line) => `SEV-VLEK-${line}`,
}

/**
 * Throws VerifyError: those of verifyChain, 'bad-certificate' where a certificate is not as AMD makes them,
 * 'product-mismatch' where the root is another product line's. AMD 57230, chapters 2 and 3.
 */
export function verifySnpChain(request: SnpChainRequest): VerifiedSnpChain {
  const { leaf, roots = AMD_ROOTS, certificates, at, crls = [], revocation = 'where-given' } = request
  const chain = verifyChain({
    ...{ leaf, certificates, at, crls, revocation },
    anchors: roots.map(({ anchor }) => anchor),
    require: { curve: 'P-384', keyUsage: 'digitalSignature' },
  })
  const root = roots.find(({ anchor }) => anchor === chain.anchor)
  if (!root) throw new Error('verifyChain gave an anchor that it was not given')
  chain.path.forEach(checkAlgorithm)
  const endorsement = readEndorsement(leaf)
  checkRoles(chain, { root, endorsement })
  return { chain, root, endorsement }
}

function checkAlgorithm({ signatureAlgorithm: algorithm, subject }: Certificate): void {
  if (algorithm.kind === 'rsa-pss' && algorithm.hash === 'sha384' && algorithm.saltLength === 48) return
  throw new VerifyError(`cannot use the certificate of "${nameText(subject)}" for SNP: AMD signs otherwise`, {
    code: 'bad-certificate',
    expected: 'RSASSA-PSS SHA-384 salt 48',
    got: algorithmText(algorithm),
  })
}

/** Leaf, one intermediate of the right role and line, root. */
function checkRoles(
  { path }: VerifiedChain,
  { root, endorsement }: { readonly root: SnpRoot; readonly endorsement: SnpEndorsement },
): void {
  if (endorsement.product !== root.product)
    throw new VerifyError('cannot accept the chain: its root is that of another product line', {
      code: 'product-mismatch',
      expected: `a leaf for ${LINE_NAMES[root.product]}, as ${root.anchor.label} certifies`,
      got: endorsement.productName,
    })
  const expected = ISSUERS[endorsement.signer](LINE_NAMES[root.product])
  const issuer = path[1]
  const got = issuer && commonName(issuer.subject)
  if (path.length !== 2 || got !== expected)
    throw new VerifyError('cannot accept the chain: the leaf is not issued by the authority of its role', {
      code: 'bad-chain',
      expected: `${expected} between the root and the leaf`,
      got: path.length === 2 ? `${got}` : `${path.length - 1} authorities`,
    })
}
