/** Files for a stub to find, and what is wrong with them. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import { type AddonRequest, ensureAddon } from '../materials/addon.ts'
import { type ExtensionRequest, ensureExtension } from '../materials/extension.ts'
import { writePrivateFile } from '../system/files.ts'
import type { ScenarioVm } from './vm.ts'

/** A file that may be shared with other VMs. */
export async function buildAddon(vm: ScenarioVm, addon: Omit<AddonRequest, 'keys'>): Promise<string> {
  const { bench } = vm.spec
  return (await ensureAddon(bench, { ...addon, keys: bench.keys })).file
}

/** A system extension of the initrd; its file may be shared with other VMs. */
export async function buildExtension(
  vm: ScenarioVm,
  extension: Omit<ExtensionRequest, 'keys'>,
): Promise<string> {
  const { bench } = vm.spec
  return ensureExtension(bench, { ...extension, keys: bench.keys })
}

export interface CredentialRequest {
  /** Under which a service asks for it. */
  readonly name: string
  readonly secret: string
  /** Who can decrypt it: the VM's TPM with a PCR 11 that our key has signed, or anybody. */
  readonly key: 'tpm' | 'null'
}

/** An encrypted credential (systemd-creds(1)), made while the VM is off. */
export async function sealCredential(
  vm: ScenarioVm,
  { name, secret, key }: CredentialRequest,
): Promise<string> {
  const { tools, keys } = vm.spec.bench
  const directory = await mkdtemp(join(vm.spec.directory, 'credential-'))
  const plain = join(directory, 'plain')
  await writePrivateFile(plain, secret)
  const sealed = join(directory, 'sealed')
  const encrypt = (...how: readonly string[]) =>
    tools.run('systemd-creds', ['encrypt', `--name=${name}`, ...how, plain, sealed])
  if (key === 'null') await encrypt('--with-key=null')
  else
    await vm.useTpm((socket) =>
      encrypt(
        ...['--with-key=tpm2', `--tpm2-device=swtpm:path=${socket}`],
        // Empty means none; leaving it out would mean PCR 7 as it is in that TPM now.
        ...['--tpm2-pcrs=', `--tpm2-public-key=${keys.pcr.pcr.publicKey}`, '--tpm2-public-key-pcrs=11'],
      ),
    )
  await rm(plain)
  return sealed
}

/** `put` in the place of `find`, which is there once and as long, or another letter in the last line of base64. */
export type Alteration = { readonly find: string; readonly put: string } | { readonly lastLine: 'base64' }

/** A copy of a file with a change. Throws MaterialError `missing` where there is nothing to change. */
export async function alterFile(vm: ScenarioVm, file: string, change: Alteration): Promise<string> {
  const bytes = await readFile(file)
  if ('find' in change) replaceOnce(bytes, file, change)
  else {
    const at = bytes.lastIndexOf('\n', bytes.length - 2) + 1
    bytes.write(bytes[at] === 0x41 ? 'B' : 'A', at)
  }
  const altered = join(await mkdtemp(join(vm.spec.directory, 'altered-')), basename(file))
  await writePrivateFile(altered, bytes)
  return altered
}

function replaceOnce(
  bytes: Buffer,
  file: string,
  { find, put }: { readonly find: string; readonly put: string },
): void {
  const at = bytes.indexOf(find)
  if (at < 0 || bytes.includes(find, at + 1) || Buffer.byteLength(find) !== Buffer.byteLength(put))
    throw new MaterialError(`cannot alter ${file}: "${find}" must be in it once, and "${put}" be as long`, {
      code: 'missing',
    })
  bytes.write(put, at)
}
