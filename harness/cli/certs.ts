/** `attestbed certs`: the local cache of endorsements. */

import { VerifyError } from '../base/errors.ts'
import type { CacheEntry } from '../evidence/collect/cache-key.ts'
import { pad } from '../report/layout.ts'
import { paletteFor } from '../report/palette.ts'
import { EndorsementCache } from './endorsement-cache.ts'
import { readEvidenceFiles } from './evidence-files.ts'
import { writeDocument } from './output.ts'

export interface CertsFlags {
  readonly json?: boolean
}

/**
 * Keeps every certificate, list and collateral document of the files for which a pinned root vouches; issuers may lie in
 * any of the files or in the cache. Returns 0. Throws FormatError, UsageError, and VerifyError `unknown-root` where
 * something was left out.
 */
export async function importCerts(files: readonly string[], { json = false }: CertsFlags): Promise<number> {
  const cache = new EndorsementCache()
  const { vouched, refused } = await cache.import(await readEvidenceFiles(files))
  show(vouched, { json, directory: cache.directory })
  if (refused.length === 0) return 0
  throw new VerifyError(
    `cannot keep ${refused.map(({ about }) => about).join(', ')}: no pinned root vouches for it`,
    {
      code: 'unknown-root',
      expected:
        "signatures up to AMD's or Intel's root, the issuers' certificates among the files or in the cache",
      got: `${refused.length} without`,
      hint: 'import the issuers too; what an emulated root vouches for is given to verify with --certs',
    },
  )
}

export async function listCerts({ json = false }: CertsFlags): Promise<number> {
  const cache = new EndorsementCache()
  show(await cache.list(), { json, directory: cache.directory })
  return 0
}

const DATE_COLUMNS = 'until 2045-10-22'.length

function show(
  entries: readonly CacheEntry[],
  { json, directory }: { readonly json: boolean; readonly directory: string },
): void {
  if (json) {
    writeDocument({
      directory,
      entries: entries.map(({ name, about, notAfter }) => ({
        name,
        about,
        not_after: notAfter.toISOString(),
      })),
    })
    return
  }
  const { faint } = paletteFor(process.stdout)
  const lines = entries.map(
    ({ about, notAfter }) => `${pad(`until ${notAfter.toISOString().slice(0, 10)}`, DATE_COLUMNS)}  ${about}`,
  )
  process.stdout.write(`${[...lines, faint(`${entries.length} in ${directory}`)].join('\n')}\n`)
}
