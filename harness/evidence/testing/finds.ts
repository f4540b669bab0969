/** How a test says what an appraisal finds. */
import type { Test } from 'tap'
import type { FindingCode } from '../finding.ts'
import type { VerifyRequest } from '../request.ts'
import { verifyEvidence } from '../verify-evidence.ts'

/** Exactly these codes, in this order, each with what was expected and got. */
export async function finds(
  t: Test,
  request: VerifyRequest,
  ...codes: readonly FindingCode[]
): Promise<void> {
  const { authentic, acceptable, findings } = await verifyEvidence(request)
  t.same(
    { authentic, acceptable },
    { authentic: true, acceptable: codes.length === 0 },
    JSON.stringify(findings),
  )
  t.same(
    findings.map(({ code }) => code),
    codes,
  )
  for (const { message, expected, got } of findings)
    t.ok(message !== '' && expected !== '' && got !== '', `${message}: ${expected}, ${got}`)
}

export const hex = (byte: number, length: number): string => byte.toString(16).padStart(2, '0').repeat(length)
export const bytes = (byte: number, length: number): Buffer => Buffer.alloc(length, byte)

export interface Row<Case, Section> {
  readonly code: FindingCode
  readonly what: string
  /** Acceptable, and changed in one thing not. */
  readonly section: Section
  readonly good?: Case
  readonly bad?: Case
  /** Where the section itself is what is wrong. */
  readonly badSection?: Section
}
