/** The attest step: evidence in, token out, and a record of it before anybody is told. */
import { sha256Hex } from '../base/digest.ts'
import type { Finding } from '../base/errors.ts'
import type { SnpChainMemory } from '../evidence/snp/chain-memory.ts'
import type { AttestRecord, AuditLog } from './audit/record.ts'
import { appraise, type PolicyVerdict, type Submission } from './evidence/appraise.ts'
import { initDataDigest } from './evidence/init-data.ts'
import { supportedTee } from './evidence/primary-evidence.ts'
import { type AdditionalParts, additionalParts } from './evidence/tpm-evidence.ts'
import { canonicalJson } from './protocol/canonical-json.ts'
import { wrappingKey } from './protocol/jwe.ts'
import type { Attestation } from './protocol/messages.ts'
import { additionalBinding, primaryBinding } from './protocol/runtime-data.ts'
import { BrokerRefusal } from './refusal.ts'
import type { KnownPolicy } from './release-policy.ts'
import type { PendingSession } from './sessions.ts'
import type { AttestedGuest, Tokens } from './tokens.ts'

/** What an attestation is judged with. */
export interface Attester {
  readonly policies: readonly KnownPolicy[]
  readonly tokens: Tokens
  readonly audit: AuditLog
  /** The same chips come at every boot. */
  readonly snpChains: SnpChainMemory
}

/** Who sent it, to which session, and when. */
export interface AttestContext {
  readonly session: PendingSession
  readonly peer: string
  readonly at: Date
}

/**
 * Throws BrokerRefusal: `nonce-mismatch`, `unsupported-key`, `malformed-request`, and `not-authentic` where no policy's
 * roots vouch for the evidence. Authentic evidence that meets no policy gets a token that opens nothing.
 */
export async function attest(
  attestation: Attestation,
  context: AttestContext,
  { policies, tokens, audit, snpChains }: Attester,
): Promise<{ readonly token: string; readonly guest: AttestedGuest }> {
  const verdicts: PolicyVerdict[] = []
  let said: AdditionalParts | undefined
  const record = async (outcome: Pick<AttestRecord, 'outcome' | 'code' | 'token'>) => {
    // Anybody can send what is not authentic, and would fill the disk with it.
    if (outcome.outcome === 'attested') await recorded(keepAll(attestation, audit))
    const { tpm, root } = said ?? {}
    const keys = tpm && { tpm: { ek: sha256Hex(tpm.ek.bytes), ak: sha256Hex(tpm.ak.bytes) } }
    const about = { ...recordOf(attestation, context), ...keys, ...(root && { root }), ...outcome }
    await recorded(audit.append({ ...about, verdicts: verdicts.map(auditedVerdict) }))
  }
  try {
    const submission = submissionOf(attestation, context)
    said = submission
    for (const policy of policies) verdicts.push(await appraise(submission, policy, snpChains))
    if (!verdicts.some(({ authentic }) => authentic))
      throw new BrokerRefusal('not-authentic', 'the evidence is not authentic')
    const { tee, nonce } = context.session
    const content = {
      tee,
      nonce,
      teePubkey: attestation.teePubkey,
      reportData: submission.primaryBinding,
      verdicts,
    }
    const issued = tokens.issue({ ...content, tpm: submission.tpm }, context.at)
    await record({ outcome: 'attested', token: issued.guest.tokenId })
    return issued
  } catch (error) {
    if (error instanceof BrokerRefusal && error.code !== 'not-recorded')
      await record({ outcome: 'refused', code: error.code })
    throw error
  }
}

function submissionOf(attestation: Attestation, { session, at }: AttestContext): Submission {
  const { initData, nonce, teePubkey, primaryEvidence, additionalEvidence } = attestation
  if (nonce !== session.nonce)
    throw new BrokerRefusal('nonce-mismatch', 'the nonce of runtime-data is not the one of this session')
  wrappingKey(teePubkey)
  const tee = supportedTee(session.tee)
  const { algorithm } = session
  return {
    primary: tee.read(primaryEvidence),
    ...additionalParts(additionalEvidence),
    primaryBinding: primaryBinding({ nonce, teePubkey }, { algorithm, additionalEvidence }),
    additionalBinding: additionalBinding({ nonce, teePubkey }, algorithm),
    initData: initData && initDataDigest(initData, tee.initDataBytes),
    at,
  }
}

/**
 * Evidence to no session that waits for it: nothing of it was looked at; undefined where it was too long even to be read.
 * Throws BrokerRefusal `not-recorded`.
 */
export async function recordRefused(
  attestation: Attestation | undefined,
  about: {
    readonly cookie: string | undefined
    readonly peer: string
    readonly at: Date
    readonly code: string
  },
  audit: AuditLog,
): Promise<void> {
  const { cookie, peer, at, code } = about
  const session = { id: cookie === undefined ? '' : sha256Hex(cookie), tee: '' }
  const record = {
    ...recordOf(attestation, { session, peer, at }),
    outcome: 'refused',
    code,
    verdicts: [],
  } as const
  await recorded(audit.append(record))
}

/** What was not recorded is not answered. Throws BrokerRefusal `not-recorded`. */
export async function recorded(writing: Promise<void>): Promise<void> {
  try {
    await writing
  } catch (cause) {
    throw new BrokerRefusal('not-recorded', 'the audit log cannot be written', cause)
  }
}

async function keepAll({ primaryEvidence, additionalEvidence }: Attestation, audit: AuditLog): Promise<void> {
  if (audit.keepEvidence === undefined) return
  const primary = JSON.stringify(primaryEvidence) ?? ''
  for (const text of [primary, additionalEvidence])
    if (text !== '') await audit.keepEvidence(sha256Hex(text), text)
}

function recordOf(
  attestation: Attestation | undefined,
  {
    session,
    peer,
    at,
  }: Omit<AttestContext, 'session'> & {
    readonly session: Pick<PendingSession, 'id' | 'tee'>
  },
): Omit<AttestRecord, 'outcome' | 'verdicts'> {
  const context = {
    event: 'attest',
    time: at.toISOString(),
    peer,
    session: session.id,
    tee: session.tee,
  } as const
  if (attestation === undefined) return { ...context, evidence: { primary: '' }, teePubkey: '' }
  const { initData, teePubkey, primaryEvidence, additionalEvidence } = attestation
  return {
    ...context,
    evidence: {
      primary: sha256Hex(JSON.stringify(primaryEvidence) ?? ''),
      ...(additionalEvidence !== '' && { additional: sha256Hex(additionalEvidence) }),
      ...(initData && { initData: sha256Hex(initData.body) }),
    },
    teePubkey: keyDigest(teePubkey),
  }
}

/** Names a guest's key in the log. */
export function keyDigest(teePubkey: object): string {
  return sha256Hex(canonicalJson(teePubkey))
}

const MAX_FINDINGS = 64
const MAX_FINDING_TEXT = 512

/** Cut: what a guest can make long must not fill the log. */
function auditedVerdict({ policy, authentic, acceptable, findings }: PolicyVerdict) {
  const cut = (text: string) =>
    text.length > MAX_FINDING_TEXT ? `${text.slice(0, MAX_FINDING_TEXT)}...` : text
  const shown = findings.slice(0, MAX_FINDINGS).map(
    ({ code, message, expected, got }): Finding => ({
      ...{ code, message: cut(message) },
      ...{ expected: cut(expected), got: cut(got) },
    }),
  )
  return { policy: policy.id, resources: policy.resources, authentic, acceptable, findings: shown }
}
