/**
 * Under which name an endorsement is kept, so that no two that differ in what they vouch for share one: product, chip
 * and TCB of a VCEK (on Turin the TCB has the FMC), provider and TCB of a VLEK, issuer of a list, model of a platform.
 * A name is read from the endorsement itself; whoever takes it out of a cache verifies it all the same.
 */
import { sha256Hex } from '../../base/digest.ts'
import { FormatError, VerifyError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import type { Crl } from '../../formats/crl.ts'
import type { SnpTcb } from '../../formats/snp/tcb.ts'
import { type Certificate, commonName, nameText } from '../../formats/x509.ts'
import { readEndorsementFiles } from '../endorsements.ts'
import { readEndorsement } from '../snp/endorsement.ts'
import type { VcekIdentity } from '../snp/leaf.ts'
import { LINE_NAMES } from '../snp/roots.ts'
import { parseTdxCollateral } from '../tdx/collateral.ts'
import { isJson } from '../unwrap.ts'

export interface CacheEntry {
  /** File name: letters, digits, hyphens, dots; at most 200 characters. */
  readonly name: string
  readonly bytes: Uint8Array
  /** For people; safe to print. */
  readonly about: string
  readonly notBefore: Date
  readonly notAfter: Date
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const DIGEST_CHARACTERS = 16
const short = (bytes: Uint8Array | string): string => sha256Hex(bytes).slice(0, DIGEST_CHARACTERS)

/**
 * Everything that a file holds: certificates, revocation lists (PEM, DER, an SNP certificate table), or a document of
 * TDX collateral. Throws FormatError for a file of neither form.
 */
export function cacheEntries(file: Uint8Array): readonly CacheEntry[] {
  const read = isJson(file)
    ? undefined
    : attempt(() => readEndorsementFiles({ certificates: [file], crls: [] }))
  if (read === undefined) return collateralEntries(file)
  return [...read.certificates.map(certificateEntry), ...read.crls.map(listEntry)]
}

function certificateEntry(certificate: Certificate): CacheEntry {
  const { raw: bytes, notBefore, notAfter, subject } = certificate
  const leaf = attempt(() => readEndorsement(certificate))
  if (leaf === undefined) {
    const name = `${AUTHORITY}${short(bytes)}.der`
    return { name, bytes, notBefore, notAfter, about: commonName(subject) ?? nameText(subject) }
  }
  const { signer, product, tcb, hwId, cspId, productName } = leaf
  if (hwId) {
    const about = `VCEK for ${productName}, chip ${hex(hwId)}, TCB ${hex(tcb)}`
    return { name: vcekName(LINE_NAMES[product], hwId, tcb), bytes, notBefore, notAfter, about }
  }
  const about = `VLEK for ${productName}, ${escapeControls(cspId ?? '')}, TCB ${hex(tcb)}`
  return {
    name: `${signer}-${product}-${short(cspId ?? '')}-${hex(tcb)}.der`,
    bytes,
    notBefore,
    notAfter,
    about,
  }
}

function vcekName(line: string, hwId: Uint8Array, tcb: Uint8Array): string {
  return `vcek-${line.toLowerCase()}-${hex(hwId)}-${hex(tcb)}.der`
}

/** The name of the VCEK certificate that vouches for a report. */
export function vcekCacheName({
  product,
  hwId,
  tcb,
}: Pick<VcekIdentity, 'product' | 'hwId'> & { readonly tcb: SnpTcb }): string {
  return vcekName(product, hwId, tcb.raw)
}

/** Whether an entry may belong to the path of a report by a VLEK for this TCB: the provider is not in the report. */
export function isVlekFor(
  name: string,
  { product, tcb }: { readonly product: string; readonly tcb: Uint8Array },
): boolean {
  return name.startsWith(`vlek-${product}-`) && name.endsWith(`-${hex(tcb)}.der`)
}

const AUTHORITY = 'ca-'

/** Whether an entry is an authority whose common name begins like this. */
export function isAuthority({ name, about }: CacheEntry, beginnings: readonly string[]): boolean {
  return name.startsWith(AUTHORITY) && beginnings.some((beginning) => about.startsWith(beginning))
}

/** The name of the list of an issuer, by its subject's DER. */
export function listCacheName(issuer: Uint8Array): string {
  return `${LIST_PREFIX}${short(issuer)}.der`
}

/** One for an issuer: of two the newer one counts, and who imports decides which that is. */
function listEntry(crl: Crl): CacheEntry {
  const name = listCacheName(crl.issuer.raw)
  const notAfter = crl.nextUpdate ?? crl.thisUpdate
  return {
    name,
    bytes: crl.raw,
    notBefore: crl.thisUpdate,
    notAfter,
    about: `revocation list of ${nameText(crl.issuer)}`,
  }
}

export const LIST_PREFIX = 'crl-'
export const QE_IDENTITY_NAME = 'td-qe-identity.json'
export const tcbInfoName = (fmspc: string): string => `tcb-info-${fmspc}.json`

/** A bundle is kept under the model of its TCB info, whole: its parts belong together. */
function collateralEntries(file: Uint8Array): readonly CacheEntry[] {
  const { tcbInfos, qeIdentities } = parseTdxCollateral(file)
  const [info] = tcbInfos
  const [identity] = qeIdentities
  if (info) {
    const fmspc = hex(info.content.fmspc)
    const { issueDate: notBefore, nextUpdate: notAfter } = info.content
    return [
      { name: tcbInfoName(fmspc), bytes: file, notBefore, notAfter, about: `TCB info for FMSPC ${fmspc}` },
    ]
  }
  if (identity)
    return [
      {
        name: QE_IDENTITY_NAME,
        bytes: file,
        notBefore: identity.content.issueDate,
        notAfter: identity.content.nextUpdate,
        about: 'identity of the TD quoting enclave',
      },
    ]
  throw new FormatError('cannot import the file: it has no certificate, list, TCB info or QE identity', {
    ...{ code: 'bad-value', field: 'endorsement', offset: 0 },
  })
}

function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof FormatError || error instanceof VerifyError) return undefined
    throw error
  }
}
