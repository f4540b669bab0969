/**
 * A policy: what evidence must say to be acceptable. A key that is absent has its strict default: no debug, no
 * simulated root, nothing expired, nothing revoked, TDX UpToDate only. What no default covers is not looked at.
 */
import { z } from 'zod'
import { eventLogSchema, hclSchema, tpmSchema } from './measured-boot.ts'
import { snpSchema } from './snp.ts'
import { tdxSchema } from './tdx.ts'
import { count, hex, SAYS_NOTHING, saysSomething } from './values.ts'

const freshness = z.strictObject({
  nonce: z
    .enum(['required', 'optional'])
    .optional()
    .describe('required: evidence without --nonce is refused'),
  collateralDays: count
    .optional()
    .describe(
      'collateral and revocation lists were issued at most this many days before the time of the check',
    ),
})

const SECTIONS = ['snp', 'tdx', 'tpm', 'eventLog', 'hcl'] as const

/** The whole policy; published as `schema.json`. */
export const policySchema = z
  .strictObject({
    title: z.string().min(1).optional(),
    simulatedRoots: z
      .array(hex(32))
      .min(1)
      .optional()
      .describe(
        'roots of emulated TEEs to trust, by SHA-256 of their SubjectPublicKeyInfo; never in production',
      ),
    freshness: freshness.refine(saysSomething, SAYS_NOTHING).optional(),
    revocation: z
      .enum(['required', 'when-given'])
      .optional()
      .describe(
        'required: every certificate that can be revoked is checked; default: TDX required, else when given',
      ),
    snp: snpSchema.optional(),
    tdx: tdxSchema.optional(),
    tpm: tpmSchema.optional(),
    eventLog: eventLogSchema.optional(),
    hcl: hclSchema.optional(),
  })
  .refine((policy) => SECTIONS.some((section) => policy[section] !== undefined), {
    message: `says nothing about any evidence; at least one of ${SECTIONS.join(', ')} is required`,
  })

/** A policy as it stands in the file. */
export type Policy = z.output<typeof policySchema>
