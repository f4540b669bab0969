/**
 * What a policy can ask of an SNP report. Names are those of the report's fields (SEV-SNP ABI, table
 * "ATTESTATION_REPORT").
 */
import { z } from 'zod'
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

const tcb = z.strictObject({
  bootloader: byte.optional(),
  tee: byte.optional(),
  snp: byte.optional(),
  microcode: byte.optional(),
})
/** Smallest value of each component, by product: the products' numbers have nothing to do with each other. */
const minimumTcb = z
  .strictObject({
    milan: tcb.refine(saysSomething, SAYS_NOTHING).optional(),
    genoa: tcb.refine(saysSomething, SAYS_NOTHING).optional(),
    turin: tcb.extend({ fmc: byte.optional() }).refine(saysSomething, SAYS_NOTHING).optional(),
  })
  .refine(saysSomething, SAYS_NOTHING)
  .describe('a product that is not named is refused')
  .optional()

/** Smallest components, by product line; a byte each: AMD 56860, table 3. */
export type MinimumTcb = NonNullable<z.output<typeof minimumTcb>>

/** POLICY bits: what the guest's owner allows. DEBUG and MIGRATE_MA are forbidden unless allowed here. */
const guestPolicy = z.strictObject({
  debug: forbiddenByDefault,
  migrateMa: forbiddenByDefault,
  smt: bit,
  singleSocket: bit,
  cxlAllowed: bit,
  memAes256Xts: bit,
  raplDisabled: bit,
  ciphertextHiding: bit,
  pageSwapDisabled: bit,
  minimumAbi: z
    .strictObject({ major: byte, minor: byte })
    .optional()
    .describe("smallest ABI_MAJOR.ABI_MINOR that the guest's owner demands of the firmware"),
})

/** PLATFORM_INFO bits: how the host is set up. */
const platformInfo = z.strictObject({
  smt: bit,
  tsme: bit,
  ecc: bit,
  raplDisabled: bit,
  ciphertextHidingDram: bit,
  aliasCheckComplete: bit,
  iommuWriteSafe: bit,
  sevTio: bit,
})

const idKeys = anyOf(hex(48)).optional()

/**
 * A guest whose launch digest is predicted: the inputs of its launch. The digest is computed from the files when the
 * policy is read. AMD 56860, 8.17.2.
 */
export const snpMaterialsSchema = z.strictObject({
  firmware: z.string().min(1).describe('OVMF with SNP metadata; relative to the policy file'),
  kernel: z.string().min(1).optional(),
  initrd: z.string().min(1).optional(),
  cmdline: z.string().optional(),
  vcpus: z.number().int().min(1).max(4096),
  cpu: z.string().min(1).describe('QEMU CPU model, such as EPYC-v4, or family/model/stepping in decimals'),
  vmm: z.enum(['qemu', 'ec2', 'gce']).optional().describe('whose VMSA; default: qemu'),
  guestFeatures: count.optional().describe('SEV_FEATURES of the VMSA; default 1 (SNP active)'),
})
/** What `predict snp --json` wrote for a launch. */
const documentFile = z.string().min(1).describe('what predict --json wrote; relative to the policy file')
/** Inputs of a launch: AMD 56860, 8.17.2. */
export type SnpMaterials = z.output<typeof snpMaterialsSchema>

/** The section `snp`; digests of 48 bytes in hex. */
export const snpSchema = z
  .strictObject({
    launchDigests: anyOf(hex(48)).optional().describe('MEASUREMENT is one of these'),
    predicted: anyOf(z.union([snpMaterialsSchema, z.strictObject({ file: documentFile })]))
      .optional()
      .describe('or is as predicted for one of these guests; together with launchDigests, any of both'),
    products: anyOf(z.enum(['milan', 'genoa', 'turin'])).optional(),
    signingKeys: anyOf(z.enum(['vcek', 'vlek'])).optional(),
    chipIds: anyOf(hex(64)).optional(),
    cspIds: anyOf(z.string().min(1)).optional().describe('CSP_ID of the VLEK certificate'),
    minimumReportVersion: z.number().int().min(2).max(5).optional(),
    guestPolicy: guestPolicy.refine(saysSomething, SAYS_NOTHING).optional(),
    platformInfo: platformInfo.refine(saysSomething, SAYS_NOTHING).optional(),
    vmpls: anyOf(z.number().int().min(0).max(3)).optional(),
    minimumReportedTcb: minimumTcb,
    minimumCurrentTcb: minimumTcb,
    minimumCommittedTcb: minimumTcb,
    minimumLaunchTcb: minimumTcb,
    provisionalFirmware: z
      .enum(['forbidden', 'allowed'])
      .optional()
      .describe('forbidden: current firmware and TCB must be the committed ones; default: allowed'),
    minimumFirmware: z
      .strictObject({ major: byte, minor: byte, build: byte })
      .optional()
      .describe('smallest CURRENT_MAJOR.MINOR.BUILD'),
    minimumGuestSvn: count.max(0xffff_ffff).optional(),
    launchMitigations: hex(8).optional().describe('bits that LAUNCH_MIT_VECTOR must have, big-endian'),
    currentMitigations: hex(8).optional().describe('bits that CURRENT_MIT_VECTOR must have, big-endian'),
    hostData: anyOf(hex(32)).optional(),
    reportData: bindingSchema,
    familyIds: anyOf(hex(16)).optional(),
    imageIds: anyOf(hex(16)).optional(),
    idKeyDigests: idKeys.describe('ID_KEY_DIGEST is one of these'),
    authorKeyDigests: idKeys.describe('the ID key was signed by one of these: AUTHOR_KEY_DIGEST'),
    migrationAgents: anyOf(hex(32))
      .optional()
      .describe('REPORT_ID_MA of accepted migration agents; default: none may be associated'),
  })
  .refine(saysSomething, SAYS_NOTHING)

/** `snp` as it stands in the file. */
export type SnpPolicy = z.output<typeof snpSchema>
