import { UsageError } from '../../base/errors.ts'
import { parseYaml } from '../../formats/yaml.ts'
import { type Policy, policySchema } from './schema.ts'

/** A policy of every digest of a fleet has some KiB; the depth of YAML is bounded by its parser's stack. */
const MAX_BYTES = 1024 * 1024

/**
 * A policy from YAML of at most 1 MiB as UTF-8; `file` is its name in messages. Throws UsageError `bad-config` with line and
 * column for the first thing that is wrong: an unknown or repeated key, a value of the wrong length, a policy that
 * requires nothing. YAML 1.2.
 */
export function parsePolicy(text: string, { file }: { readonly file: string }): Policy {
  const bytes = Buffer.byteLength(text)
  if (bytes > MAX_BYTES)
    throw new UsageError(`a policy of ${bytes} bytes is not read, at most ${MAX_BYTES} are`, {
      ...{ code: 'bad-config', position: { file, line: 1, column: 1 } },
    })
  return parseYaml(text, { file, schema: policySchema })
}
