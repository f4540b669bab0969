/** What users write: a YAML file checked against a schema, errors as file:line:column. */
import { readFile } from 'node:fs/promises'
import type { z } from 'zod'
import { UsageError } from '../base/errors.ts'
import { parseYaml } from '../formats/yaml.ts'

export async function readYamlFile<Schema extends z.ZodType>(
  file: string,
  schema: Schema,
): Promise<z.infer<Schema>> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new UsageError(`cannot read ${file}: ${cause instanceof Error ? cause.message : cause}`, {
      code: 'bad-config',
      cause,
    })
  })
  return parseYaml(text, { file, schema })
}
