/** The keys of this checkout: Secure Boot hierarchy and PCR signatures, and a stranger's set for attacks. */

import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { MaterialError } from '../base/errors.ts'
import { withLock } from '../system/lock.ts'
import type { Tools } from '../system/tools.ts'
import type { MaterialContext } from './context.ts'

/** `db-other` and `pcr-other` are trusted by nobody until an attack makes somebody trust them. */
export const CERTIFICATE_NAMES = ['PK', 'KEK', 'db', 'db-other'] as const
export const PCR_KEY_NAMES = ['pcr', 'pcr-other'] as const
export type CertificateName = (typeof CERTIFICATE_NAMES)[number]
export type PcrKeyName = (typeof PCR_KEY_NAMES)[number]
export type SigningKeyName = 'db' | 'db-other'

export interface Certificate {
  /** PEM files, absolute. */
  readonly privateKey: string
  readonly certificate: string
  /** SHA-256 of the certificate file, as hex. */
  readonly digest: string
}

export interface PcrKey {
  readonly privateKey: string
  readonly publicKey: string
  /** SHA-256 of the public key file, as hex. */
  readonly digest: string
}

export interface SigningKeys {
  readonly directory: string
  readonly certificates: Readonly<Record<CertificateName, Certificate>>
  readonly pcr: Readonly<Record<PcrKeyName, PcrKey>>
}

const RSA_BITS = 2048
const VALID_DAYS = 3650

/**
 * The keys in `paths.keys` (0700, files 0600), made on first use. They appear all at once: an interrupted or a
 * concurrent first use leaves either no keys or one complete set.
 */
export async function ensureKeys(context: Pick<MaterialContext, 'tools' | 'paths'>): Promise<SigningKeys> {
  const directory = context.paths.keys
  await mkdir(dirname(directory), { recursive: true, mode: 0o700 })
  if ((await missingFiles(directory)).length > 0) {
    await withLock(`${directory}.lock`, {}, async () => {
      if ((await missingFiles(directory)).length > 0) await makeKeys(context.tools, directory)
    })
  }
  return readKeys(directory)
}

function fileNames(): string[] {
  return [
    ...CERTIFICATE_NAMES.flatMap((name) => [`${name}.key`, `${name}.crt`]),
    ...PCR_KEY_NAMES.flatMap((name) => [`${name}.key`, `${name}.pub`]),
  ]
}

async function missingFiles(directory: string): Promise<string[]> {
  const present = new Set(await readdir(directory).catch(() => []))
  return fileNames().filter((name) => !present.has(name))
}

async function makeKeys(tools: Tools, directory: string): Promise<void> {
  const present = await readdir(directory).catch(() => [])
  if (present.length > 0)
    throw new MaterialError(
      `cannot use the keys in ${directory}: ${(await missingFiles(directory)).join(', ')} missing, all ${fileNames().length} files are required`,
      {
        code: 'missing',
        hint: `rm -r ${directory} makes new ones; images signed by the old ones are then built again`,
      },
    )
  const temporary = `${directory}.${randomBytes(6).toString('hex')}`
  try {
    await mkdir(temporary, { mode: 0o700 })
    await Promise.all([
      ...CERTIFICATE_NAMES.map((name) => makeCertificate(tools, temporary, name)),
      ...PCR_KEY_NAMES.map((name) => makePcrKey(tools, temporary, name)),
    ])
    for (const name of fileNames()) await chmod(join(temporary, name), 0o600)
    await rename(temporary, directory)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error
  }
}

async function makeCertificate(tools: Tools, directory: string, name: CertificateName): Promise<void> {
  const subject = `/CN=Attestbed test ${name} ${randomBytes(4).toString('hex')}`
  await tools.run('openssl', [
    ...['req', '-x509', '-newkey', `rsa:${RSA_BITS}`, '-nodes', '-sha256', '-days', String(VALID_DAYS)],
    ...['-subj', subject, '-keyout', join(directory, `${name}.key`), '-out', join(directory, `${name}.crt`)],
  ])
}

async function makePcrKey(tools: Tools, directory: string, name: PcrKeyName): Promise<void> {
  const privateKey = join(directory, `${name}.key`)
  await tools.run('openssl', ['genrsa', '-out', privateKey, String(RSA_BITS)])
  const { stdout } = await tools.run('openssl', ['rsa', '-in', privateKey, '-pubout'])
  await writeFile(join(directory, `${name}.pub`), stdout)
}

async function readKeys(directory: string): Promise<SigningKeys> {
  const certificate = async (name: CertificateName): Promise<Certificate> => {
    const file = join(directory, `${name}.crt`)
    return {
      privateKey: join(directory, `${name}.key`),
      certificate: file,
      digest: sha256Hex(await readFile(file)),
    }
  }
  const pcrKey = async (name: PcrKeyName): Promise<PcrKey> => {
    const file = join(directory, `${name}.pub`)
    return {
      privateKey: join(directory, `${name}.key`),
      publicKey: file,
      digest: sha256Hex(await readFile(file)),
    }
  }
  const [PK, KEK, db, dbOther] = await Promise.all([
    certificate('PK'),
    certificate('KEK'),
    certificate('db'),
    certificate('db-other'),
  ] as const)
  const [pcr, pcrOther] = await Promise.all([pcrKey('pcr'), pcrKey('pcr-other')])
  return {
    directory,
    certificates: { PK, KEK, db, 'db-other': dbOther },
    pcr: { pcr, 'pcr-other': pcrOther },
  }
}
