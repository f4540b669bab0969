/**
 * The TLS key by which guests of this checkout know their broker. It lasts as the other keys do: its pin is on the command
 * lines of UKIs and addons, which would be built anew for every run otherwise.
 */
import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { withLock } from '../system/lock.ts'
import type { MaterialContext } from './context.ts'

const VALID_DAYS = 3650
const KEY = 'tls.key'
const CERTIFICATE = 'tls.crt'

export interface BrokerIdentity {
  readonly privateKeyPem: string
  readonly certificatePem: string
  /** `sha256:` and the SHA-256 of the SubjectPublicKeyInfo in base64, as the guest's command line has it. */
  readonly pin: string
}

/** Made on first use, in the folder `name` beside `paths.keys` (0700). */
export async function ensureBrokerIdentity(
  context: Pick<MaterialContext, 'tools' | 'paths'>,
  name: 'broker' | 'relay' = 'broker',
): Promise<BrokerIdentity> {
  const directory = join(dirname(context.paths.keys), name)
  await mkdir(dirname(directory), { recursive: true, mode: 0o700 })
  if (!(await exists(directory)))
    await withLock(`${directory}.lock`, {}, async () => {
      if (!(await exists(directory))) await makeIdentity(context, directory)
    })
  const certificatePem = await readFile(join(directory, CERTIFICATE), 'utf8')
  const privateKeyPem = await readFile(join(directory, KEY), 'utf8')
  return { privateKeyPem, certificatePem, pin: pinOf(certificatePem) }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined
}

/** Pin of a certificate's key (RFC 7469, 2.4). */
function pinOf(certificatePem: string): string {
  const spki = new X509Certificate(certificatePem).publicKey.export({ type: 'spki', format: 'der' })
  return `sha256:${createHash('sha256').update(spki).digest('base64')}`
}

async function makeIdentity({ tools }: Pick<MaterialContext, 'tools'>, directory: string): Promise<void> {
  const temporary = `${directory}.${randomBytes(6).toString('hex')}`
  await mkdir(temporary, { mode: 0o700 })
  try {
    await tools.run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-sha256'],
      ...['-days', String(VALID_DAYS), '-subj', '/CN=Attestbed test broker'],
      ...['-keyout', join(temporary, KEY), '-out', join(temporary, CERTIFICATE)],
    ])
    await rename(temporary, directory)
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}
