/** `attestbed verify` and `attestbed inspect`: is a piece of evidence authentic, and is it acceptable? */

import type { HostError } from '../base/errors.ts'
import type { EvidenceKind } from '../evidence/kind.ts'
import type { ResolvedPolicy } from '../evidence/policy/resolve.ts'
import { STRICT } from '../evidence/policy/strict.ts'
import type { VerifyRequest } from '../evidence/request.ts'
import { inspectEvidence, type Verdict, verifyEvidence } from '../evidence/verify-evidence.ts'
import { renderEvidence } from '../report/evidence-page.ts'
import { paletteFor } from '../report/palette.ts'
import { EndorsementCache } from './endorsement-cache.ts'
import { besides, readEvidenceFile, readEvidenceFiles, readPolicyText } from './evidence-files.ts'
import { refuseIdleFlags } from './evidence-flags.ts'
import { withFoundEndorsements } from './find-endorsements.ts'
import { widthOf, writeDocument } from './output.ts'
import type { VerifyFlags } from './verify-flags.ts'

const NOT_AUTHENTIC = 5
const NOT_ACCEPTABLE = 6

/** Returns 0 for acceptable evidence, 5 for evidence that is malformed or not authentic, 6 for what is not acceptable. */
export async function verify(file: string, flags: VerifyFlags): Promise<number> {
  const at = flags.at ?? new Date()
  const request = await requestOf(file, { ...flags, at })
  refuseIdleFlags(flags, request)
  const { network = false, kds, pcs } = flags
  const services = network ? { kds, pcs } : undefined
  const cache = new EndorsementCache({ simulatedRoots: request.policy.simulatedRoots })
  const { request: complete, failures } = await withFoundEndorsements(request, { cache, services })
  const examination = await verifyEvidence(complete)
  settleFailures(failures, examination)
  if (flags.json) writeDocument(documentOf(examination))
  else process.stdout.write(pageOf(examination, { at, policy: flags.policy ?? 'the strict default policy' }))
  return exitCodeOf(examination)
}

/** What verification says where something that services have is missing, or is no longer current. */
const LACKING: readonly string[] = [
  ...['endorsement-missing', 'bad-chain', 'crl-missing', 'crl-expired', 'revocation-unchecked'],
  ...['collateral-missing', 'collateral-expired', 'collateral-too-old', 'expired'],
]

/**
 * A service that could not be asked is an error where that is all there is to say. Beside another finding it is a
 * warning: whoever keeps a service from answering must not keep a verdict from being told.
 */
function settleFailures(failures: readonly HostError[], { findings }: Verdict): void {
  const [first] = failures
  if (first === undefined) return
  if (findings.length > 0 && findings.every(({ code }) => LACKING.includes(code))) throw first
  for (const { message } of failures) process.stderr.write(`warning: ${message}\n`)
}

async function requestOf(file: string, flags: VerifyFlags & { readonly at: Date }): Promise<VerifyRequest> {
  const { kind, certs = [], collateral = [], crl = [], quote = [], akRoot, nonce, at } = flags
  const optional = (path: string | undefined) => (path === undefined ? undefined : readEvidenceFile(path))
  return {
    evidence: await readEvidenceFile(file),
    ...{ kind, nonce, at },
    ak: await optional(flags.ak),
    akRoots: akRoot && (await readEvidenceFiles(akRoot)),
    credential: await optional(flags.credential),
    activated: await optional(flags.activated),
    svsmManifest: await optional(flags.svsmManifest),
    idBlock: await optional(flags.idBlock),
    idAuth: await optional(flags.idAuth),
    signature: await optional(flags.signature),
    pcrs: await optional(flags.pcrs),
    eventLog: await optional(flags.eventLog),
    userspaceLog: await optional(flags.userspaceLog),
    quotes: await readEvidenceFiles(quote),
    certificates: await readEvidenceFiles(certs),
    collateral: await readEvidenceFiles(collateral),
    crls: await readEvidenceFiles(crl),
    policy: flags.policy === undefined ? STRICT : await readPolicy(flags.policy),
  }
}

/** Reading YAML and predicting digests is loaded only where there is a policy. */
async function readPolicy(file: string): Promise<ResolvedPolicy> {
  const [{ parsePolicy }, { resolveFiles }, { predictReferences }] = await Promise.all([
    import('../evidence/policy/parse.ts'),
    import('../evidence/policy/resolve.ts'),
    import('../verdict/reference-values.ts'),
  ])
  const read = besides(file)
  const policy = parsePolicy(await readPolicyText(file), { file })
  return resolveFiles(await predictReferences(policy, read), read)
}

function exitCodeOf({ authentic, acceptable }: Verdict): number {
  if (!authentic) return NOT_AUTHENTIC
  return acceptable ? 0 : NOT_ACCEPTABLE
}

function documentOf({ kind, fields, authentic, acceptable, findings }: Verdict): object {
  return { kind: kind ?? null, fields, authentic, acceptable, findings }
}

function pageOf(
  { page, ...verdict }: Verdict,
  { at, policy }: { readonly at: Date; readonly policy: string },
): string {
  return renderEvidence({ ...page, verdict: { ...verdict, at, policy } }, layout())
}

function layout() {
  return { width: widthOf(process.stdout), palette: paletteFor(process.stdout) }
}

export interface InspectFlags {
  readonly kind?: EvidenceKind
  readonly json?: boolean
}

/** Decodes and believes nothing. Returns 0; throws FormatError for what is malformed. */
export async function inspect(file: string, { kind, json = false }: InspectFlags): Promise<number> {
  const {
    page,
    fields,
    kind: found,
  } = await inspectEvidence({ evidence: await readEvidenceFile(file), kind })
  if (json) writeDocument({ kind: found, fields })
  else process.stdout.write(renderEvidence({ ...page, verdict: undefined }, layout()))
  return 0
}
