import { UsageError } from '../../base/errors.ts'
import type { TdxQuote } from '../../formats/tdx/quote.ts'
import { commonName } from '../../formats/x509.ts'
import { carriedCertificates, readPckIdentity } from './pck.ts'

/**
 * Where collateral is fetched from: Intel's Provisioning Certification Service (PCS API v4), or a caching service
 * (PCCS) with the same paths. The network itself is the caller's: nothing here opens a connection.
 */

/** Intel's own service. */
export const INTEL_PCS = 'https://api.trustedservices.intel.com'
const INTEL_ROOT_CRL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der'

/** Answers of services; `header` knows names in any case (RFC 9110, 5.1). Intel PCS API v4. */
export interface CollateralAnswer {
  readonly body: Uint8Array
  readonly header: (name: string) => string | undefined
}

/** GET (RFC 9110, 9.3.1); rejects for every status but 200. Bounds the time and the size, at most 4 MiB. */
export type CollateralFetch = (url: string) => Promise<CollateralAnswer>

/**
 * What one platform needs: public, the same for all platforms of a model. Intel PCS API v4: FMSPC of 6 bytes in hex,
 * and which authority.
 */
export interface PlatformSelector {
  /** 12 lower-case hex digits. */
  readonly fmspc: string
  /** Which authority issued the PCK certificate. */
  readonly authority: 'platform' | 'processor'
}

/** What is asked for, and renewed, on its own. Intel PCS API v4. */
export type CollateralPart = 'tcb-info' | 'qe-identity' | 'pck-crl' | 'root-crl'

/**
 * One request: the file its answer becomes, and the header in which the issuers' chain comes along. Intel PCS API v4.
 */
export interface CollateralRequest {
  readonly part: CollateralPart
  readonly url: string
  /** Names everything that distinguishes the answer, so it can be a cache's key. */
  readonly file: string
  readonly chainHeaders: readonly string[]
}

/** A file as parseTdxCollateral reads it: an answer of Intel PCS API v4, at most 4 MiB, or a chain of its headers. */
export interface CollateralFile {
  readonly file: string
  readonly bytes: Uint8Array
}

/**
 * From the quote's own PCK certificate, unverified: it decides only what is asked for. Undefined where the quote does
 * not carry it. Throws FormatError, VerifyError. Intel PCS API v4, "Get TDX TCB Info" and "Get PCK CRL".
 */
export function platformSelector(quote: TdxQuote): PlatformSelector | undefined {
  const [leaf] = carriedCertificates(quote)
  if (leaf === undefined) return undefined
  const { fmspc } = readPckIdentity(leaf)
  const issuer = commonName(leaf.issuer) ?? ''
  return {
    fmspc: Buffer.from(fmspc).toString('hex'),
    authority: issuer.includes('Processor') ? 'processor' : 'platform',
  }
}

/**
 * The four requests for a platform. `service` is the address before "/sgx/certification/v4"; http only to a loopback
 * address, where a PCCS of one's own may run. Throws UsageError 'bad-value' for any other address. Intel PCS API v4.
 */
export function collateralRequests(
  { fmspc, authority }: PlatformSelector,
  service: string = INTEL_PCS,
): readonly CollateralRequest[] {
  const base = serviceAddress(service)
  const isIntel = base === INTEL_PCS
  return [
    {
      part: 'tcb-info',
      url: `${base}/tdx/certification/v4/tcb?fmspc=${fmspc}`,
      file: `tcb-info-${fmspc}.json`,
      chainHeaders: ['TCB-Info-Issuer-Chain', 'SGX-TCB-Info-Issuer-Chain'],
    },
    {
      part: 'qe-identity',
      url: `${base}/tdx/certification/v4/qe/identity`,
      file: 'td-qe-identity.json',
      chainHeaders: ['SGX-Enclave-Identity-Issuer-Chain'],
    },
    {
      part: 'pck-crl',
      url: `${base}/sgx/certification/v4/pckcrl?ca=${authority}&encoding=der`,
      file: `pck-${authority}.crl`,
      chainHeaders: ['SGX-PCK-CRL-Issuer-Chain'],
    },
    {
      part: 'root-crl',
      // Intel serves the root's list from its certificate's distribution point; a PCCS has a path of its own.
      url: isIntel ? INTEL_ROOT_CRL : `${base}/sgx/certification/v4/rootcacrl`,
      file: 'root-ca.crl',
      chainHeaders: [],
    },
  ]
}

/** How, where and which parts. */
export interface CollateralFetching {
  readonly fetch: CollateralFetch
  /** Default Intel's PCS. */
  readonly service?: string
  /** Default all. */
  readonly parts?: readonly CollateralPart[]
}

/**
 * Fetches the parts for a platform, one request after the other; issuers' chains become files of their own. Throws what
 * `fetch` throws, and UsageError 'bad-value' for an address that is no service's. Intel PCS API v4; at most 4 MiB an
 * answer.
 */
export async function fetchTdxCollateral(
  selector: PlatformSelector,
  { fetch, service, parts }: CollateralFetching,
): Promise<readonly CollateralFile[]> {
  const files: CollateralFile[] = []
  for (const { part, url, file, chainHeaders } of collateralRequests(selector, service)) {
    if (parts && !parts.includes(part)) continue
    const { body, header } = await fetch(url)
    files.push({ file, bytes: body })
    const chain = chainHeaders.map((name) => header(name)).find((value) => value !== undefined)
    if (chain !== undefined)
      files.push({ file: `${file}.chain.pem`, bytes: Buffer.from(percentDecoded(chain)) })
  }
  return files
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Not encoded after all: whether it is a chain is for the parser to say.
    return text
  }
}

const LOOPBACK: readonly string[] = ['localhost', '127.0.0.1', '[::1]']

function serviceAddress(service: string): string {
  const url = URL.canParse(service) ? new URL(service) : undefined
  const allowed = url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.includes(url.hostname))
  const plain = url && url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  if (url === undefined || !allowed || !plain) {
    throw new UsageError(
      'the address of a collateral service must be https://, or http:// on a loopback address',
      {
        code: 'bad-value',
      },
    )
  }
  const path = url.pathname.replace(/\/+$/, '').replace(/\/(sgx|tdx)\/certification\/v4$/, '')
  return `${url.origin}${path}`
}
