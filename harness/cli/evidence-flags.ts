/** Which flags mean something to which kind of evidence: one that would be passed over is an error, or it looks heeded. */
import { FormatError, UsageError } from '../base/errors.ts'
import type { EvidenceKind } from '../evidence/kind.ts'
import type { VerifyRequest } from '../evidence/request.ts'
import { isTdxQuote, unwrap } from '../evidence/unwrap.ts'
import type { VerifyFlags } from './verify-flags.ts'

type Flag = Exclude<keyof VerifyFlags, 'kind' | 'nonce' | 'policy' | 'at' | 'json'>

const NAMES = {
  ...{ certs: '--certs', collateral: '--collateral', crl: '--crl', quote: '--quote', ak: '--ak' },
  ...{ credential: '--credential', activated: '--activated' },
  ...{ akRoot: '--ak-root', svsmManifest: '--svsm-manifest', idBlock: '--id-block', idAuth: '--id-auth' },
  ...{ signature: '--signature', pcrs: '--pcrs', userspaceLog: '--userspace-log' },
  eventLog: '--event-log',
  ...{ network: '--network', kds: '--kds', pcs: '--pcs' },
} as const satisfies Record<Flag, string>

const AMD: readonly Flag[] = ['certs', 'crl', 'network', 'kds']
const SNP: readonly Flag[] = [...AMD, 'svsmManifest', 'idBlock', 'idAuth']
const LOGS: readonly Flag[] = ['eventLog', 'userspaceLog']
const TDX: readonly Flag[] = ['certs', 'crl', 'collateral', 'network', 'pcs']
const TPM: readonly Flag[] = ['ak', 'credential', 'activated', 'signature', 'pcrs']
/** Of the vTPM that an SVSM's manifest names. */
const SVSM_VTPM: readonly Flag[] = ['quote', ...TPM, ...LOGS]
/** Where an authority vouches for the AK. */
const CERTIFIED: readonly Flag[] = ['akRoot', 'certs', 'crl']

const MEANT: Readonly<Record<Exclude<EvidenceKind, 'event-log'>, readonly Flag[]>> = {
  'snp-report': SNP,
  'tdx-quote': TDX,
  'tpm-quote': [...TPM, ...CERTIFIED],
  'hcl-report': [...AMD, ...TDX, 'quote', 'signature', 'pcrs', ...LOGS],
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
  const meant = meantFor(kind, flags, request)
  const given = (Object.keys(NAMES) as Flag[]).filter((flag) => flags[flag] !== undefined)
  const [first] = given.filter((flag) => !meant.includes(flag))
  if (first !== undefined) throw idle(first, `for ${kind}`)
  if (kind === 'event-log') refuseIdleQuotes(request)
  refuseIdleCredential(flags)
  const isOfTpm = kind === 'tpm-quote' || (kind === 'event-log' && !request.quotes.some(isTdxQuote))
  if (isOfTpm) refuseIdleAuthorities(flags)
}

/** Both say of an AK that it is in a TPM, and say it together. */
function refuseIdleCredential({ ak, akRoot, credential, activated }: VerifyFlags): void {
  const given = credential === undefined ? 'activated' : 'credential'
  if (credential === undefined && activated === undefined) return
  if (ak === undefined) throw idle(given, 'without --ak')
  if (akRoot !== undefined) throw idle('akRoot', 'with --credential')
  if (credential === undefined) throw idle('activated', 'without --credential')
  if (activated === undefined) throw idle('credential', 'without --activated')
}

function meantFor(
  kind: EvidenceKind,
  { svsmManifest, quote, eventLog, userspaceLog }: VerifyFlags,
  request: Pick<VerifyRequest, 'quotes'>,
): readonly Flag[] {
  if (kind === 'event-log') return ofEventLog(request)
  const ofVtpm = [quote, eventLog, userspaceLog].some((flag) => flag !== undefined)
  return kind === 'snp-report' && svsmManifest !== undefined && ofVtpm ? [...SNP, ...SVSM_VTPM] : MEANT[kind]
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
