/** Somebody's own disk, described by a YAML file: what scenarios may expect of it. */
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { type ImageCapability, type ImageDescription, UNLOCK_PROMPT } from './image-description.ts'
import { commonShape, pattern } from './image-schema.ts'
import { readYamlFile } from './yaml-file.ts'

export const DISK_FORMATS = ['raw', 'qcow2', 'vmdk', 'vhdx'] as const
export type DiskFormat = (typeof DISK_FORMATS)[number]

/** GPT number from 1, or label. */
export type PartitionSelector = number | string

const path = z.string().min(1).describe('absolute, or relative to this file')
const selector = z
  .union([z.number().int().min(1).max(128), z.string().min(1).max(36)])
  .describe('number from 1, or GPT label')

export const broughtImageSchema = z.strictObject({
  ...commonShape,
  disk: z.strictObject({
    path,
    format: z.enum(DISK_FORMATS).describe('never guessed: a disk that is something else is refused'),
  }),
  partitions: z.strictObject({
    esp: selector,
    root: selector,
    plain: z
      .string()
      .min(1)
      .max(36)
      .optional()
      .describe('label of an unencrypted partition with a file system'),
  }),
  secureBoot: z
    .enum(['microsoft', 'checkout', 'off'])
    .default('microsoft')
    .describe('whose keys the firmware knows; microsoft: what a shim of a distribution is signed with'),
  luks: z
    .strictObject({
      prompt: pattern.default(UNLOCK_PROMPT).describe('what the console shows when it asks for the key'),
      recoveryKeyFile: path.optional(),
      passphraseFile: path.optional(),
    })
    .refine((luks) => luks.recoveryKeyFile === undefined || luks.passphraseFile === undefined, {
      message: 'recoveryKeyFile and passphraseFile exclude each other',
    })
    .optional()
    .describe('the root is LUKS2; leave it out where it is not'),
  contains: z
    .array(z.enum(['tpm2-tools']))
    .default([])
    .describe('tpm2-tools: systemd-cryptenroll and tpm2_pcrread are installed'),
})

export interface BroughtImage {
  readonly description: ImageDescription
  readonly disk: { readonly path: string; readonly format: DiskFormat }
  readonly partitions: {
    readonly esp: PartitionSelector
    readonly root: PartitionSelector
    readonly plain?: string
  }
}

/** Reads a description; looks at nothing else. Throws UsageError `bad-config` with file:line:column. */
export async function readBroughtImage(file: string): Promise<BroughtImage> {
  const absolute = resolve(file)
  const parsed = await readYamlFile(absolute, broughtImageSchema)
  const { id, title, login, shutDown, reboot, timeouts, secureBoot, luks } = parsed
  const beside = (name: string) => resolve(dirname(absolute), name)
  const keyFile = luks?.recoveryKeyFile ?? luks?.passphraseFile
  const { plain, ...partitions } = parsed.partitions
  return {
    description: {
      ...{ id, title, login, shutDown, reboot, timeouts, secureBoot, file: absolute, origin: 'brought' },
      ...(luks && { unlockPrompt: luks.prompt }),
      ...(keyFile !== undefined && { unlockKeyFile: beside(keyFile) }),
      ...(plain !== undefined && { plainPartition: plain }),
      capabilities: capabilitiesOf(parsed),
    },
    disk: { path: beside(parsed.disk.path), format: parsed.disk.format },
    partitions: { ...partitions, ...(plain !== undefined && { plain }) },
  }
}

/** Never `own-uki` nor `offline-sealing`: both need to write to what was brought. */
function capabilitiesOf(parsed: z.infer<typeof broughtImageSchema>): ReadonlySet<ImageCapability> {
  const { luks, contains, partitions } = parsed
  const keyFile = luks?.recoveryKeyFile ?? luks?.passphraseFile
  return new Set<ImageCapability>([
    'login',
    ...(luks ? (['luks-root'] as const) : []),
    ...(keyFile === undefined ? [] : (['recovery-key'] as const)),
    ...(contains.includes('tpm2-tools') ? (['tpm2-tools'] as const) : []),
    ...(partitions.plain === undefined ? [] : (['plain-partition'] as const)),
  ])
}

/** For editors: completion and checks while typing. */
export function broughtImageJsonSchema(): object {
  return z.toJSONSchema(broughtImageSchema, { io: 'input' })
}
