/**
 * Event logs as one kind of evidence among others: what vouches for a log is a quote over the registers it explains.
 */
import type { DigestAlgorithm } from '../../base/digest.ts'
import { type Finding, VerifyError } from '../../base/errors.ts'
import type { EventLog } from '../../formats/event-log/event.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { parseSystemdLog } from '../../formats/event-log/systemd-log.ts'
import { parseTdxQuote } from '../../formats/tdx/quote.ts'
import type { Steps } from '../examination.ts'
import { unmetSections } from '../policy/unmet.ts'
import type { VerifyRequest } from '../request.ts'
import { appraiseTdxEvidence, verifyTdxEvidence } from '../tdx/examine.ts'
import { DEFAULT_BANKS } from '../tpm/appraise.ts'
import { appraiseTpmEvidence, joinedQuotes, parseTpmQuotes, verifyTpmQuotes } from '../tpm/examine.ts'
import { tpmEvidenceOf } from '../tpm/quote-file.ts'
import { trustedAk } from '../tpm/trusted-key.ts'
import { bareTdxQuote, isTdxQuote } from '../unwrap.ts'
import { appraiseEventLog } from './appraise.ts'
import type { Cover, CoveredEventLog, ParsedEventLog } from './covered.ts'
import { describeEventLog } from './describe.ts'
import { readEventLog } from './read.ts'
import { type EventLogRequest, verifyEventLog } from './verify.ts'

/** The steps for event logs: PFP 1.06, "Event Logging". They throw FormatError, then VerifyError. */
export function eventLogSteps(
  bytes: Uint8Array,
  request: VerifyRequest,
): Steps<ParsedEventLog, CoveredEventLog> {
  return {
    kind: 'event-log',
    parse: () => parseLogs(bytes, request),
    verify: (parsed) => verifyLogs(parsed, request),
    appraise: (covered): readonly Finding[] => {
      const { policy } = request
      // A cover that the policy does not speak of has to keep the strict defaults all the same.
      const strict = { ...request, policy: { ...policy, tdx: policy.tdx ?? {}, tpm: policy.tpm ?? {} } }
      const { cover } = covered
      return [
        ...(cover.kind === 'tdx'
          ? appraiseTdxEvidence(cover.quote, strict)
          : appraiseTpmEvidence(cover.quotes, strict)),
        ...appraiseEventLog(covered, request),
        ...unmetSections(policy, ['eventLog', cover.kind]),
      ]
    },
    describe: describeEventLog,
  }
}

const RECORD_SEPARATOR = 0x1e
const PROTOBUF_FIELD_1 = 0x0a
const EMPTY_LOG: EventLog = {
  ...{ format: 'crypto-agile', specId: undefined, banks: [], events: [], bytesUsed: 0 },
  trailer: new Uint8Array(),
}

/**
 * The log with what user space added to it: bytes that are out of hex and base64 already, and are not looked at for them
 * again. Throws FormatError. PFP 1.06, "Event Logging"; at most 16 MiB, systemd's 4 MiB.
 */
export function parseLogs(
  bytes: Uint8Array,
  { userspaceLog }: Pick<VerifyRequest, 'userspaceLog'>,
): ParsedEventLog {
  const more = userspaceLog ? parseSystemdLog(userspaceLog) : []
  if (bytes[0] === RECORD_SEPARATOR)
    return { log: EMPTY_LOG, systemd: [...parseSystemdLog(bytes), ...more], carriedQuotes: [] }
  if (bytes[0] === PROTOBUF_FIELD_1) {
    const { eventLog } = tpmEvidenceOf(bytes)
    if (eventLog) return { log: parseEventLog(eventLog), systemd: more, carriedQuotes: [bytes] }
  }
  return { log: parseEventLog(bytes), systemd: more, carriedQuotes: [] }
}

function verifyLogs(parsed: ParsedEventLog, request: VerifyRequest): CoveredEventLog {
  return coverLog(parsed, verifyCover([...request.quotes, ...parsed.carriedQuotes], request), request)
}

/**
 * A log against quotes that were verified. Throws VerifyError: `endorsement-missing` and those of `verifyEventLog`. TPM
 * 2.0 Part 3, TPM2_PCR_Extend.
 */
export function coverLog(
  parsed: ParsedEventLog,
  cover: Cover,
  request: Pick<VerifyRequest, 'policy'>,
): CoveredEventLog {
  const verified = verifyEventLog(logRequest(parsed, cover, request))
  return { verified, reading: readEventLog(verified), cover }
}

function verifyCover(quotes: readonly Uint8Array[], request: VerifyRequest): Cover {
  const tdQuote = quotes.find(isTdxQuote)
  if (tdQuote) {
    const quote = verifyTdxEvidence(parseTdxQuote(bareTdxQuote(tdQuote)), request)
    return { kind: 'tdx', quote }
  }
  const parsed = quotes.map((quote) => parseTpmQuotes(quote, request))
  if (parsed.length === 0)
    throw new VerifyError('cannot verify the event log: nothing vouches for the registers that it explains', {
      code: 'endorsement-missing',
      expected: 'a TD quote, or a TPM quote with its PCR values (--quote)',
      got: 'none',
    })
  return { kind: 'tpm', quotes: verifyTpmQuotes(joinedQuotes(parsed), request, trustedAk(request)) }
}

/** What user space extends after the firmware's log has ended: IMA; boot phases; machine id and volume keys. */
const AFTER_THE_LOG = [10, 11, 15]
const IMA = [10]

function logRequest(
  { log, systemd }: ParsedEventLog,
  cover: Cover,
  { policy }: Pick<VerifyRequest, 'policy'>,
): EventLogRequest {
  const common = { log, systemd }
  if (cover.kind === 'tdx') {
    const values = new Map([...cover.quote.quote.body.rtmrs.entries()])
    return { ...common, registers: 'rtmr', bank: 'sha384', values }
  }
  const { pcrs } = cover.quotes
  const banks =
    systemd.length > 0 && log.banks.length === 0
      ? pcrs
      : pcrs.filter(({ bank }) => log.banks.some((each) => each.bank === bank))
  const bank = strongest(
    banks.map((each) => each.bank),
    policy.tpm?.banks ?? DEFAULT_BANKS,
  )
  if (bank === undefined)
    throw new VerifyError('cannot verify the event log: no PCR value of a bank that it has was signed', {
      code: 'endorsement-missing',
      expected: `PCR values of ${log.banks.map((each) => each.bank ?? `0x${each.algorithm.toString(16)}`).join(', ')}`,
      got: pcrs.map((each) => each.bank).join(', ') || 'no PCR values',
    })
  const values = new Map(pcrs.filter((each) => each.bank === bank).flatMap((each) => [...each.values]))
  return { ...common, registers: 'pcr', bank, values, mayDiffer: systemd.length > 0 ? IMA : AFTER_THE_LOG }
}

const STRONGEST_FIRST: readonly DigestAlgorithm[] = ['sha512', 'sha384', 'sha256', 'sha1']

/** Of those that the policy accepts; of the others only where there is no such bank, and appraisal says so. */
function strongest(
  banks: readonly DigestAlgorithm[],
  accepted: readonly DigestAlgorithm[],
): DigestAlgorithm | undefined {
  const ranked = STRONGEST_FIRST.filter((bank) => banks.includes(bank))
  return ranked.find((bank) => accepted.includes(bank)) ?? ranked[0]
}
