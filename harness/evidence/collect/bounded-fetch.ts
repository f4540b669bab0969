/**
 * One request to a vendor's key service or a cache of it. What comes back is as untrusted as any other endorsement:
 * only its size and the time that it takes are bounded here.
 */
import { HostError, UsageError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'

/** The largest answer that a service of ours gives is a PCK revocation list, below 100 KiB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024
const TIMEOUT_MILLISECONDS = 15_000

/** Body and headers of an answer 200: RFC 9110, 15.3.1. */
export interface Answer {
  readonly body: Uint8Array
  /** Value of a header, by its name in any case; undefined where it is absent. */
  readonly header: (name: string) => string | undefined
}

/** Defaults: 4 MiB, 15000 ms. */
export interface FetchOptions {
  readonly maxBytes?: number
  readonly timeoutMilliseconds?: number
}

/**
 * GET without redirects. Throws HostError `no-network` for an answer that is not 200, is too large or takes too long.
 * RFC 9110, 9.3.1.
 */
export async function boundedFetch(url: URL, options: FetchOptions = {}): Promise<Answer> {
  const { maxBytes = MAX_ANSWER_BYTES, timeoutMilliseconds = TIMEOUT_MILLISECONDS } = options
  const signal = AbortSignal.timeout(timeoutMilliseconds)
  try {
    const response = await fetch(url, { redirect: 'error', signal })
    if (response.status !== 200) throw failure(url, `answered ${response.status}, 200 is required`)
    const body = await boundedBody(response, { url, maxBytes })
    return { body, header: (name) => response.headers.get(name) ?? undefined }
  } catch (cause) {
    if (cause instanceof HostError) throw cause
    throw failure(
      url,
      signal.aborted ? `gave no answer within ${timeoutMilliseconds} ms` : reason(cause),
      cause,
    )
  }
}

async function boundedBody(
  response: Response,
  { url, maxBytes }: { readonly url: URL; readonly maxBytes: number },
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of response.body ?? []) {
    length += piece.length
    if (length > maxBytes) throw failure(url, `sent more than ${maxBytes} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

/** undici keeps what happened (`ECONNREFUSED`) in the cause of "fetch failed". */
function reason(thrown: unknown): string {
  const cause = thrown instanceof Error ? (thrown.cause ?? thrown) : thrown
  return escapeControls(cause instanceof Error ? cause.message : String(cause))
}

function failure(url: URL, problem: string, cause?: unknown): HostError {
  return new HostError(`cannot fetch ${url.href}: it ${problem}`, {
    code: 'no-network',
    hint: 'give the endorsements with --certs, --crl and --collateral, or try again later',
    cause,
  })
}

const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost'])

/**
 * The base address of a service, ending in a slash. Throws UsageError `bad-value` for anything but https; http is
 * accepted from this machine only, where caches run. RFC 3986, 3.
 */
export function serviceAddress(text: string): URL {
  const url = URL.parse(text.endsWith('/') ? text : `${text}/`)
  const acceptable =
    url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.has(url.hostname)))
  if (!acceptable)
    throw new UsageError(`"${escapeControls(text)}" is no address of a service; https://HOST is required`, {
      code: 'bad-value',
    })
  return url
}
