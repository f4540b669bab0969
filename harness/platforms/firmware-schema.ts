/** What `ovmf/manifest.yaml` may say. */

import { z } from 'zod'
import { FIRMWARE_FEATURES } from '../probe/firmware.ts'

const relativePath = z.string().regex(/^[^/]/, 'must be relative to the root of the tools')

const buildSchema = z
  .strictObject({
    id: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'must be lower-case words joined by hyphens'),
    title: z.string().min(1),
    package: z.string().min(1),
    path: relativePath,
    load: z.enum(['pflash', 'bios']),
    variables: relativePath.optional(),
    keys: z.enum(['none', 'microsoft', 'snakeoil']),
    features: z.array(z.enum(FIRMWARE_FEATURES)),
  })
  .refine(({ load, variables }) => (load === 'pflash') === (variables !== undefined), {
    message: 'pflash needs a template of the variable store, bios has none',
    path: ['load'],
  })

export const firmwareManifestSchema = z.strictObject({
  firmware: z
    .array(buildSchema)
    .min(1)
    .refine(
      (builds) => new Set(builds.map(({ id }) => id)).size === builds.length,
      'two builds have the same id',
    ),
})
