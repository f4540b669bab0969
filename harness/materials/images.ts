/** The images that this project builds: from a recipe to what a launch needs. */

import type { MaterialContext } from './context.ts'
import { type BaseDisk, ensureBaseDisk, ensureEspOnlyDisk } from './disk.ts'
import { ensurePackages, type PackageTree } from './guest-packages.ts'
import { ensureGuestTree } from './guest-tree.ts'
import type { ImageDescription } from './image-description.ts'
import { ensureInitrd, type Initrd } from './initrd.ts'
import { ensureKernel, type Kernel } from './kernel.ts'
import { type KernelSwap, withKernelFile } from './kernel-swap.ts'
import type { PcrKeyName, SigningKeyName, SigningKeys } from './keys.ts'
import { missingModules } from './module-closure.ts'
import { ensurePlainDisk, type PlainDisk } from './plain-disk.ts'
import { ESP_ONLY_MIB, type Recipe, readRecipe, recipeFile } from './recipe.ts'
import { ensureUki, type Uki, type UkiProfile } from './uki.ts'
import { ensureVerityDisk } from './verity-disk.ts'

export interface BuiltImage {
  readonly description: ImageDescription
  readonly recipe: Recipe
  readonly packages: PackageTree['packages']
  readonly kernel: Kernel
  readonly initrd: Initrd
  /** With a root where the recipe has one, else an ESP only. */
  readonly disk: BaseDisk
  /** Another disk, with a small root in clear: made when it is asked for. */
  readonly plainDisk: () => Promise<PlainDisk>
}

export interface ImageOptions {
  /** In place of the recipe's kernel. */
  readonly kernel?: KernelSwap | undefined
}

/** Builds what is not in the cache; a second call takes some milliseconds. */
export async function ensureImage(
  context: MaterialContext,
  id: string,
  { kernel: swap }: ImageOptions = {},
): Promise<BuiltImage> {
  const own = await readRecipe(recipeFile(context.paths.checkout, id))
  const { kernel, recipe } =
    swap && 'suite' in swap
      ? await kernelOfSuite(context, own, swap.suite)
      : { kernel: await ensureKernel(context, { image: id, ...own.kernel }), recipe: own }
  const { suite, exclude } = recipe
  const packages = await ensurePackages(context, {
    image: id,
    what: 'packages',
    suite,
    packages: recipe.packages,
    exclude,
  })
  const initrd = await ensureInitrd(context, { recipe, packages, kernel })
  const disk = await ensureDisk(context, { recipe, packages, kernel })
  const image = {
    ...{ description: recipe.description, recipe, packages: packages.packages, kernel, initrd, disk },
    plainDisk: () => ensurePlainDisk(context, { recipe, packages }),
  }
  return swap && 'image' in swap ? withKernelFile(image, swap) : image
}

/** A kernel of another age need not have every driver of today's: a guest without one is told of, and still worth a try. */
async function kernelOfSuite(
  context: MaterialContext,
  own: Recipe,
  suite: string,
): Promise<{ readonly kernel: Kernel; readonly recipe: Recipe }> {
  const about = { ...own.kernel, suite }
  const kernel = await ensureKernel(context, { image: own.id, ...about })
  const missing = await missingModules({ ...kernel, names: own.initrd.modules })
  if (missing.length > 0)
    context.progress?.({
      image: own.id,
      step: `kernel ${kernel.release} has no ${missing.join(', ')}: left out`,
    })
  const modules = own.initrd.modules.filter((name) => !missing.includes(name))
  return { kernel, recipe: { ...own, kernel: about, initrd: { ...own.initrd, modules } } }
}

async function ensureDisk(
  context: MaterialContext,
  { recipe, packages, kernel }: { recipe: Recipe; packages: PackageTree; kernel: Kernel },
): Promise<BaseDisk> {
  const { root, disk } = recipe
  if (!root || !disk) return ensureEspOnlyDisk(context, { espMiB: ESP_ONLY_MIB })
  const { tree, key } = await ensureGuestTree(context, { recipe, root, packages, kernel })
  const { protection, ...sizes } = disk
  const request = { id: recipe.id, tree, treeKey: key, ...sizes }
  return protection === 'verity' ? ensureVerityDisk(context, request) : ensureBaseDisk(context, request)
}

export interface ImageUkiOptions {
  readonly keys: SigningKeys
  /** Added to the recipe's command line. */
  readonly extraCommandLine?: string
  /** Default `1`; another one gives another PCR 11. */
  readonly version?: string
  /** Default `db`; null: unsigned. */
  readonly signedBy?: SigningKeyName | null
  /** Default `pcr`; null: without a signed policy. */
  readonly pcrSignedBy?: PcrKeyName | null
  /** Each with what its command line has beside the UKI's. */
  readonly profiles?: readonly ImageProfile[]
  /** In place of that of the disk, where the image has a root under a hash tree; hex. */
  readonly rootHash?: string
}

export interface ImageProfile extends Pick<UkiProfile, 'id' | 'pcrSigned'> {
  readonly extraCommandLine: string
}

export function ensureImageUki(
  context: MaterialContext,
  image: BuiltImage,
  options: ImageUkiOptions,
): Promise<Uki> {
  const { recipe, kernel, initrd, disk } = image
  const { keys, extraCommandLine, version = '1', signedBy = 'db', pcrSignedBy = 'pcr', profiles } = options
  const rootHash = disk.verity && (options.rootHash ?? disk.verity.rootHash)
  const words = [recipe.commandLine, rootHash && `roothash=${rootHash}`, extraCommandLine]
  const commandLine = words.filter((each) => each).join(' ')
  return ensureUki(context, {
    ...{
      id: recipe.id,
      version,
      kernel,
      initrd,
      commandLine,
      keys,
    },
    ...(signedBy && { signedBy }),
    ...(pcrSignedBy && { pcrSignedBy }),
    ...(profiles && {
      profiles: profiles.map(({ id, pcrSigned, extraCommandLine: extra }) => ({
        ...{ id, pcrSigned, commandLine: `${commandLine} ${extra}` },
      })),
    }),
  })
}
