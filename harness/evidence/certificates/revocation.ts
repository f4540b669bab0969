/** Revocation lists against a path whose signatures were verified: RFC 5280, 6.3, for complete lists of the issuer. */
import { VerifyError } from '../../base/errors.ts'
import type { Crl } from '../../formats/crl.ts'
import type { PublicKeyInfo } from '../../formats/public-key-info.ts'
import { type Certificate, nameText } from '../../formats/x509.ts'
import { EXTENSION } from '../../formats/x509-extensions.ts'
import { checkUsage } from './certificate-checks.ts'
import { isSignedBy } from './signature.ts'

/**
 * Which certificates of the path need a current list of their issuer: none, the authorities (AMD revokes those alone:
 * all its leaves have the serial number 0), or all.
 */
export type RevocationMode = 'where-given' | 'authorities' | 'required'

/** A path whose signatures hold, and the lists to hold it against: RFC 5280, 6.3.1. */
export interface RevocationRequest {
  /** From the leaf; each is signed by the next one's key, the last by the anchor's. */
  readonly path: readonly Certificate[]
  readonly anchor: { readonly publicKey: PublicKeyInfo; readonly label: string }
  readonly at: Date
  readonly crls: readonly Crl[]
  readonly mode: RevocationMode
}

/** A list that was used, and when the next is due. RFC 5280, 5.1.2. */
export interface UsedList {
  readonly thisUpdate: Date
  readonly nextUpdate: Date
}

/** What of a path was looked at: the lists, and for how many certificates. RFC 5280, 6.3. */
export interface RevocationState {
  readonly lists: readonly UsedList[]
  /** Certificates of the path for which a list was looked at. */
  readonly checked: number
}

/** Extensions of a list that change nothing in what it says of the issuer's certificates. */
const UNDERSTOOD: readonly string[] = [EXTENSION.authorityKeyIdentifier, EXTENSION.crlNumber]

/**
 * From the root to the leaf. Lists of other issuers are ignored; of several of the same issuer all must hold, and one
 * that names the certificate is enough. Throws VerifyError `crl-missing`, `crl-signature`, `crl-not-yet-valid`,
 * `crl-expired`, `bad-certificate` (a list that is not understood, an issuer that may not sign lists), `revoked`. RFC
 * 5280, 6.3.3, without indirect and delta lists.
 */
export function checkRevocation({ path, anchor, at, crls, mode }: RevocationRequest): RevocationState {
  const lists: UsedList[] = []
  let checked = 0
  for (const [index, certificate] of [...path.entries()].reverse()) {
    const named = crls.filter(({ issuer }) => Buffer.compare(issuer.raw, certificate.issuer.raw) === 0)
    const needed = mode === 'required' || (mode === 'authorities' && index > 0)
    if (named.length === 0 && needed)
      throw new VerifyError(`cannot tell whether ${quoted(certificate)} was revoked`, {
        code: 'crl-missing',
        expected: `a revocation list of ${nameText(certificate.issuer)}`,
        got: 'none',
      })
    const issuer = path[index + 1]
    for (const crl of named) {
      if (issuer) checkUsage(issuer, 'cRLSign')
      checkList(crl, (issuer ?? anchor).publicKey)
      // Before its time: what a list revoked stays so when the next one is due.
      checkEntry(crl, certificate)
      lists.push(checkTime(crl, at))
    }
    if (named.length > 0) checked += 1
  }
  return { lists, checked }
}

const listOf = (crl: Crl): string => `the revocation list of "${nameText(crl.issuer)}"`

/** Authenticity of a list, and whether all of it is understood. */
function checkList(crl: Crl, publicKey: PublicKeyInfo): void {
  const { signatureAlgorithm: algorithm, tbs: data, signature } = crl
  const what = listOf(crl)
  if (!isSignedBy(publicKey, { algorithm, data, signature }))
    throw new VerifyError(`cannot use ${what}: its issuer's key did not sign it`, {
      code: 'crl-signature',
      expected: 'a signature by the key that issued the certificate',
      got: 'one that does not verify',
    })
  const critical = [...crl.extensions, ...entryExtensions(crl)].find(
    ({ oid, critical }) => critical && !UNDERSTOOD.includes(oid),
  )
  if (critical)
    throw new VerifyError(`cannot use ${what}: it is not a complete list of its issuer's certificates`, {
      code: 'bad-certificate',
      expected: 'only critical extensions that are understood',
      got: `the critical extension ${critical.oid}`,
    })
}

function checkTime(crl: Crl, at: Date): UsedList {
  const { thisUpdate, nextUpdate } = crl
  const what = listOf(crl)
  if (!(at >= thisUpdate))
    throw new VerifyError(`cannot use ${what}: it is not yet valid`, {
      code: 'crl-not-yet-valid',
      expected: `not before ${thisUpdate.toISOString()}`,
      got: at.toISOString(),
    })
  if (nextUpdate === undefined || !(at <= nextUpdate))
    throw new VerifyError(`cannot use ${what}: the next one is due`, {
      code: 'crl-expired',
      expected: `not after ${nextUpdate?.toISOString() ?? 'a date that the list must name'}`,
      got: at.toISOString(),
    })
  return { thisUpdate, nextUpdate }
}

/** Critical extensions of entries: certificateIssuer is the one that exists, it makes the list an indirect one. */
function entryExtensions(crl: Crl): readonly { oid: string; critical: boolean }[] {
  return [...crl.revoked.values()].flatMap(({ criticalExtensions }) =>
    criticalExtensions.map((oid) => ({ oid, critical: true })),
  )
}

function checkEntry(crl: Crl, certificate: Certificate): void {
  const entry = crl.revoked.get(certificate.serial)
  if (!entry) return
  const reason = entry.reason === undefined ? '' : `, reason ${entry.reason}`
  throw new VerifyError(`cannot trust ${quoted(certificate)}: its issuer revoked it`, {
    code: 'revoked',
    expected: `serial ${certificate.serial} in no list of ${nameText(crl.issuer)}`,
    got: `revoked on ${entry.date.toISOString()}${reason}`,
  })
}

const quoted = ({ subject }: Certificate): string => `the certificate of "${nameText(subject)}"`
