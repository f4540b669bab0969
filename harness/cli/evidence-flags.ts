/** Which flags mean something to which kind of evidence: one that would be passed over is an error, or it looks heeded. */
import { FormatError, UsageError } from '../base/errors.ts'
import type { EvidenceKind } from '../evidence/kind.ts'
import type { VerifyRequest } from '../evidence/request.ts'
import { isTdxQuote, unwrap } from '../evidence/unwrap.ts'
import type { VerifyFlags } from './verify-flags.ts'

type Flag = Exclude<keyof VerifyFlags, 'kind' | 'nonce' | 'policy' | 'at' | 'json'>

const NAMES = {
  ...{ certs: '--certs', collateral: '--collateral', crl: '--crl', quote: '--quote', ak: '--ak' },
  ...{ akRoot: '--ak-root', svsmManifest: '--svsm-manifest', idBlock: '--id-block', idAuth: '--id-auth' },
  ...{ signature: '--signature', pcrs: '--pcrs', userspaceLog: '--userspace-log' },
  eventLog: '--event-log',
  ...{ network: '--network', kds: '--kds', pcs: '--pcs' },
} as const satisfies Record<Flag, string>

const AMD: readonly Flag[] = ['certs', 'crl', 'network', 'kds']
const SNP: readonly Flag[] = [...AMD, 'svsmManifest', 'idBlock', 'idAuth']
const TDX: readonly Flag[] = ['certs', 'crl', 'collateral', 'network', 'pcs']
const TPM: readonly Flag[] = ['ak', 'signature', 'pcrs']
/** Where an authority vouches for the AK. */
const CERTIFIED: readonly Flag[] = ['akRoot', 'certs', 'crl']

const MEANT: Readonly<Record<Exclude<EvidenceKind, 'event-log'>, readonly Flag[]>> = {
  'snp-report': SNP,
  'tdx-quote': TDX,
  'tpm-quote': [...TPM, ...CERTIFIED],
  'hcl-report': [...AMD, ...TDX, 'quote', 'signature', 'pcrs', 'eventLog', 'userspaceLog'],
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
  const isOfTpm = kind === 'tpm-quote' || (kind === 'event-log' && !request.quotes.some(isTdxQuote))
  if (isOfTpm) refuseIdleAuthorities(flags)
}

/** A TPM has no vendor's root that is pinned: without the caller's own, certificates and lists vouch for nothing. */
function refuseIdleAuthorities(flags: VerifyFlags): void {
  const idleOnes = CERTIFIED.filter((flag) => flag !== 'akRoot' && flags[flag] !== undefined)
  const [first] = flags.akRoot === undefined ? idleOnes : []
  if (first !== undefined) throw idle(first, 'for a TPM without --ak-root')
  if (flags.akRoot !== undefined && flags.ak === undefined)
    throw idle('akRoot', "without --ak, the AK's certificate")
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
  return ['quote', 'userspaceLog', ...(quotes.some(isTdxQuote) ? TDX : [...TPM, ...CERTIFIED])]
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
