/** `attestbed images`: what boots, what it can do, and whether it is built; `--build` builds it. */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { nearest } from '../base/nearest.ts'
import type { MaterialContext } from '../materials/context.ts'
import { ensureImage } from '../materials/images.ts'
import { type Recipe, readRecipe, recipeFile } from '../materials/recipe.ts'
import { wrap } from '../report/layout.ts'
import { paletteFor } from '../report/palette.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import { watchInterrupts } from './interruption.ts'
import { widthOf, writeDocument } from './output.ts'
import { chosenTools, type ToolsFlag } from './tools-flag.ts'

interface ImageFlags extends ToolsFlag {
  readonly json?: boolean
  readonly build?: boolean
}

interface ImageEntry {
  readonly id: string
  readonly title: string
  readonly capabilities: readonly string[]
  readonly file: string
  /** `unknown` before set-up has run. */
  readonly built: 'yes' | 'no' | 'unknown'
}

/** `ids`: none means all. Throws UsageError `unknown-image`. Returns the exit code. */
export async function images(ids: readonly string[], flags: ImageFlags): Promise<number> {
  const recipes = await readRecipes(ids)
  if (flags.build) await build(recipes, flags)
  const entries = await Promise.all(recipes.map((recipe) => entryOf(recipe, flags)))
  if (flags.json) writeDocument({ images: entries })
  else process.stdout.write(describe(entries, widthOf(process.stdout)))
  return 0
}

async function readRecipes(ids: readonly string[]): Promise<readonly Recipe[]> {
  const { checkout } = resolvePaths()
  const folders = (await readdir(join(checkout, 'images'))).sort()
  const known = folders.filter((id) => existsSync(recipeFile(checkout, id)))
  const unknown = ids.find((id) => !known.includes(id))
  if (unknown !== undefined) throw unknownImage(unknown, known)
  return Promise.all((ids.length === 0 ? known : ids).map((id) => readRecipe(recipeFile(checkout, id))))
}

function unknownImage(id: string, known: readonly string[]): UsageError {
  const meant = nearest(id, known)
  return new UsageError(`no image is called "${id}"; there are ${known.join(', ')}`, {
    code: 'unknown-image',
    ...(meant !== undefined && { hint: `did you mean ${meant}?` }),
  })
}

async function build(recipes: readonly Recipe[], flags: ToolsFlag): Promise<void> {
  using interruption = watchInterrupts((words) => process.stderr.write(`${words}\n`))
  const paths = resolvePaths()
  const context: MaterialContext = {
    paths,
    tools: await chosenTools(flags),
    store: new Store(paths.cache),
    signal: interruption.signal,
    progress: ({ image, step }) => process.stderr.write(`${image}: ${step}\n`),
  }
  for (const { id } of recipes) await ensureImage(context, id)
}

async function entryOf(recipe: Recipe, flags: ToolsFlag): Promise<ImageEntry> {
  const { id, title, capabilities, description } = recipe
  return { id, title, capabilities, file: description.file, built: await isBuilt(id, flags) }
}

class NotBuilt extends Error {}

/** A store that finds but never builds. */
class FinishedOnly extends Store {
  override async ensure(kind: string, key: string): Promise<string> {
    if (this.has(kind, key)) return this.path(kind, key)
    throw new NotBuilt(kind)
  }
}

async function isBuilt(id: string, flags: ToolsFlag): Promise<ImageEntry['built']> {
  const paths = resolvePaths()
  try {
    await ensureImage({ paths, tools: await chosenTools(flags), store: new FinishedOnly(paths.cache) }, id)
    return 'yes'
  } catch (error) {
    return error instanceof NotBuilt ? 'no' : 'unknown'
  }
}

const INDENT = '    '
const BUILT_WORDS = { yes: 'built', no: 'not built yet', unknown: 'not known before scripts/setup' } as const

function describe(entries: readonly ImageEntry[], width: number): string {
  const { strong, faint } = paletteFor(process.stdout)
  return entries
    .map(({ id, title, capabilities, built }) => {
      const about = wrap(title, width - INDENT.length)
      const details = wrap(`${BUILT_WORDS[built]}; offers ${capabilities.join(', ')}`, width - INDENT.length)
      return [
        strong(id),
        ...about.map((line) => INDENT + line),
        ...details.map((line) => faint(INDENT + line)),
      ]
    })
    .map((lines) => `${lines.join('\n')}\n`)
    .join('\n')
}
