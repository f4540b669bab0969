/**
 * Which entry of db lets an image run, as edk2 finds and measures it (SecurityPkg, DxeImageVerificationLib,
 * IsAllowedByDb and SecureBootHook): the signatures in the image's order, for each the certificates in db's; then db's
 * digests. The first match counts, and dbx comes before.
 */
import { createHash, createPublicKey, verify } from 'node:crypto'
import { equalBytes } from '../../base/digest.ts'
import { FormatError } from '../../base/errors.ts'
import { authenticodeDigest, authenticodeSignatures } from '../../formats/authenticode.ts'
import {
  type AuthenticodeSignature,
  parseAuthenticodeSignature,
} from '../../formats/authenticode-signature.ts'
import { guidBytes } from '../../formats/guid.ts'
import { parseSignatureLists, SIGNATURE_TYPES, type Signature } from '../../formats/signature-list.ts'
import { findVariable, type VariableStore } from '../../formats/variable-store.ts'
import { type Certificate, parseCertificate } from '../../formats/x509.ts'
import { IMAGE_SECURITY_DATABASE } from './secure-boot.ts'

export type Authority =
  /** EFI_SIGNATURE_DATA of the entry: owner and certificate, or owner and digest. */
  | { readonly allowed: true; readonly entry: Uint8Array }
  | { readonly allowed: false; readonly reason: string }

/** Longer chains than any signer's; bounds the walk. */
const MOST_LINKS = 8

/** Throws FormatError where db or dbx is malformed. A signature that is malformed counts for nothing. */
export function authorityOf(image: Uint8Array, store: VariableStore): Authority {
  const stored = (name: string) =>
    findVariable(store, { name, guid: IMAGE_SECURITY_DATABASE })?.data ?? new Uint8Array()
  return authorityIn(image, { db: stored('db'), dbx: stored('dbx') })
}

/** The same in signature lists from elsewhere. */
export function authorityIn(
  image: Uint8Array,
  lists: { readonly db: Uint8Array; readonly dbx: Uint8Array },
): Authority {
  const db = database(lists.db)
  const dbx = database(lists.dbx)
  if (findDigest(image, dbx)) return { allowed: false, reason: 'its digest is in dbx' }
  const signatures = authenticodeSignatures(image).flatMap(parsed)
  for (const signature of signatures) {
    if (!isOver(signature, image)) continue
    const chain = chainOf(signature)
    if (dbx.certificates.some((entry) => anchors(entry, chain)))
      return { allowed: false, reason: 'a certificate of its signature is in dbx' }
    const entry = db.certificates.find((each) => anchors(each, chain))
    if (entry !== undefined) return { allowed: true, entry: signatureData(entry) }
  }
  const listed = findDigest(image, db)
  if (listed !== undefined) return { allowed: true, entry: signatureData(listed) }
  const why = signatures.length === 0 ? 'it is not signed' : 'no signature of it leads to a certificate'
  return { allowed: false, reason: `${why}, and its digest is not in db` }
}

interface Database {
  readonly certificates: readonly Signature[]
  readonly digests: readonly Signature[]
}

function database(data: Uint8Array): Database {
  const lists = parseSignatureLists(data)
  const of = (type: string) => lists.filter((list) => list.type === type).flatMap((list) => list.signatures)
  return { certificates: of(SIGNATURE_TYPES.x509), digests: of(SIGNATURE_TYPES.sha256) }
}

function findDigest(image: Uint8Array, { digests }: Database): Signature | undefined {
  if (digests.length === 0) return undefined
  const digest = authenticodeDigest(image, 'sha256')
  return digests.find(({ data }) => equalBytes(data, digest))
}

function signatureData({ owner, data }: Signature): Buffer {
  return Buffer.concat([guidBytes(owner), data])
}

function parsed(bytes: Uint8Array): readonly AuthenticodeSignature[] {
  try {
    return [parseAuthenticodeSignature(bytes)]
  } catch (error) {
    if (error instanceof FormatError) return []
    throw error
  }
}

/** Whether the signature's digest is that of the image, and covered by what the signer signed. */
function isOver(
  { imageDigest, content, messageDigest, digestAlgorithm }: AuthenticodeSignature,
  image: Uint8Array,
): boolean {
  const contentDigest = createHash(digestAlgorithm).update(content).digest()
  return (
    equalBytes(imageDigest.value, authenticodeDigest(image, imageDigest.algorithm)) &&
    equalBytes(messageDigest, contentDigest)
  )
}

/** The signer's certificate and those in the signature that lead on from it; empty where the signer has not signed. */
function chainOf(signature: AuthenticodeSignature): readonly Certificate[] {
  const { certificates, signer } = signature
  const leaf = certificates.find(
    ({ issuer, serial }) => serial === signer.serial && equalBytes(issuer.raw, signer.issuer),
  )
  if (leaf === undefined || !hasSigned(leaf, signature)) return []
  const chain = [leaf]
  for (let last = leaf; chain.length < MOST_LINKS; ) {
    const issuer = certificates.find((each) => !chain.includes(each) && isIssuedBy(last, each))
    if (issuer === undefined) break
    chain.push(issuer)
    last = issuer
  }
  return chain
}

function hasSigned(
  leaf: Certificate,
  { digestAlgorithm, signedAttributes, signature }: AuthenticodeSignature,
): boolean {
  return verified(leaf, { algorithm: digestAlgorithm, data: signedAttributes, signature })
}

/** An entry anchors a chain where it is one of its certificates or has issued its last: no root is asked for. */
function anchors({ data }: Signature, chain: readonly Certificate[]): boolean {
  if (chain.some(({ raw }) => equalBytes(raw, data))) return true
  const last = chain.at(-1)
  const anchor = certificateOf(data)
  return last !== undefined && anchor !== undefined && isIssuedBy(last, anchor)
}

function certificateOf(data: Uint8Array): Certificate | undefined {
  try {
    return parseCertificate(data)
  } catch (error) {
    if (error instanceof FormatError) return undefined
    throw error
  }
}

function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  const { signatureAlgorithm: algorithm } = certificate
  if (algorithm.kind !== 'rsa-pkcs1' || !equalBytes(certificate.issuer.raw, issuer.subject.raw)) return false
  const { tbs, signature } = certificate
  return verified(issuer, { algorithm: algorithm.hash, data: tbs, signature })
}

/** Authenticode in UEFI is RSA with PKCS#1 v1.5; a key of another kind has signed nothing. */
function verified(
  { publicKey }: Certificate,
  { algorithm, data, signature }: { algorithm: string; data: Uint8Array; signature: Uint8Array },
): boolean {
  if (publicKey.kind !== 'rsa') return false
  const key = createPublicKey({ key: Buffer.from(publicKey.raw), format: 'der', type: 'spki' })
  return verify(algorithm, data, key, signature)
}
