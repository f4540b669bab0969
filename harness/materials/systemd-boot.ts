/** systemd-boot, signed by a key of this checkout. */
import { join } from 'node:path'
import { sha256File } from '../system/files.ts'
import { contentKey, type MaterialContext } from './context.ts'
import type { SigningKeys } from './keys.ts'

const LOADER = 'usr/lib/systemd/boot/efi/systemd-bootx64.efi'

export interface BootLoader {
  readonly file: string
  readonly sha256: string
}

export async function ensureSystemdBoot(context: MaterialContext, keys: SigningKeys): Promise<BootLoader> {
  const { privateKey, certificate, digest } = keys.certificates.db
  const key = contentKey({ loader: 'systemd-boot', tools: context.tools.digest, signer: digest })
  const directory = await context.store.ensure('loader', key, async (into) => {
    const output = join(into, 'systemd-boot.efi')
    const signer = ['--key', privateKey, '--cert', certificate]
    await context.tools.run('sbsign', [...signer, '--output', output, context.tools.path(LOADER)])
  })
  const file = join(directory, 'systemd-boot.efi')
  return { file, sha256: await sha256File(file) }
}
