/**
 * Evidence of any kind from files to a verdict: what `attestbed verify` does, without its files. What a kind needs is
 * loaded when it is met.
 */
import { type Decoded, decode, type Examination, examineAside, findingOf, type Steps } from './examination.ts'
import type { EvidenceKind } from './kind.ts'
import type { VerifyRequest } from './request.ts'
import { type Unwrapped, unwrap } from './unwrap.ts'

/** An examination, also of a file whose kind nobody can tell. */
export type Verdict = Omit<Examination, 'kind'> & {
  /** Undefined where it could not be told. */
  readonly kind: EvidenceKind | undefined
}

/**
 * Evidence of at most 32 MiB. Never throws for what the evidence or an endorsement is: a malformed file is a finding,
 * and the verdict not authentic. What is verified by which specification, the steps of each kind say.
 */
export async function verifyEvidence(request: VerifyRequest): Promise<Verdict> {
  try {
    const unwrapped = unwrap(request)
    return await withSteps(unwrapped, request, examineAside)
  } catch (error) {
    return unreadable(error, request.kind)
  }
}

/** A file, at most 32 MiB. */
export interface InspectRequest {
  readonly evidence: Uint8Array
  readonly kind?: EvidenceKind | undefined
}

/** Decodes and believes nothing. Throws FormatError with field and offset. */
export async function inspectEvidence(
  request: InspectRequest,
): Promise<Decoded & { readonly kind: EvidenceKind }> {
  const unwrapped = unwrap(request)
  const nothing = { certificates: [], crls: [], collateral: [], quotes: [], policy: {}, at: new Date(0) }
  const decoded = await withSteps(unwrapped, { ...request, ...nothing }, decode)
  return { ...decoded, kind: unwrapped.kind }
}

function unreadable(error: unknown, kind: EvidenceKind | undefined): Verdict {
  return {
    kind,
    fields: {},
    page: { title: 'unreadable evidence', says: [], vouchedBy: [] },
    authentic: false,
    acceptable: false,
    findings: [findingOf(error)],
  }
}

/** Runs `use` on the steps of the kind, which are loaded now. */
async function withSteps<Result>(
  { kind, bytes }: Unwrapped,
  request: VerifyRequest,
  use: <Parsed, Verified>(steps: Steps<Parsed, Verified>) => Result | Promise<Result>,
): Promise<Result> {
  switch (kind) {
    case 'snp-report':
      return hasSvsmVtpm(request)
        ? use((await import('./vtpm/svsm-examine.ts')).svsmSteps(bytes, request))
        : use((await import('./snp/examine.ts')).snpSteps(bytes, request))
    case 'tdx-quote':
      return use((await import('./tdx/examine.ts')).tdxSteps(bytes, request))
    case 'tpm-quote':
      return use((await import('./tpm/examine.ts')).tpmSteps(bytes, request))
    case 'event-log':
      return use((await import('./event-log/examine.ts')).eventLogSteps(bytes, request))
    case 'hcl-report':
      return use((await import('./vtpm/examine.ts')).hclSteps(bytes, request))
  }
}

/** A manifest alone names an EK; with quotes or a log there is a vTPM to hold against it. */
function hasSvsmVtpm({ svsmManifest, quotes, eventLog, userspaceLog }: VerifyRequest): boolean {
  return (
    svsmManifest !== undefined && (quotes.length > 0 || eventLog !== undefined || userspaceLog !== undefined)
  )
}
