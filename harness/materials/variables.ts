/** UEFI variable stores with the keys that a launch wants enrolled. */
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tmpName } from 'tmp-promise'
import { sha256Hex } from '../base/digest.ts'
import { sha256File } from '../system/files.ts'
import { contentKey, type MaterialContext } from './context.ts'
import type { SigningKeys } from './keys.ts'

/** Owner of our signatures in PK, KEK and db: names this project, is no secret. */
const OWNER_GUID = '6c1a6ec2-8a0c-4f0c-9d4e-1f6f5b0a77e5'

/** What makes firmware enforce Secure Boot, and what it forbids (UEFI 2.10, section 32.3). */
const KEY_VARIABLES = ['PK', 'KEK', 'db', 'dbx']

export type SecureBootState =
  /** PK, KEK and db of the checkout; the firmware refuses what db does not cover. */
  | 'on'
  /** No keys: setup mode. */
  | 'off'
  /** The template as it is, with the keys that it came with. */
  | 'template'

export interface VariablesRequest {
  /** Variable store to start from, as the firmware's package brings it. */
  readonly template: string
  /** The template has keys of its own: `off` takes them out. */
  readonly withKeys?: boolean
  readonly secureBoot: SecureBootState
  readonly keys: SigningKeys
  /** PEM files of more certificates for db. */
  readonly extraDb?: readonly string[]
}

export interface VariableStore {
  /** Read-only: every VM gets a copy of its own. */
  readonly file: string
  readonly sha256: string
}

export async function ensureVariables(
  context: MaterialContext,
  request: VariablesRequest,
): Promise<VariableStore> {
  const { template, withKeys = false, secureBoot, keys, extraDb = [] } = request
  const { PK, KEK, db } = keys.certificates
  const key = contentKey({
    ...{ secureBoot, withKeys, tools: context.tools.digest },
    template: await sha256File(template),
    keys: secureBoot === 'on' ? [PK.digest, KEK.digest, db.digest] : [],
    extraDb: await Promise.all(extraDb.map(sha256File)),
  })
  const directory = await context.store.ensure('variables', key, async (into) => {
    const file = join(into, 'variables.fd')
    const enrol = secureBoot === 'on' ? enrolArguments(keys) : []
    const remove = secureBoot === 'off' && withKeys ? KEY_VARIABLES.flatMap((name) => ['--delete', name]) : []
    const extra = extraDb.flatMap((certificate) => ['--add-db', OWNER_GUID, certificate])
    const change = [...remove, ...enrol, ...extra]
    if (change.length === 0) await copyFile(template, file)
    else await context.tools.run('virt-fw-vars', ['--input', template, '--output', file, ...change])
    await writeFile(join(into, 'sha256'), await sha256File(file))
  })
  return { file: join(directory, 'variables.fd'), sha256: await readFile(join(directory, 'sha256'), 'utf8') }
}

function enrolArguments({ certificates: { PK, KEK, db } }: SigningKeys): string[] {
  return [
    ...['--set-pk', OWNER_GUID, PK.certificate, '--add-kek', OWNER_GUID, KEK.certificate],
    ...['--add-db', OWNER_GUID, db.certificate, '--sb'],
  ]
}

export interface StoredVariable {
  readonly name: string
  readonly guid: string
  /** In bytes, without attributes. */
  readonly size: number
  readonly sha256: string
}

/** The variables in a VM's store, as virt-fw-vars reads them. */
export async function readVariables(
  context: Pick<MaterialContext, 'tools'>,
  file: string,
): Promise<readonly StoredVariable[]> {
  // A file and not /dev/stdout: that is a socket here, which cannot be opened by name.
  const json = await tmpName({ prefix: 'attestbed-variables-' })
  try {
    await context.tools.run('virt-fw-vars', ['--input', file, '--output-json', json])
    return parseDump(await readFile(json, 'utf8'))
  } finally {
    await rm(json, { force: true })
  }
}

function parseDump(json: string): readonly StoredVariable[] {
  const dump = JSON.parse(json) as { variables: { name: string; guid: string; data: string }[] }
  return dump.variables.map(({ name, guid, data }) => {
    const bytes = Buffer.from(data, 'hex')
    return { name, guid, size: bytes.length, sha256: sha256Hex(bytes) }
  })
}
