/** Which images there are: one folder with an image.yaml each. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { nearest } from '../base/nearest.ts'
import type { BroughtImage } from './brought-image.ts'
import { type Recipe, readRecipe, recipeFile } from './recipe.ts'

export type KnownImage =
  | { readonly origin: 'built'; readonly recipe: Recipe }
  | { readonly origin: 'brought'; readonly image: BroughtImage }

/** The recipes of `<checkout>/images`, by id. */
export async function listImages(checkout: string): Promise<readonly Recipe[]> {
  const directory = join(checkout, 'images')
  const entries = await readdir(directory, { withFileTypes: true })
  const found = await Promise.all(
    entries
      .filter((entry) => entry.isDirectory())
      .map(async ({ name }) => {
        const files = await readdir(join(directory, name))
        return files.includes('image.yaml') ? [name] : []
      }),
  )
  return Promise.all(
    found
      .flat()
      .sort()
      .map((id) => readRecipe(recipeFile(checkout, id))),
  )
}

/**
 * What `name` stands for: the id of a recipe, or (with a "/" or the ending .yaml) the file that describes somebody's
 * disk. Throws UsageError `unknown-image`, or `bad-config` with its position.
 */
export async function findImage(checkout: string, name: string): Promise<KnownImage> {
  if (name.includes('/') || /\.ya?ml$/.test(name)) {
    const { readBroughtImage } = await import('./brought-image.ts')
    return { origin: 'brought', image: await readBroughtImage(name) }
  }
  const recipes = await listImages(checkout)
  const recipe = recipes.find(({ id }) => id === name)
  if (recipe) return { origin: 'built', recipe }
  const ids = recipes.map(({ id }) => id)
  const meant = nearest(name, ids)
  throw new UsageError(`there is no image "${name}"`, {
    code: 'unknown-image',
    hint: meant
      ? `did you mean "${meant}"?`
      : `images: ${ids.join(', ')}; or the path of a description of your own`,
  })
}
