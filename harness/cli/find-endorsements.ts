/** What vouches for a piece of evidence and was not given: from the cache, and from key services where that is allowed. */
import { FormatError, VerifyError } from '../base/errors.ts'
import { AMD_KDS, fetchAmdChain, fetchAmdCrl, fetchVcek } from '../evidence/collect/amd-key-service.ts'
import { boundedFetch } from '../evidence/collect/bounded-fetch.ts'
import { type CacheEntry, listCacheName, tcbInfoName, vcekCacheName } from '../evidence/collect/cache-key.ts'
import { type HardwareEvidence, hardwareEvidence } from '../evidence/hardware-evidence.ts'
import type { VerifyRequest } from '../evidence/request.ts'
import { vcekIdentity } from '../evidence/snp/leaf.ts'
import { AMD_ROOTS, LINE_NAMES } from '../evidence/snp/roots.ts'
import { fetchTdxCollateral, type PlatformSelector, platformSelector } from '../evidence/tdx/pcs.ts'
import type { SnpReport } from '../formats/snp/report.ts'
import type { SnpProduct } from '../formats/snp/tcb.ts'
import type { TdxQuote } from '../formats/tdx/quote.ts'
import type { CachedFiles, EndorsementCache } from './endorsement-cache.ts'

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

/** The request with what was found; without anything about hardware in it, unchanged. Throws HostError `no-network`. */
export async function withFoundEndorsements(request: VerifyRequest, finder: Finder): Promise<VerifyRequest> {
  let found = request
  for (const evidence of readable(() => hardwareEvidence(request)) ?? []) {
    if (finder.services) await fetchInto(finder.cache, { evidence, request, services: finder.services })
    found = joined(found, await fromCache(evidence, { at: request.at, cache: finder.cache }))
  }
  return found
}

async function fromCache(
  evidence: HardwareEvidence,
  { at, cache }: { readonly at: Date; readonly cache: EndorsementCache },
): Promise<CachedFiles> {
  if (evidence.kind === 'snp') return cache.forReport(evidence.report, at)
  const selector = selectorOf(evidence.quote)
  return selector ? cache.forPlatform(selector.fmspc, at) : { certificates: [], crls: [], collateral: [] }
}

function joined(request: VerifyRequest, { certificates, crls, collateral }: CachedFiles): VerifyRequest {
  return {
    ...request,
    certificates: [...request.certificates, ...certificates],
    crls: [...request.crls, ...crls],
    collateral: [...request.collateral, ...collateral],
  }
}

interface Fetching {
  readonly evidence: HardwareEvidence
  readonly request: VerifyRequest
  readonly services: Services
}

/** Asks for what the cache does not have, or has no longer. */
async function fetchInto(cache: EndorsementCache, { evidence, request, services }: Fetching): Promise<void> {
  const current = (await cache.list()).filter(({ notAfter }) => notAfter >= request.at)
  const has = (name: string) => current.some((entry) => entry.name === name)
  if (evidence.kind === 'tdx') {
    const selector = selectorOf(evidence.quote)
    if (selector && !has(tcbInfoName(selector.fmspc))) await fetchPlatform(cache, selector, services)
    return
  }
  await fetchChip(cache, evidence.report, { current, services })
}

async function fetchPlatform(
  cache: EndorsementCache,
  selector: PlatformSelector,
  { pcs }: Services,
): Promise<void> {
  const fetch = (url: string) => boundedFetch(new URL(url))
  const files = await fetchTdxCollateral(selector, { fetch, ...(pcs !== undefined && { service: pcs }) })
  for (const { bytes } of files) await cache.import(bytes)
}

interface ChipFetching {
  readonly current: readonly CacheEntry[]
  readonly services: Services
}

/** Version 2 names no product: those that have it are asked in turn. */
async function fetchChip(
  cache: EndorsementCache,
  report: SnpReport,
  { current, services }: ChipFetching,
): Promise<void> {
  const lines = report.processor ? [report.processor.product] : (['milan', 'genoa'] as const)
  const failures: unknown[] = []
  for (const line of lines) {
    try {
      await fetchLine(cache, report, { line, current, services })
      return
    } catch (error) {
      failures.push(error)
    }
  }
  throw failures[0]
}

/** Each for itself: a list ends years before the certificate that it is about. */
async function fetchLine(
  cache: EndorsementCache,
  report: SnpReport,
  { line, current, services }: ChipFetching & { readonly line: SnpProduct },
): Promise<void> {
  const options = { address: services.kds ?? AMD_KDS }
  const product = LINE_NAMES[line]
  const signer = report.keyInfo.signingKey === 'vlek' ? 'vlek' : 'vcek'
  const identity = vcekIdentity(report, line)
  const has = (name: string) => current.some((entry) => entry.name === name)
  if (identity && !has(vcekCacheName(identity))) await cache.import(await fetchVcek(identity, options))
  const issuer = `${signer === 'vlek' ? 'SEV-VLEK' : 'SEV'}-${product}`
  if (!current.some(({ about }) => about === issuer))
    await cache.import(await fetchAmdChain({ product, signer }, options))
  const root = AMD_ROOTS.find((each) => each.product === line)
  if (!root || !has(listCacheName(root.anchor.name))) await cache.import(await fetchAmdCrl(product, options))
}

function selectorOf(quote: TdxQuote): PlatformSelector | undefined {
  return readable(() => platformSelector(quote))
}

/** What is malformed finds nothing; that it is malformed is for verification to say. */
function readable<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof FormatError || error instanceof VerifyError) return undefined
    throw error
  }
}
