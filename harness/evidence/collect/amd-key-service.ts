/** AMD's key distribution service: "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface", chapter 4. */
import { boundedFetch, type FetchOptions, serviceAddress } from './bounded-fetch.ts'

/** AMD's own service. */
export const AMD_KDS = 'https://kdsintf.amd.com'

/** As the service spells the product lines: Bergamo and Siena are served under Genoa. AMD 57230, product names. */
export type KdsProduct = 'Milan' | 'Genoa' | 'Turin'

/** What tells VCEK certificates apart: AMD 57230, chapter 4 (Key Distribution Service). */
export interface VcekRequest {
  readonly product: KdsProduct
  /** hwID: 64 bytes, on Turin 8. */
  readonly hwId: Uint8Array
  /** Components of REPORTED_TCB; `fmc` on Turin only, where it tells certificates apart. */
  readonly tcb: {
    readonly fmc?: number | undefined
    readonly bootloader: number
    readonly tee: number
    readonly snp: number
    readonly microcode: number
  }
}

/**
 * Path and query of the certificate, without a leading slash. Two chips or TCBs never share one. AMD 57230, chapter 4.
 * Never throws.
 */
export function vcekPath({ product, hwId, tcb }: VcekRequest): string {
  const query = [
    ...(tcb.fmc === undefined ? [] : [['fmcSPL', tcb.fmc] as const]),
    ...([
      ['blSPL', tcb.bootloader],
      ['teeSPL', tcb.tee],
      ['snpSPL', tcb.snp],
    ] as const),
    ['ucodeSPL', tcb.microcode] as const,
  ].map(([name, value]) => `${name}=${String(value).padStart(2, '0')}`)
  return `vcek/v1/${product}/${Buffer.from(hwId).toString('hex')}?${query.join('&')}`
}

/** Where is asked, and how long and much is taken. Milliseconds and bytes. AMD 57230, chapter 4. */
export interface KdsOptions extends FetchOptions {
  /** Base address; default AMD's own. */
  readonly address?: string
}

/**
 * The VCEK certificate, DER, as the service sends it: at most 4 MiB, within 15 s. Throws HostError `no-network`. AMD
 * 57230, chapter 4.
 */
export async function fetchVcek(request: VcekRequest, options: KdsOptions = {}): Promise<Uint8Array> {
  return fetchFrom(vcekPath(request), options)
}

/**
 * ASK (or, for `vlek`, ASVK) and ARK, PEM. Throws HostError `no-network`. At most 4 MiB, within 15 s: AMD 57230,
 * chapter 4.
 */
export async function fetchAmdChain(
  { product, signer }: { readonly product: KdsProduct; readonly signer: 'vcek' | 'vlek' },
  options: KdsOptions = {},
): Promise<Uint8Array> {
  return fetchFrom(`${signer}/v1/${product}/cert_chain`, options)
}

/** The ARK's revocation list, DER. Throws HostError `no-network`. At most 4 MiB, within 15 s: AMD 57230, chapter 4. */
export async function fetchAmdCrl(product: KdsProduct, options: KdsOptions = {}): Promise<Uint8Array> {
  return fetchFrom(`vcek/v1/${product}/crl`, options)
}

async function fetchFrom(path: string, { address = AMD_KDS, ...limits }: KdsOptions): Promise<Uint8Array> {
  const { body } = await boundedFetch(new URL(path, serviceAddress(address)), limits)
  return body
}
