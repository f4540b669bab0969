/**
 * What vouches for a piece of evidence and was not given: from the cache, and from key services where that is allowed.
 * What was given comes first; only what is still missing is asked for.
 */
import { FormatError, HostError } from '../base/errors.ts'
import { type CacheEntry, cacheEntries } from '../evidence/collect/cache-key.ts'
import { attempt, certificatesOf, sortOutVouched } from '../evidence/collect/vouched.ts'
import { readEndorsementFiles } from '../evidence/endorsements.ts'
import { type HardwareEvidence, hardwareEvidence } from '../evidence/hardware-evidence.ts'
import type { FoundEndorsements, VerifyRequest } from '../evidence/request.ts'
import { mergeTdxCollateral, parseTdxCollateral } from '../evidence/tdx/collateral.ts'
import { carriedCertificates } from '../evidence/tdx/pck.ts'
import { platformSelector } from '../evidence/tdx/pcs.ts'
import type { Certificate } from '../formats/x509.ts'
import { type CacheTime, type EndorsementCache, foundIn } from './endorsement-cache.ts'
import { type Missing, missingForReport } from './missing-certificates.ts'
import { missingForPlatform } from './missing-collateral.ts'

export interface Services {
  /** Addresses; the vendors' own where they are not given. */
  readonly kds?: string | undefined
  readonly pcs?: string | undefined
}

interface Finder {
  readonly cache: EndorsementCache
  /** Undefined: nobody is asked. */
  readonly services: Services | undefined
}

export interface FoundRequest {
  readonly request: VerifyRequest
  /** What could not be had: whether that matters, verification tells. */
  readonly failures: readonly HostError[]
}

/** The request with what was found; without anything about hardware in it, unchanged. Throws UsageError for an address. */
export async function withFoundEndorsements(request: VerifyRequest, finder: Finder): Promise<FoundRequest> {
  const failures: HostError[] = []
  let found: FoundEndorsements = { certificates: [], crls: [], collateral: [] }
  for (const evidence of attempt(() => hardwareEvidence(request)) ?? []) {
    const beside = [...givenCertificates(request), ...carried(evidence)]
    const lookUp = () => fromCache(evidence, { when: { at: request.at, beside }, cache: finder.cache })
    const cached = await lookUp()
    const missing = finder.services
      ? missingFor(evidence, { request, cached, services: finder.services })
      : []
    for (const each of missing) failures.push(...(await fetchInto(finder.cache, { missing: each, beside })))
    const after = missing.length > 0 ? await lookUp() : cached
    found = joined(found, foundIn(after))
  }
  return { request: { ...request, found }, failures }
}

/** What was given and is malformed is for verification to say. */
function givenCertificates({ certificates, collateral }: VerifyRequest): readonly Certificate[] {
  return [...certificates, ...collateral].flatMap(
    (file) => attempt(() => certificatesOf(cacheEntries(file))) ?? [],
  )
}

/** What came with the evidence: of no more weight than what was given, since whatever uses it looks for a pinned root. */
function carried(evidence: HardwareEvidence): readonly Certificate[] {
  if (evidence.kind === 'snp') return evidence.certificates
  return attempt(() => carriedCertificates(evidence.quote)) ?? []
}

async function fromCache(
  evidence: HardwareEvidence,
  { when, cache }: { readonly when: CacheTime; readonly cache: EndorsementCache },
): Promise<readonly CacheEntry[]> {
  if (evidence.kind === 'snp') return cache.forReport(evidence.report, when)
  const selector = attempt(() => platformSelector(evidence.quote))
  return selector ? cache.forPlatform(selector.fmspc, when) : []
}

interface Need {
  readonly request: VerifyRequest
  readonly cached: readonly CacheEntry[]
  readonly services: Services
}

function missingFor(evidence: HardwareEvidence, { request, cached, services }: Need): readonly Missing[] {
  const found = foundIn(cached)
  const { at } = request
  if (evidence.kind === 'tdx') {
    const files = [
      request.collateral,
      request.certificates,
      request.crls,
      found.collateral,
      found.certificates,
    ]
    // What was given and is malformed is for verification to say.
    const parts = [...files, found.crls]
      .flat()
      .flatMap((file) => attempt(() => parseTdxCollateral(file)) ?? [])
    return missingForPlatform(evidence.quote, {
      have: mergeTdxCollateral(...parts),
      at,
      service: services.pcs,
    })
  }
  const given = [request, found].map((files) => attempt(() => readEndorsementFiles(files)))
  const certificates = [...evidence.certificates, ...given.flatMap((each) => each?.certificates ?? [])]
  const { vouched } = sortOutVouched(
    certificates.flatMap(({ raw }) => cacheEntries(raw)),
    { beside: [], simulatedRoots: request.policy.simulatedRoots ?? [] },
  )
  const have = {
    ...{ certificates, vouched: certificatesOf(vouched) },
    // Lists in the evidence are anybody's.
    crls: given.flatMap((each) => each?.crls ?? []),
  }
  return missingForReport(evidence.report, { have, at, service: services.kds })
}

/** What went wrong: nothing where an answer came that a root vouches for. */
async function fetchInto(
  cache: EndorsementCache,
  { missing, beside }: { readonly missing: Missing; readonly beside: readonly Certificate[] },
): Promise<readonly HostError[]> {
  const failures: HostError[] = []
  // Where the product is not said, one after the other is asked for.
  for (const ask of missing.alternatives) {
    try {
      const { refused } = await cache.import(await ask(), beside)
      if (refused.length === 0) return []
      failures.push(unvouched(missing.what, refused))
    } catch (error) {
      failures.push(asFailure(error, missing.what))
    }
  }
  return failures.slice(0, 1)
}

function unvouched(what: string, refused: readonly CacheEntry[]): HostError {
  return new HostError(
    `cannot use what was fetched as ${what}: no pinned root vouches for ${refused.map(({ about }) => about).join(', ')}`,
    { code: 'no-network', hint: 'ask another service, or give the endorsements as files' },
  )
}

function asFailure(error: unknown, what: string): HostError {
  if (error instanceof HostError) return error
  if (!(error instanceof FormatError)) throw error
  return new HostError(`cannot use what was fetched as ${what}: ${error.message}`, {
    code: 'no-network',
    cause: error,
  })
}

function joined(one: FoundEndorsements, other: FoundEndorsements): FoundEndorsements {
  return {
    certificates: [...one.certificates, ...other.certificates],
    crls: [...one.crls, ...other.crls],
    collateral: [...one.collateral, ...other.collateral],
  }
}
