import { parseYaml } from '../../formats/yaml.ts'
import { type Policy, policySchema } from './schema.ts'

/**
 * A policy from YAML; `file` is its name in messages. Throws UsageError `bad-config` with line and column for the first
 * thing that is wrong: an unknown or repeated key, a value of the wrong length, a policy that requires nothing.
 */
export function parsePolicy(text: string, { file }: { readonly file: string }): Policy {
  return parseYaml(text, { file, schema: policySchema })
}
