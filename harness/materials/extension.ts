/**
 * System extensions for an initrd: disk images (DDI) whose files are laid over its /usr. systemd-sysext(8) and the UAPI
 * specifications "Discoverable Partitions" and "Extension Images". A signed one has its dm-verity root hash signed, by a
 * key that the kernel of the guest trusts: under Secure Boot those of db are (CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG_PLATFORM_KEYRING).
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { contentKey, type MaterialContext } from './context.ts'
import type { SigningKeyName, SigningKeys } from './keys.ts'

/** Bump when what is put into an extension, or how, changes. */
const FORMAT = 1
/** Names partitions and the file system: equal extensions have equal bytes. */
const SEED = '4b0e8d3a-7f0c-4f6d-9a55-1c9d0e2f7a61'
/** Partitions, as systemd-repart makes them itself for `--make-ddi=sysext`. */
const DEFINITIONS = {
  '10-root.conf':
    'Type=root\nFormat=erofs\nCopyFiles=/usr/\nVerity=data\nVerityMatchKey=root\nMinimize=best\n',
  '20-root-verity.conf': 'Type=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n',
}
const SIGNATURE_DEFINITION = {
  '30-root-verity-sig.conf': 'Type=root-verity-sig\nVerity=signature\nVerityMatchKey=root\n',
}
const RELEASE = 'ID=attestbed\nSYSEXT_LEVEL=1\nSYSEXT_SCOPE=initrd\n'

export interface ExtensionRequest {
  /** The extension's own name: its file is to be called NAME.sysext.raw. */
  readonly name: string
  /** Path from the root, below usr/, to the text of a program. */
  readonly programs: Readonly<Record<string, string>>
  readonly keys: SigningKeys
  /** Null: with verity data, and no signature. */
  readonly signedBy: SigningKeyName | null
}

/** The image file. */
export async function ensureExtension(
  context: MaterialContext,
  { name, programs, keys, signedBy }: ExtensionRequest,
): Promise<string> {
  const signer = signedBy === null ? undefined : keys.certificates[signedBy]
  const key = contentKey({
    ...{ kind: 'sysext', format: FORMAT, tools: context.tools.digest, name, programs },
    signer: signer?.digest ?? null,
  })
  const directory = await context.store.ensure('extension', key, async (into) => {
    const tree = join(into, 'tree')
    const files = { ...programs, [`usr/lib/extension-release.d/extension-release.${name}`]: RELEASE }
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(tree, path)), { recursive: true })
      await writeFile(join(tree, path), text)
      await chmod(join(tree, path), path in programs ? 0o755 : 0o644)
    }
    const definitions = join(into, 'definitions')
    await mkdir(definitions)
    for (const [file, text] of Object.entries({ ...DEFINITIONS, ...(signer && SIGNATURE_DEFINITION) }))
      await writeFile(join(definitions, file), `[Partition]\n${text}`)
    const sign = signer ? [`--private-key=${signer.privateKey}`, `--certificate=${signer.certificate}`] : []
    await context.tools.run(
      'systemd-repart',
      [
        ...['--empty=create', '--size=auto', '--offline=yes', `--seed=${SEED}`, ...sign],
        ...[`--definitions=${definitions}`, `--copy-source=${tree}`],
        join(into, 'extension.raw'),
      ],
      { fakeRoot: true, environment: { SOURCE_DATE_EPOCH: '1', TMPDIR: into } },
    )
  })
  return join(directory, 'extension.raw')
}
