/**
 * Under which name an endorsement is kept, so that no two that differ in what they vouch for share one: product, chip
 * and TCB of a VCEK (on Turin the TCB has the FMC), provider and TCB of a VLEK, issuer of a list, model of a platform.
 * A name is read from the endorsement itself; whoever takes it out of a cache verifies it all the same.
 */
import { sha256Hex } from '../../base/digest.ts'
import { escapeControls } from '../../base/text.ts'
import type { Crl } from '../../formats/crl.ts'
import type { SnpTcb } from '../../formats/snp/tcb.ts'
import { type Certificate, commonName, nameText } from '../../formats/x509.ts'
import { readEndorsementFiles } from '../endorsements.ts'
import { readEndorsement } from '../snp/endorsement.ts'
import type { VcekIdentity } from '../snp/leaf.ts'
import { LINE_NAMES } from '../snp/roots.ts'
import { parseTdxCollateral, type TdxCollateral } from '../tdx/collateral.ts'
import { hasSgxExtension } from '../tdx/pck.ts'
import type { QeIdentity } from '../tdx/qe-identity.ts'
import type { SignedDocument } from '../tdx/signed-document.ts'
import type { TcbInfo } from '../tdx/tcb-info.ts'
import { isJson } from '../unwrap.ts'
import { attempt } from './vouched.ts'

/** One endorsement, with what a cache has to know of it. */
export interface CacheEntry {
  /** File name: letters, digits, hyphens, dots; at most 200 characters. */
  readonly name: string
  readonly bytes: Uint8Array
  /** For people; safe to print. */
  readonly about: string
  readonly notBefore: Date
  readonly notAfter: Date
  readonly content:
    | { readonly kind: 'certificate'; readonly certificate: Certificate }
    | { readonly kind: 'list'; readonly list: Crl }
    | { readonly kind: 'document'; readonly document: SignedDocument<TcbInfo> | SignedDocument<QeIdentity> }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const DIGEST_CHARACTERS = 16
const short = (bytes: Uint8Array | string): string => sha256Hex(bytes).slice(0, DIGEST_CHARACTERS)

/**
 * Everything that a file holds, each on its own: certificates, revocation lists (PEM, DER, an SNP certificate table),
 * and the documents, lists and certificates of TDX collateral, also of a bundle. Throws FormatError for a file of
 * neither form. Limits are those of `readEndorsementFiles` and `parseTdxCollateral`.
 */
export function cacheEntries(file: Uint8Array): readonly CacheEntry[] {
  const read = isJson(file)
    ? undefined
    : attempt(() => readEndorsementFiles({ certificates: [file], crls: [] }))
  if (read) return [...read.certificates.map(certificateEntry), ...read.crls.map(listEntry)]
  const collateral = parseTdxCollateral(file)
  return [
    ...documentEntries(collateral),
    ...collateral.certificates.map(certificateEntry),
    ...collateral.crls.map(listEntry),
  ]
}

function certificateEntry(certificate: Certificate): CacheEntry {
  const { raw: bytes, notBefore, notAfter, subject } = certificate
  const leaf = attempt(() => readEndorsement(certificate))
  // A fleet has as many as machines, and quotes carry their own: they stand apart from authorities.
  const kind = hasSgxExtension(certificate) ? 'pck-' : AUTHORITY
  const common = { bytes, notBefore, notAfter, content: { kind: 'certificate', certificate } } as const
  if (leaf === undefined)
    return { ...common, name: `${kind}${short(bytes)}.der`, about: commonName(subject) ?? nameText(subject) }
  const { signer, product, tcb, hwId, cspId, productName } = leaf
  if (hwId) {
    const about = `VCEK for ${productName}, chip ${hex(hwId)}, TCB ${hex(tcb)}`
    return { ...common, name: vcekName(LINE_NAMES[product], hwId, tcb), about }
  }
  const about = `VLEK for ${productName}, ${escapeControls(cspId ?? '')}, TCB ${hex(tcb)}`
  return { ...common, name: `${signer}-${product}-${short(cspId ?? '')}-${hex(tcb)}.der`, about }
}

function vcekName(line: string, hwId: Uint8Array, tcb: Uint8Array): string {
  return `vcek-${line.toLowerCase()}-${hex(hwId)}-${hex(tcb)}.der`
}

/**
 * The name of the VCEK certificate that vouches for a report. `hwId` 64 bytes, on Turin 8; the TCB as its 8 bytes: AMD
 * 57230, chapter 4. Never throws.
 */
export function vcekCacheName({
  product,
  hwId,
  tcb,
}: Pick<VcekIdentity, 'product' | 'hwId'> & { readonly tcb: SnpTcb }): string {
  return vcekName(product, hwId, tcb.raw)
}

/**
 * Whether an entry may belong to the path of a report by a VLEK for this TCB: the provider is not in the report. 8
 * bytes of TCB_VERSION (AMD 56860, table 3). Never throws.
 */
export function isVlekFor(
  name: string,
  { product, tcb }: { readonly product: string; readonly tcb: Uint8Array },
): boolean {
  return name.startsWith(`vlek-${product}-`) && name.endsWith(`-${hex(tcb)}.der`)
}

/** How the names of authorities begin. */
export const AUTHORITY = 'ca-'

/** The name of the list of an issuer, by its subject's DER (RFC 5280, 5.1.2.3). SHA-256 of it in hex. Never throws. */
export function listCacheName(issuer: Uint8Array): string {
  return `${LIST_PREFIX}${short(issuer)}.der`
}

/** One for an issuer: of two the newer one counts. */
function listEntry(crl: Crl): CacheEntry {
  const name = listCacheName(crl.issuer.raw)
  const notAfter = crl.nextUpdate ?? crl.thisUpdate
  return {
    name,
    bytes: crl.raw,
    notBefore: crl.thisUpdate,
    notAfter,
    about: `revocation list of ${nameText(crl.issuer)}`,
    content: { kind: 'list', list: crl },
  }
}

/** How the names of revocation lists begin. */
export const LIST_PREFIX = 'crl-'
/** One for all platforms. Intel PCS API v4, "Get TDX QE Identity". */
export const QE_IDENTITY_NAME = 'td-qe-identity.json'
/** `fmspc`: 12 hex digits in lower case. Intel PCS API v4, "Get TDX TCB Info". Never throws. */
export const tcbInfoName = (fmspc: string): string => `tcb-info-${fmspc}.json`

function documentEntries({ tcbInfos, qeIdentities }: TdxCollateral): readonly CacheEntry[] {
  return [
    ...tcbInfos.map((document) => {
      const fmspc = hex(document.content.fmspc)
      const about = `TCB info for FMSPC ${fmspc}`
      return documentEntry({ name: tcbInfoName(fmspc), about, member: 'tcbInfo', document })
    }),
    ...qeIdentities.map((document) =>
      documentEntry({
        ...{ name: QE_IDENTITY_NAME, about: 'identity of the TD quoting enclave' },
        ...{ member: 'enclaveIdentity', document },
      }),
    ),
  ]
}

interface NamedDocument {
  readonly name: string
  readonly about: string
  readonly member: 'tcbInfo' | 'enclaveIdentity'
  readonly document: SignedDocument<TcbInfo> | SignedDocument<QeIdentity>
}

/** As the PCS answers it, whatever bundle it came in: its signature is over its exact text. */
function documentEntry({ name, about, member, document }: NamedDocument): CacheEntry {
  const { content, signedBytes, signature } = document
  const { issueDate: notBefore, nextUpdate: notAfter } = content
  const bytes = Buffer.concat([
    Buffer.from(`{"${member}":`),
    signedBytes,
    Buffer.from(`,"signature":"${hex(signature)}"}`),
  ])
  return { name, bytes, about, notBefore, notAfter, content: { kind: 'document', document } }
}

/**
 * Whether `entry` shall take the place of `old`, both of one name and both vouched for: later evaluations
 * (`tcbEvaluationDataNumber`, Intel PCS API v4) and later dates win, since what a vendor issued last is what it stands
 * by. Never throws.
 */
export function isNewer(entry: CacheEntry, old: CacheEntry): boolean {
  const rank = ({ content, notBefore }: CacheEntry): readonly [number, number] => [
    content.kind === 'document' ? content.document.content.evaluationDataNumber : 0,
    notBefore.getTime(),
  ]
  const [[evaluation, date], [oldEvaluation, oldDate]] = [rank(entry), rank(old)]
  return evaluation === oldEvaluation ? date >= oldDate : evaluation > oldEvaluation
}
