/** What a policy can ask of a TPM quote and of the event log that explains it. */
import { z } from 'zod'
import { PCR_BANKS, PCR_NUMBER, pcrPredictions } from './predictions.ts'
import { anyOf, bindingSchema, count, fingerprint, hex, SAYS_NOTHING, saysSomething } from './values.ts'

/** Values of one bank by PCR number, in quotes. */
const pcrsOf = (bytes: number) => z.record(PCR_NUMBER, anyOf(hex(bytes))).refine(saysSomething, SAYS_NOTHING)

/** The section `tpm`: PCRs in hex as long as their bank, counters as numbers. */
export const tpmSchema = z
  .strictObject({
    pcrs: z
      .strictObject({
        sha1: pcrsOf(PCR_BANKS.sha1).optional(),
        sha256: pcrsOf(PCR_BANKS.sha256).optional(),
        sha384: pcrsOf(PCR_BANKS.sha384).optional(),
        sha512: pcrsOf(PCR_BANKS.sha512).optional(),
      })
      .refine(saysSomething, SAYS_NOTHING)
      .optional()
      .describe('each must be in the quote and have one of these values'),
    predictions: pcrPredictions,
    banks: anyOf(z.enum(['sha1', 'sha256', 'sha384', 'sha512']))
      .optional()
      .describe('banks that the quote may cover; default: all but sha1'),
    aks: anyOf(fingerprint)
      .optional()
      .describe('the AK is one of these: SHA-256 of its SubjectPublicKeyInfo'),
    extraData: bindingSchema,
    clockSafe: z.enum(['required', 'either']).optional().describe('default: either'),
    maximumResetCount: count.optional(),
    firmwareVersions: anyOf(hex(8)).optional(),
  })
  .refine(saysSomething, SAYS_NOTHING)

/** `tpm` as it stands in the file. */
export type TpmPolicy = z.output<typeof tpmSchema>

/** A UEFI key database by meaning: X.509 entries as fingerprints, hash entries as the SHA-256 that they hold. */
const database = z
  .strictObject({
    exactly: z.array(fingerprint).optional().describe('these entries, no more and no fewer, in any order'),
    includes: anyOf(fingerprint).optional().describe('these entries at least'),
  })
  .refine((value) => Object.keys(value).length === 1, 'exactly one of exactly and includes')
  .optional()

/** A key database (UEFI 2.10, 32.4.1) as it stands in the file. */
export type DatabasePolicy = NonNullable<z.output<typeof database>>

/**
 * A TD has four registers where a TPM has 24, so questions are asked of what others measured, too. RTMR0 has the ACPI
 * tables, which the VMM makes: nobody can say of their digest that it is not an authority's. The rule stays strict,
 * since an event's type is not hashed: leniency for "ACPI DATA" would let any authority go by that name.
 */
const IN_A_TD =
  "in a TD RTMR0 answers, which also has the VMM's ACPI tables: each is a finding event-not-covered; " +
  'require tdx.rtmr0 or tdx.predictions there'

/** The section `eventLog`: what a boot was, by meaning. */
export const eventLogSchema = z
  .strictObject({
    secureBoot: z.enum(['on', 'off']).optional(),
    pk: database,
    kek: database,
    db: database,
    dbx: database,
    images: anyOf(z.union([hex(32), hex(48), hex(20), hex(64)]))
      .optional()
      .describe(
        'Authenticode digests: every image that was loaded is one of these, in the bank that was quoted',
      ),
    imagesSignedBy: anyOf(fingerprint)
      .optional()
      .describe(
        `every image was allowed by one of these certificates of db (EV_EFI_VARIABLE_AUTHORITY); ${IN_A_TD}`,
      ),
    ukiSignedBy: anyOf(fingerprint)
      .optional()
      .describe(`a UKI was booted, and a certificate among these allowed every image; ${IN_A_TD}`),
    commandLines: anyOf(z.string()).optional(),
    addons: z.enum(['forbidden', 'allowed']).optional().describe('default: allowed'),
    phases: z
      .array(z.string().min(1))
      .optional()
      .describe('the boot phases that were measured, in this order'),
    exitBootServices: z.enum(['required', 'either']).optional(),
  })
  .refine(saysSomething, SAYS_NOTHING)

/** `eventLog` as it stands in the file. */
export type EventLogPolicy = z.output<typeof eventLogSchema>

/** Claims of the HCL report's runtime data; they are bound to the hardware report by REPORT_DATA. */
export const hclSchema = z
  .strictObject({
    vmConfiguration: z
      .record(z.string(), z.union([z.boolean(), z.string(), z.number()]))
      .refine(saysSomething, SAYS_NOTHING)
      .optional()
      .describe('members of vm-configuration that must have exactly this value, such as secure-boot: true'),
    userData: hex(64).optional(),
  })
  .refine(saysSomething, SAYS_NOTHING)
