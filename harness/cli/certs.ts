/** `attestbed certs`: the local cache of endorsements. */
import { pad } from '../report/layout.ts'
import { paletteFor } from '../report/palette.ts'
import { EndorsementCache } from './endorsement-cache.ts'
import { readEvidenceFiles } from './evidence-files.ts'
import { writeDocument } from './output.ts'

export interface CertsFlags {
  readonly json?: boolean
}

/** Keeps every certificate, list and collateral document of the files. Throws FormatError, UsageError. Returns 0. */
export async function importCerts(files: readonly string[], { json = false }: CertsFlags): Promise<number> {
  const cache = new EndorsementCache()
  const entries = []
  for (const file of await readEvidenceFiles(files)) entries.push(...(await cache.import(file)))
  show(entries, { json, directory: cache.directory })
  return 0
}

export async function listCerts({ json = false }: CertsFlags): Promise<number> {
  const cache = new EndorsementCache()
  show(await cache.list(), { json, directory: cache.directory })
  return 0
}

interface Entry {
  readonly name: string
  readonly about: string
  readonly notAfter: Date
}

const DATE_COLUMNS = 'until 2045-10-22'.length

function show(
  entries: readonly Entry[],
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
