/** What a matrix file may say. `scenarios/matrices/schema.json` is made from it, for editors. */
import { z } from 'zod'
import { PLATFORM_IDS } from '../../platforms/platform-id.ts'

/** Longest list on an axis: more is a mistake or an attack on memory. */
const MOST_VALUES = 1000
const MOST_ENTRIES = 1000
const MOST_VCPUS = 1024

const name = z.string().min(1).max(4096)
const vcpus = z.number().int().min(1).max(MOST_VCPUS)
const memory = z
  .string()
  .regex(/^[1-9][0-9]{0,6}[MG]$/, 'a size such as 512M or 2G')
  .transform((text) => Number(text.slice(0, -1)) * (text.endsWith('G') ? 1024 : 1))

/** The values that an axis can have; every list of values is made from these. */
const VALUES = {
  platform: z.enum(PLATFORM_IDS),
  firmware: name.describe('id of ovmf/manifest.yaml'),
  vtpm: z.enum(['stateful', 'stateless', 'none']),
  image: name.describe('image id, or the path of a description of your own disk, from this file'),
  qemu: name.describe(
    'tools: the one of the tools; host: the one in PATH; or the path of a binary, from this file',
  ),
  vcpus: vcpus.describe('at least what the scenario needs'),
  memory: memory.describe('of the guest, at least what the scenario needs: 512M, 2G'),
}

const axis = <Value extends z.ZodType>(value: Value) => z.array(value).min(1).max(MOST_VALUES)
const oneOrSeveral = <Value extends z.ZodType>(value: Value, words = 'a text') =>
  z.union([value.transform((one) => [one]), axis(value)], {
    error: `${words}, or a list of such, is required`,
  })

const axes = z
  .strictObject({
    platform: axis(VALUES.platform).optional(),
    firmware: axis(VALUES.firmware).optional(),
    vtpm: axis(VALUES.vtpm).optional(),
    image: axis(VALUES.image).optional(),
    qemu: axis(VALUES.qemu).optional(),
    vcpus: axis(VALUES.vcpus).optional(),
    memory: axis(VALUES.memory).optional(),
  })
  .describe(
    'each value of each axis meets each of the others; an axis that is absent is chosen as without a matrix',
  )

const match = {
  scenario: oneOrSeveral(name.describe('scenario id, its leading folder, or a glob with *')).optional(),
  platform: oneOrSeveral(VALUES.platform, PLATFORM_IDS.join(' or ')).optional(),
  firmware: oneOrSeveral(VALUES.firmware).optional(),
  vtpm: oneOrSeveral(VALUES.vtpm, VALUES.vtpm.options.join(' or ')).optional(),
  image: oneOrSeveral(VALUES.image).optional(),
  qemu: oneOrSeveral(VALUES.qemu).optional(),
  vcpus: oneOrSeveral(VALUES.vcpus, `a whole number from 1 to ${MOST_VCPUS}`).optional(),
  memory: oneOrSeveral(VALUES.memory, 'a size such as 512M or 2G').optional(),
}
const namesSomething = (entry: object): boolean => Object.values(entry).some((value) => value !== undefined)
const matching = z
  .strictObject({
    ...match,
    emulated: z
      .boolean()
      .optional()
      .describe('whether the platform is a TEE that is emulated, since the host has none'),
  })
  .refine(namesSomething, 'names no axis and would match everything')
  .describe('matches the variants that have one of the values on every axis that it names')

const reason = z.string().min(1).max(1000)

export const matrixSchema = z
  .strictObject({
    $schema: z.string().optional(),
    title: z.string().max(200).optional(),
    scenarios: axis(name).optional().describe('patterns as for `attestbed run`; absent: all'),
    axes: axes.default({}),
    exclude: z
      .array(matching)
      .max(MOST_ENTRIES)
      .default([])
      .describe('variants of the axes that are left out; does not touch what `include` adds'),
    include: z
      .array(
        z
          .strictObject(match)
          .refine(namesSomething, 'names no axis and would add what runs without a matrix'),
      )
      .max(MOST_ENTRIES)
      .default([])
      .describe('variants beside those of the axes; an axis that an entry does not name is chosen'),
    marks: z
      .array(
        z
          .strictObject({
            match: matching,
            unstable: reason.optional().describe('why: runs and is shown, but does not make the run fail'),
            skip: z
              .string()
              .regex(/^.{1,1000} until \d{4}-\d{2}-\d{2}$/, '"<reason> until <YYYY-MM-DD>"')
              .optional()
              .describe(
                '"<reason> until <YYYY-MM-DD>": not run up to and with that day; after it the run fails',
              ),
          })
          .refine(
            ({ unstable, skip }) => (unstable === undefined) !== (skip === undefined),
            'needs either `unstable` or `skip`',
          ),
      )
      .max(MOST_ENTRIES)
      .default([]),
    budget: z
      .strictObject({
        variants: z.number().int().min(1).max(100_000).optional().describe('refuse a plan with more'),
        jobs: z.number().int().min(1).max(1024).optional().describe('VMs at once'),
        vcpus: z.number().int().min(1).optional().describe('of all VMs at once; at most what the host has'),
        memory: memory.optional().describe('of all VMs at once; at most what the host has'),
        disk: memory.optional().describe('of all VMs at once; at most what the host has'),
        minutes: z.number().min(1).max(100_000).optional().describe('nothing more is started after them'),
        retries: z
          .number()
          .int()
          .min(0)
          .max(10)
          .optional()
          .describe('of what ends in error; never of a fail'),
      })
      .default({}),
  })
  .describe('What `attestbed run --matrix FILE` and `attestbed plan --matrix FILE` work on')

export type MatrixDocument = z.infer<typeof matrixSchema>
export type MatrixAxes = MatrixDocument['axes']
export type MatrixMatch = MatrixDocument['exclude'][number]
export type MatrixBudget = MatrixDocument['budget']
