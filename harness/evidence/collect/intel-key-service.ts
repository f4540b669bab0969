/**
 * Intel's provisioning certification service, API version 4, or a PCCS that caches it: TDX collateral. The chains come
 * in headers, URL-encoded PEM.
 */
import { FormatError } from '../../base/errors.ts'
import { boundedFetch, type FetchOptions, serviceAddress } from './bounded-fetch.ts'

export const INTEL_PCS = 'https://api.trustedservices.intel.com'
/** Intel's service has no path for the root's list; a PCCS has. */
const INTEL_ROOT_CRL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der'

export interface TdxCollateralRequest {
  /** 6 bytes, from the PCK certificate. */
  readonly fmspc: Uint8Array
  readonly pckCa: 'platform' | 'processor'
}

/** The members of a collateral file, as PCCS clients name them. */
export interface FetchedCollateral {
  readonly pck_crl_issuer_chain: string
  readonly root_ca_crl: string
  readonly pck_crl: string
  readonly tcb_info_issuer_chain: string
  readonly tcb_info: string
  readonly qe_identity_issuer_chain: string
  readonly qe_identity: string
}

export interface PcsOptions extends FetchOptions {
  /** Base address of the service or a PCCS; default Intel's own. */
  readonly address?: string
}

/** Four requests. Throws HostError `no-network`, and FormatError where a chain's header is missing or garbled. */
export async function fetchTdxCollateral(
  { fmspc, pckCa }: TdxCollateralRequest,
  { address = INTEL_PCS, ...limits }: PcsOptions = {},
): Promise<FetchedCollateral> {
  const base = serviceAddress(address)
  const get = (path: string) => boundedFetch(new URL(path, base), limits)
  const [tcbInfo, qeIdentity, pckCrl, rootCrl] = await Promise.all([
    get(`tdx/certification/v4/tcb?fmspc=${Buffer.from(fmspc).toString('hex')}`),
    get('tdx/certification/v4/qe/identity'),
    get(`sgx/certification/v4/pckcrl?ca=${pckCa}&encoding=der`),
    address === INTEL_PCS
      ? boundedFetch(new URL(INTEL_ROOT_CRL), limits)
      : get('sgx/certification/v4/rootcacrl'),
  ])
  return {
    pck_crl_issuer_chain: pem(pckCrl.header('SGX-PCK-CRL-Issuer-Chain'), 'SGX-PCK-CRL-Issuer-Chain'),
    root_ca_crl: hexText(rootCrl.body),
    pck_crl: hexText(pckCrl.body),
    tcb_info_issuer_chain: pem(
      tcbInfo.header('TCB-Info-Issuer-Chain') ?? tcbInfo.header('SGX-TCB-Info-Issuer-Chain'),
      'TCB-Info-Issuer-Chain',
    ),
    tcb_info: Buffer.from(tcbInfo.body).toString('utf8'),
    qe_identity_issuer_chain: pem(
      qeIdentity.header('SGX-Enclave-Identity-Issuer-Chain'),
      'SGX-Enclave-Identity-Issuer-Chain',
    ),
    qe_identity: Buffer.from(qeIdentity.body).toString('utf8'),
  }
}

function pem(header: string | undefined, name: string): string {
  try {
    if (header !== undefined) return decodeURIComponent(header)
  } catch {
    // Falls through: a broken escape is as useless as no header.
  }
  throw new FormatError(
    `cannot read the answer of the key service: its header ${name} is missing or garbled`,
    {
      code: 'bad-value',
      field: name,
      offset: 0,
    },
  )
}

const HEX_TEXT = /^[0-9a-fA-F\s]+$/

/** Some caches answer in DER, some in hex. */
function hexText(body: Uint8Array): string {
  const text = Buffer.from(body).toString('latin1')
  return HEX_TEXT.test(text) ? text.trim() : Buffer.from(body).toString('hex')
}
