/** What AMD's key service has to be asked for, beside what is at hand. */
import { AMD_KDS, fetchAmdChain, fetchAmdCrl, fetchVcek } from '../evidence/collect/amd-key-service.ts'
import { attempt } from '../evidence/collect/vouched.ts'
import type { Endorsements } from '../evidence/endorsements.ts'
import { readEndorsement, signerOf } from '../evidence/snp/endorsement.ts'
import { isFor, vcekIdentity } from '../evidence/snp/leaf.ts'
import { AMD_ROOTS, LINE_NAMES } from '../evidence/snp/roots.ts'
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
  readonly have: Endorsements
  readonly at: Date
  /** Default AMD's. */
  readonly service: string | undefined
}

/** Each for itself: a list ends years before the certificate that it is about. */
export function missingForReport(
  report: SnpReport,
  { have, at, service = AMD_KDS }: ReportNeed,
): readonly Missing[] {
  const { certificates, crls } = have
  const signer = report.keyInfo.signingKey === 'vlek' ? 'vlek' : 'vcek'
  const leaf = certificates.find(
    (certificate) => signerOf(certificate) === signer && isFor(report, certificate),
  )
  const lines = linesOf(report, leaf && attempt(() => readEndorsement(leaf).product))
  const options = { address: service }
  const isIssuer = ({ subject, notAfter }: Certificate, line: SnpProduct) => {
    const name = `${signer === 'vlek' ? 'SEV-VLEK' : 'SEV'}-${LINE_NAMES[line]}`
    return commonName(subject) === name && notAfter >= at
  }
  const issuerOf = (line: SnpProduct) => certificates.find((each) => isIssuer(each, line))
  const hasList = (line: SnpProduct) => {
    const pinned = AMD_ROOTS.find((each) => each.product === line)?.anchor.name
    const root = issuerOf(line)?.issuer.raw ?? pinned ?? new Uint8Array()
    return crls.some(
      ({ issuer, nextUpdate }) =>
        Buffer.compare(issuer.raw, root) === 0 && nextUpdate !== undefined && nextUpdate >= at,
    )
  }
  const toAsk = (
    what: string,
    ask: (line: SnpProduct) => Promise<Uint8Array>,
    of = lines,
  ): readonly Missing[] =>
    of.length === 0 ? [] : [{ what, alternatives: of.map((line) => async () => [await ask(line)]) }]
  const chainOf = (line: SnpProduct) => fetchAmdChain({ product: LINE_NAMES[line], signer }, options)
  const withoutIssuer = lines.some((line) => issuerOf(line) !== undefined) ? [] : lines
  const withoutList = lines.some(hasList) ? [] : lines
  return [
    ...toAsk('the chain of the signing key', chainOf, withoutIssuer),
    ...(leaf ? [] : vcekOf(report, lines, options)),
    ...toAsk(
      'the revocation list of the root',
      (line) => fetchAmdCrl(LINE_NAMES[line], options),
      withoutList,
    ),
  ]
}

/** Version 2 names no product: without a certificate those that have it are asked in turn. */
function linesOf({ processor }: SnpReport, certified: SnpProduct | undefined): readonly SnpProduct[] {
  const known = processor?.product ?? certified
  return known ? [known] : ['milan', 'genoa']
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
