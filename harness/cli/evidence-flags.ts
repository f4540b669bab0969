/** Which flags mean something to which kind of evidence: one that would be passed over is an error, or it looks heeded. */
import { FormatError, UsageError } from '../base/errors.ts'
import type { EvidenceKind } from '../evidence/kind.ts'
import type { VerifyRequest } from '../evidence/request.ts'
import { isTdxQuote, unwrap } from '../evidence/unwrap.ts'
import type { VerifyFlags } from './verify-flags.ts'

type Flag = Exclude<keyof VerifyFlags, 'kind' | 'nonce' | 'policy' | 'at' | 'json'>

const NAMES = {
  ...{ certs: '--certs', collateral: '--collateral', crl: '--crl', quote: '--quote', ak: '--ak' },
  ...{ signature: '--signature', pcrs: '--pcrs', userspaceLog: '--userspace-log' },
  ...{ network: '--network', kds: '--kds', pcs: '--pcs' },
} as const satisfies Record<Flag, string>

const SNP: readonly Flag[] = ['certs', 'crl', 'network', 'kds']
const TDX: readonly Flag[] = ['certs', 'crl', 'collateral', 'network', 'pcs']
const TPM: readonly Flag[] = ['ak', 'signature', 'pcrs']

const MEANT: Readonly<Record<Exclude<EvidenceKind, 'event-log'>, readonly Flag[]>> = {
  'snp-report': SNP,
  'tdx-quote': TDX,
  'tpm-quote': TPM,
  'hcl-report': [...SNP, ...TDX, 'quote', 'signature', 'pcrs'],
}

/** Throws UsageError `bad-value`. Evidence whose kind cannot be told is for verification to refuse. */
export function refuseIdleFlags(
  flags: VerifyFlags,
  request: Pick<VerifyRequest, 'evidence' | 'kind' | 'quotes'>,
): void {
  if (!flags.network && (flags.kds !== undefined || flags.pcs !== undefined))
    throw idle(flags.kds === undefined ? 'pcs' : 'kds', 'without --network')
  const kind = kindOf(request)
  if (kind === undefined) return
  const meant = kind === 'event-log' ? ofEventLog(request) : MEANT[kind]
  const given = (Object.keys(NAMES) as Flag[]).filter((flag) => flags[flag] !== undefined)
  const [first] = given.filter((flag) => !meant.includes(flag))
  if (first !== undefined) throw idle(first, `for ${kind}`)
  if (kind === 'event-log') refuseIdleQuotes(request)
}

/** Where a TD quote covers the log, it alone is looked at. */
function refuseIdleQuotes({ quotes }: Pick<VerifyRequest, 'quotes'>): void {
  if (quotes.length < 2 || !quotes.some(isTdxQuote)) return
  throw new UsageError(`a log has one TD quote, or quotes of one TPM; ${quotes.length} are given (--quote)`, {
    code: 'bad-value',
  })
}

/** A log is vouched for by a TD quote, or else by TPM quotes. */
function ofEventLog({ quotes }: Pick<VerifyRequest, 'quotes'>): readonly Flag[] {
  return ['quote', 'userspaceLog', ...(quotes.some(isTdxQuote) ? TDX : TPM)]
}

function kindOf(request: Pick<VerifyRequest, 'evidence' | 'kind'>): EvidenceKind | undefined {
  try {
    return unwrap(request).kind
  } catch (error) {
    if (error instanceof FormatError) return request.kind
    throw error
  }
}

function idle(flag: Flag, where: string): UsageError {
  return new UsageError(`${NAMES[flag]} has no meaning ${where}`, {
    code: 'bad-value',
    hint: 'leave it out: what is given must count, or the command fails',
  })
}
