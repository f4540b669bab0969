/**
 * YAML files of the project that were read before. Parsing and checking them costs every run a fifth of a second, most
 * of it for loading what does it; a file that was right stays right for as long as neither it nor its schema changes.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { z } from 'zod'
import { sha256Hex } from '../base/digest.ts'
import { writePrivateFile } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'

export interface KnownSchema<Schema extends z.ZodType> {
  /** Called only for what is not known yet. Its values must be the same after a round trip through JSON. */
  readonly load: () => Promise<Schema>
  /** Files of code that decide what is right, the schema's module among them; a change of one asks again. */
  readonly decidedBy: readonly string[]
}

/** Throws as `readYamlFile`. A cache that cannot be read or written costs time, not the answer. */
export async function readKnownYaml<Schema extends z.ZodType>(
  file: string,
  { load, decidedBy }: KnownSchema<Schema>,
): Promise<z.infer<Schema>> {
  const known = await knownFile([file, ...decidedBy])
  const found = known === undefined ? undefined : await readJson(known)
  // What was written under this digest came from this schema, so it has its type.
  if (found !== undefined) return found as z.infer<Schema>
  const { readYamlFile } = await import('./yaml-file.ts')
  const value = await readYamlFile(file, await load())
  if (known !== undefined) await remember(known, value)
  return value
}

/** Undefined where one of the files cannot be read: `readYamlFile` then says what is wrong. */
async function knownFile(files: readonly string[]): Promise<string | undefined> {
  try {
    const contents = await Promise.all(files.map((file) => readFile(file)))
    const digest = sha256Hex(JSON.stringify(contents.map((content) => sha256Hex(content))))
    return join(resolvePaths().cache, 'yaml', `${digest.slice(0, 32)}.json`)
  } catch {
    return undefined
  }
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch {
    return undefined
  }
}

async function remember(file: string, value: unknown): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    await writePrivateFile(file, JSON.stringify(value))
  } catch {
    return
  }
}
