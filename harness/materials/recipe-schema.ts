/** What `images/<id>/image.yaml` may say. */
import { z } from 'zod'
import { IMAGE_CAPABILITIES } from './image-description.ts'
import { commonShape } from './image-schema.ts'

const suite = z.string().regex(/^[a-z-]+$/, 'the name of a Debian suite')
const packageName = z.string().regex(/^[a-z0-9][a-z0-9.+-]+$/, 'a Debian package name')
const moduleName = z.string().regex(/^[a-z0-9_-]+$/, 'the name of a kernel module')
const unitName = z.string().regex(/^[\w@.:-]+\.[a-z]+$/, 'the name of a systemd unit')
const relativePath = z
  .string()
  .regex(/^[^/][^\n]*$/, 'a path without a leading "/"')
  .refine((path) => !path.split('/').includes('..'), 'a path without ".."')
const sharedPath = z
  .string()
  .regex(/^\.\.\/[a-z][\w./-]*$/, 'a path of images/, from the recipe')
  .refine((path) => !path.slice(3).split('/').includes('..'), 'a path without another ".."')
const mebibytes = z
  .number()
  .int()
  .min(1)
  .max(1 << 20)

export const recipeSchema = z.strictObject({
  ...commonShape,
  suite,
  kernel: z
    .strictObject({ suite, package: packageName })
    .describe('package that brings the kernel and its modules'),
  packages: z.array(packageName).min(1),
  exclude: z
    .array(z.string().startsWith('./'))
    .default([])
    .describe('tar patterns of files that are left out'),
  initrd: z.strictObject({
    init: relativePath
      .or(z.string().regex(/^\.\.\/initrd\/[\w-]+$/, 'a file of images/initrd'))
      .describe('relative to the recipe; ../initrd/NAME for one that images share'),
    programs: z.array(relativePath),
    libraries: z.array(relativePath).default([]).describe('opened at run time'),
    modules: z.array(moduleName).default([]),
    overlay: relativePath.optional().describe('directory whose files are copied over all that'),
    shared: z
      .record(relativePath, sharedPath)
      .optional()
      .describe('path in the initrd to a file of images/ that is copied there'),
  }),
  root: z
    .strictObject({
      hostname: z.string().regex(/^[a-z0-9-]{1,63}$/),
      rootPassword: z.string().min(1),
      defaultTarget: unitName
        .optional()
        .describe('absent: the root has an /sbin/init of its own and no systemd'),
      wants: z
        .record(unitName, z.array(unitName))
        .default({})
        .describe('target to all the units that it wants'),
      mask: z.array(unitName).default([]),
      generators: z.array(z.string()).optional().describe('the only generators that run; absent: all'),
      shared: z
        .record(relativePath, sharedPath)
        .default({})
        .describe(
          'path in the root to a file or directory of images/ that is copied there; root/ comes over it',
        ),
    })
    .optional(),
  disk: z
    .strictObject({
      ...{ espMiB: mebibytes.min(34), dataMiB: mebibytes.min(16), rootMiB: mebibytes.min(16) },
      protection: z
        .enum(['encrypted', 'verity'])
        .default('encrypted')
        .describe('of the root; verity: in clear under a hash tree, roothash= is on the command line'),
    })
    .optional(),
  commandLine: z.string(),
  capabilities: z.array(z.enum(IMAGE_CAPABILITIES)),
})
