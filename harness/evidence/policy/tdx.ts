/** What a policy can ask of a TDX quote. Names are those of TDREPORT and of Intel's collateral. */
import { z } from 'zod'
import { tdPredictions } from './predictions.ts'
import {
  anyOf,
  bindingSchema,
  bit,
  byte,
  count,
  forbiddenByDefault,
  hex,
  SAYS_NOTHING,
  saysSomething,
} from './values.ts'

/**
 * Converged TCB statuses, as Intel spells them; the last two are of quotes that no TCB level or no collateral covers.
 */
export const TCB_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'TDRelaunchAdvised',
  'TDRelaunchAdvisedConfigurationNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
  'NotSupported',
  'Unknown',
] as const

/** TDATTRIBUTES (Intel TDX Module ABI specification). `debug` is every bit of the group "TD under debug". */
const tdAttributes = z.strictObject({
  debug: forbiddenByDefault,
  septVeDisable: bit,
  migratable: bit,
  pks: bit,
  keyLocker: bit,
  perfmon: bit,
})

/** A TD whose MRTD is predicted: it measures the firmware alone. Intel TDX Module specification (348549), 12.1. */
export const tdxMaterialsSchema = z.strictObject({
  firmware: z.string().min(1).describe('TDVF; relative to the policy file'),
  passes: z
    .enum(['single', 'two'])
    .optional()
    .describe('how the VMM measures a section; single (default): as QEMU does; two: as older stacks did'),
})
/** Inputs of an MRTD: Intel TDX Module specification (348549), 12.1. */
export type TdxMaterials = z.output<typeof tdxMaterialsSchema>

const rtmr = anyOf(hex(48)).optional()

/** The section `tdx`; registers of 48 bytes in hex. */
export const tdxSchema = z
  .strictObject({
    mrtd: anyOf(hex(48)).optional(),
    rtmr0: rtmr,
    rtmr1: rtmr,
    rtmr2: rtmr,
    rtmr3: rtmr,
    predicted: anyOf(tdxMaterialsSchema)
      .optional()
      .describe('or MRTD is as predicted for one of these guests; together with mrtd, any of both'),
    predictions: tdPredictions,
    tcbStatuses: anyOf(z.enum(TCB_STATUSES)).optional().describe('converged status; default: UpToDate only'),
    advisories: z
      .array(z.string().regex(/^INTEL-SA-[0-9]{5}$/, 'INTEL-SA- and five digits'))
      .optional()
      .describe('advisories that may apply to the platform; default: with an accepted status, any'),
    tdAttributes: tdAttributes.refine(saysSomething, SAYS_NOTHING).optional(),
    xfam: z
      .strictObject({
        allowed: hex(8).optional().describe('no other bit may be set; big-endian'),
        required: hex(8).optional().describe('these bits must be set; big-endian'),
      })
      .refine(saysSomething, SAYS_NOTHING)
      .optional(),
    mrSeam: anyOf(hex(48)).optional(),
    mrConfigId: anyOf(hex(48)).optional(),
    mrOwner: anyOf(hex(48)).optional(),
    mrOwnerConfig: anyOf(hex(48)).optional(),
    mrServiceTd: anyOf(hex(48)).optional().describe('default: 48 zero bytes, that is, no service TD'),
    reportData: bindingSchema,
    minimumTeeTcbSvn: z.array(byte).length(16).optional(),
    minimumTcbEvaluationDataNumber: count.optional(),
    fmspcs: anyOf(hex(6)).optional(),
    quoteVersions: anyOf(z.union([z.literal(4), z.literal(5)])).optional(),
  })
  .refine(saysSomething, SAYS_NOTHING)

/** `tdx` as it stands in the file. */
export type TdxPolicy = z.output<typeof tdxSchema>
