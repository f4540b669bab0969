import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * The vectors beside a developer's checkout: other projects' evidence, firmware digests and logs, each with its source
 * and expected verdict in `index.yaml`. They are read in place and never copied; a user's clone has none.
 * `ATTESTBED_VECTORS` names another folder.
 */
const FOLDER = process.env['ATTESTBED_VECTORS'] ?? join(import.meta.dirname, '../../../../shared/vectors')

/** Why a test that needs the vectors is skipped here; false where they are at hand. For `t.test`'s `skip` option. */
export const vectorsMissing: string | false = existsSync(join(FOLDER, 'index.yaml'))
  ? false
  : 'the shared vectors are not beside this checkout'

/** Content of a vector; `file` as `index.yaml` spells it: `snp/milan_v3_vcek.report.bin`. */
export function vector(file: string): Buffer {
  return readFileSync(join(FOLDER, file))
}

export function vectorText(file: string): string {
  return vector(file).toString('utf8')
}

/** Names of the vectors in a folder, sorted; `folder` as `index.yaml` spells it: `snp/certs`. */
export function vectorNames(folder: string): readonly string[] {
  return readdirSync(join(FOLDER, folder))
    .sort()
    .map((name) => `${folder}/${name}`)
}
