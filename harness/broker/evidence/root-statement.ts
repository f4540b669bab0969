/** The part `root` of additional evidence: what the guest's initrd found on its disk. See the README. */
import { z } from 'zod'
import type { Finding } from '../../base/errors.ts'

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits')

/** What is sent; a digest is there where the guest made it in this boot. */
export const rootStatementSchema = z.strictObject({
  /** SHA-256 of the root in clear: of the partition, or of what the mapping over it reads as. */
  digest: sha256.optional(),
  /** SHA-256 of the partition with the LUKS2 header. */
  header: sha256.optional(),
  /** Not encrypted; partly so; wholly. */
  state: z.enum(['plain', 'partial', 'whole']),
})

/**
 * The word of a guest about its root, not verified by itself: REPORT_DATA covers it, so it is worth what the launch is
 * that the same evidence shows.
 */
export type RootStatement = z.output<typeof rootStatementSchema>

/** A statement that a release policy takes. Digests that are absent may be anything, or missing. */
export type AcceptedRoot = RootStatement

/** None where one of `accepted` is met, or nothing is demanded (`accepted` is empty). */
export function rootFindings(
  said: RootStatement | undefined,
  accepted: readonly AcceptedRoot[],
): readonly Finding[] {
  if (accepted.length === 0) return []
  if (said === undefined) return [{ ...NO_STATEMENT, expected: accepted.map(words).join('; or ') }]
  if (accepted.some((each) => meets(said, each))) return []
  return [
    {
      code: 'root-state',
      message: 'the root is in no state that the policy releases for',
      ...{ expected: accepted.map(words).join('; or '), got: words(said) },
    },
  ]
}

const NO_STATEMENT: Omit<Finding, 'expected'> = {
  code: 'evidence-missing',
  message: 'the policy is about the root of the guest, and the guest said nothing of it',
  got: 'no part root in additional_evidence',
}

function meets(said: RootStatement, { state, digest, header }: AcceptedRoot): boolean {
  return (
    said.state === state &&
    (digest === undefined || said.digest === digest) &&
    (header === undefined || said.header === header)
  )
}

function words({ state, digest, header }: RootStatement): string {
  return [state, digest && `digest ${digest}`, header && `header ${header}`].filter(Boolean).join(', ')
}
