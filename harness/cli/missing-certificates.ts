/** What AMD's key service has to be asked for, beside what is at hand. */
import { AMD_KDS, fetchAmdChain, fetchAmdCrl, fetchVcek } from '../evidence/collect/amd-key-service.ts'
import { attempt } from '../evidence/collect/vouched.ts'
import { readEndorsement, signerOf } from '../evidence/snp/endorsement.ts'
import { isFor, vcekIdentity } from '../evidence/snp/leaf.ts'
import { AMD_ROOTS, LINE_NAMES } from '../evidence/snp/roots.ts'
import type { Crl } from '../formats/crl.ts'
import type { SnpReport } from '../formats/snp/report.ts'
import type { SnpProduct } from '../formats/snp/tcb.ts'
import { type Certificate, commonName } from '../formats/x509.ts'

/** One thing to fetch: the first of the ways that succeeds is enough. */
export interface Missing {
  /** For messages. */
  readonly what: string
  readonly alternatives: readonly (() => Promise<readonly Uint8Array[]>)[]
}

export interface ReportNeed {
  readonly have: {
    /** From anywhere, the evidence itself too. */
    readonly certificates: readonly Certificate[]
    /** Those of them that a pinned root vouches for: a stranger's name must not keep anything from being asked for. */
    readonly vouched: readonly Certificate[]
    /** None that only the evidence carries. */
    readonly crls: readonly Crl[]
  }
  readonly at: Date
  /** Default AMD's. */
  readonly service: string | undefined
}

/** Each for itself: a list ends years before the certificate that it is about. */
export function missingForReport(
  report: SnpReport,
  { have, at, service = AMD_KDS }: ReportNeed,
): readonly Missing[] {
  const { certificates, vouched, crls } = have
  const signer = report.keyInfo.signingKey === 'vlek' ? 'vlek' : 'vcek'
  const leaves = certificates.filter(
    (certificate) => signerOf(certificate) === signer && isFor(report, certificate),
  )
  const lines = linesOf(
    report,
    leaves.flatMap((leaf) => attempt(() => readEndorsement(leaf).product) ?? []),
  )
  const options = { address: service }
  const issuersOf = (line: SnpProduct) => {
    const name = `${signer === 'vlek' ? 'SEV-VLEK' : 'SEV'}-${LINE_NAMES[line]}`
    return vouched.filter(({ subject, notAfter }) => commonName(subject) === name && notAfter >= at)
  }
  const hasList = (line: SnpProduct) =>
    rootNames(line, issuersOf(line)).every((root) =>
      crls.some(
        ({ issuer, nextUpdate }) =>
          Buffer.compare(issuer.raw, root) === 0 && nextUpdate !== undefined && nextUpdate >= at,
      ),
    )
  return [
    ...lines
      .filter((line) => issuersOf(line).length === 0)
      .map((line) => ({
        what: `the chain of the signing key of ${LINE_NAMES[line]}`,
        alternatives: [async () => [await fetchAmdChain({ product: LINE_NAMES[line], signer }, options)]],
      })),
    ...(leaves.length > 0 ? [] : vcekOf(report, lines, options)),
    ...lines
      .filter((line) => !hasList(line))
      .map((line) => ({
        what: `the revocation list of the root of ${LINE_NAMES[line]}`,
        alternatives: [async () => [await fetchAmdCrl(LINE_NAMES[line], options)]],
      })),
  ]
}

/** Whose lists count: of those above the issuers, which may be emulated; without any AMD's root. */
function rootNames(line: SnpProduct, issuers: readonly Certificate[]): readonly Uint8Array[] {
  if (issuers.length > 0) return issuers.map(({ issuer }) => issuer.raw)
  return AMD_ROOTS.filter(({ product }) => product === line).map(({ anchor }) => anchor.name)
}

/**
 * Version 2 names no product: what the certificates say that are there, and without any those lines that have it. One
 * more than needed costs a request; one less would leave its root's list unasked for.
 */
function linesOf({ processor }: SnpReport, certified: readonly SnpProduct[]): readonly SnpProduct[] {
  if (processor) return [processor.product]
  return certified.length > 0 ? [...new Set(certified)] : ['milan', 'genoa']
}

/** Nobody can be asked for a VLEK, or where CHIP_ID is masked. */
function vcekOf(
  report: SnpReport,
  lines: readonly SnpProduct[],
  options: { readonly address: string },
): readonly Missing[] {
  const identities = lines.flatMap((line) => vcekIdentity(report, line) ?? [])
  if (identities.length === 0) return []
  const alternatives = identities.map((identity) => async () => [await fetchVcek(identity, options)])
  return [{ what: "the chip's certificate", alternatives }]
}
