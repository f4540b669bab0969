/** UKI addons: a command line that a stub adds to its own, signed for Secure Boot. systemd-stub(7), "Companion Files". */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256File } from '../system/files.ts'
import { contentKey, type MaterialContext } from './context.ts'
import type { SigningKeyName, SigningKeys } from './keys.ts'

const STUB = 'usr/lib/systemd/boot/efi/addonx64.efi.stub'

export interface AddonRequest {
  readonly commandLine: string
  readonly keys: SigningKeys
  /** Absent: unsigned; a firmware that enforces Secure Boot refuses it. */
  readonly signedBy?: SigningKeyName
  /** The kernel release that it is for; absent: any. */
  readonly uname?: string
}

export async function ensureAddon(
  context: MaterialContext,
  { commandLine, keys, signedBy, uname }: AddonRequest,
): Promise<{ readonly file: string; readonly sha256: string }> {
  const signer = signedBy && keys.certificates[signedBy]
  const key = contentKey({
    ...{ commandLine, tools: context.tools.digest, kind: 'addon' },
    signer: signer ? signer.digest : null,
    ...(uname !== undefined && { uname }),
  })
  const directory = await context.store.ensure('addon', key, async (into) => {
    const output = join(into, 'addon.efi')
    await context.tools.run('ukify', [
      ...['build', `--cmdline=${commandLine}`, `--stub=${context.tools.path(STUB)}`, `--output=${output}`],
      ...(uname === undefined ? [] : [`--uname=${uname}`]),
      ...(signer
        ? [`--secureboot-private-key=${signer.privateKey}`, `--secureboot-certificate=${signer.certificate}`]
        : []),
    ])
    await writeFile(join(into, 'sha256'), await sha256File(output))
  })
  const file = join(directory, 'addon.efi')
  return { file, sha256: await sha256File(file) }
}
