/**
 * What a client is told when it gets nothing. One table: code, HTTP status, and the problem type of Trustee's error
 * bodies (kbs/src/error.rs; RFC 7807). Why exactly stands in the audit log, not in the answer.
 */
import { AttestbedError } from '../base/errors.ts'

const REFUSALS = {
  'malformed-request': { status: 400, type: 'SerdeError' },
  'wrong-media-type': { status: 400, type: 'SerdeError' },
  'body-too-large': { status: 413, type: 'SerdeError' },
  'version-mismatch': { status: 401, type: 'AttestationError' },
  'unsupported-tee': { status: 401, type: 'AttestationError' },
  'no-common-hash': { status: 401, type: 'AttestationError' },
  'no-session': { status: 401, type: 'AttestationError' },
  'session-expired': { status: 401, type: 'AttestationError' },
  'nonce-mismatch': { status: 401, type: 'AttestationError' },
  'unsupported-key': { status: 401, type: 'AttestationError' },
  'not-authentic': { status: 401, type: 'AttestationError' },
  'not-attested': { status: 401, type: 'TokenNotFound' },
  'bad-token': { status: 401, type: 'TokenVerifierError' },
  'policy-denied': { status: 403, type: 'PolicyDeny' },
  'bad-path': { status: 404, type: 'InvalidRequestPath' },
  'no-resource': { status: 404, type: 'InvalidRequestPath' },
  'wrong-method': { status: 405, type: 'InvalidRequestPath' },
  'too-slow': { status: 408, type: 'SerdeError' },
  'too-many-requests': { status: 429, type: 'TooManyRequests' },
  'too-many-sessions': { status: 429, type: 'TooManyRequests' },
  'headers-too-large': { status: 431, type: 'SerdeError' },
  'not-recorded': { status: 500, type: 'PluginInternalError' },
  'internal-error': { status: 500, type: 'PluginInternalError' },
} as const

/** What a client can be refused for. */
export type RefusalCode = keyof typeof REFUSALS

/** Every code, for tests that see each of them once. */
export const REFUSAL_CODES = Object.keys(REFUSALS) as readonly RefusalCode[]

/** A request that gets nothing. The message goes to the client: no secret, no finding, no path of this machine. */
export class BrokerRefusal extends AttestbedError<RefusalCode> {
  override readonly name = 'BrokerRefusal'
  /** For a refusal outside a server, such as of a token that is verified by hand: as of what is not authentic. */
  override readonly exitCode = 5

  constructor(code: RefusalCode, message: string, cause?: unknown) {
    super(message, { code, cause })
  }
}

/** Status and body of an answer. */
export interface RefusalAnswer {
  readonly status: (typeof REFUSALS)[RefusalCode]['status']
  /** kbs-types ErrorInformation, as JSON. */
  readonly body: string
}

/** As Trustee words it: `type` is a name, not a link. */
export function answerOf({ code, message }: Pick<BrokerRefusal, 'code' | 'message'>): RefusalAnswer {
  const { status, type } = REFUSALS[code]
  const problem = `https://github.com/confidential-containers/kbs/errors/${type}`
  return { status, body: JSON.stringify({ type: problem, detail: message }) }
}
