/** The recipe of an image that is built here: `images/<id>/image.yaml`. */
import { dirname, extname, join } from 'node:path'
import type { z } from 'zod'
import { type ImageDescription, UNLOCK_PROMPT } from './image-description.ts'
import { readKnownYaml } from './known-yaml.ts'
import type { recipeSchema } from './recipe-schema.ts'

/** ESP of an image that has no disk of its own. */
export const ESP_ONLY_MIB = 64

/** What decides whether a recipe is right. */
const DECIDED_BY = ['recipe-schema', 'image-schema', 'image-description', 'yaml-file'].map((name) =>
  join(import.meta.dirname, `${name}${extname(import.meta.filename)}`),
)

export type Recipe = z.infer<typeof recipeSchema> & {
  /** Directory of the recipe, absolute. */
  readonly directory: string
  readonly description: ImageDescription
}

/** Throws UsageError `bad-config` with file:line:column. */
export async function readRecipe(file: string): Promise<Recipe> {
  const recipe = await readKnownYaml(file, {
    load: async () => (await import('./recipe-schema.ts')).recipeSchema,
    decidedBy: DECIDED_BY,
  })
  const { id, title, login, shutDown, reboot, timeouts, disk } = recipe
  const description: ImageDescription = {
    ...{ id, title, login, shutDown, reboot, timeouts, file },
    origin: 'built',
    secureBoot: 'checkout',
    ...(recipe.root && { plainPartition: 'data' }),
    ...(recipe.root && disk?.protection !== 'verity' && { unlockPrompt: UNLOCK_PROMPT }),
    capabilities: new Set(recipe.capabilities),
    diskMiB: disk ? disk.espMiB + disk.dataMiB + disk.rootMiB : ESP_ONLY_MIB,
  }
  return { ...recipe, directory: dirname(file), description }
}

/** Where a recipe's image is described. */
export function recipeFile(checkout: string, id: string): string {
  return join(checkout, 'images', id, 'image.yaml')
}
