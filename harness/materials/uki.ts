/** Unified kernel images: signed for Secure Boot, with a signed prediction of PCR 11. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256File } from '../system/files.ts'
import { contentKey, type MaterialContext } from './context.ts'
import type { PcrKeyName, SigningKeyName, SigningKeys } from './keys.ts'

/** The signed policy holds in the initrd only: the root's key cannot be unsealed by what runs later. */
const SIGNED_PHASE = 'enter-initrd'
const STUB = 'usr/lib/systemd/boot/efi/linuxx64.efi.stub'
/** What ukify puts the sections of a profile into: any PE file without sections of its own. */
const PROFILE_STUB = 'usr/lib/systemd/boot/efi/addonx64.efi.stub'

export interface UkiRequest {
  /** Names the image in `os-release`, which the boot menu shows and PCR 11 covers. */
  readonly id: string
  /** Part of os-release: two UKIs that differ in nothing else are an update of each other. */
  readonly version: string
  /** `digest` identifies the content of `image`. */
  readonly kernel: { readonly image: string; readonly release: string; readonly digest: string }
  readonly initrd: { readonly file: string; readonly sha256: string }
  readonly commandLine: string
  readonly keys: SigningKeys
  /** Key of the Secure Boot signature; absent: unsigned. */
  readonly signedBy?: SigningKeyName
  /** Key of the PCR 11 signature; absent: none. */
  readonly pcrSignedBy?: PcrKeyName
  /** More sections: name (".ucode") to file. */
  readonly sections?: Readonly<Record<string, string>>
  /** The first is the one that is booted unless another is asked for; absent: the UKI has no profiles. */
  readonly profiles?: readonly UkiProfile[]
}

/** UAPI specification UKI 1, "Multi-Profile UKIs". */
export interface UkiProfile {
  readonly id: string
  /** In place of the UKI's own. */
  readonly commandLine: string
  /** Whether the signature of PCR 11 covers it, where the UKI has one. */
  readonly pcrSigned: boolean
}

export interface Uki {
  readonly file: string
  readonly sha256: string
  readonly commandLine: string
}

export async function ensureUki(context: MaterialContext, request: UkiRequest): Promise<Uki> {
  const { keys, signedBy, pcrSignedBy, sections = {}, commandLine, id, version, profiles } = request
  const stub = context.stub === undefined ? {} : { stub: await sha256File(context.stub) }
  const sectionDigests = Object.entries(sections).map(async ([name, file]) => [name, await sha256File(file)])
  const key = contentKey({
    ...{ id, version, commandLine, tools: context.tools.digest, initrd: request.initrd.sha256 },
    kernel: request.kernel.digest,
    release: request.kernel.release,
    signer: signedBy ? keys.certificates[signedBy].digest : null,
    pcrSigner: pcrSignedBy ? keys.pcr[pcrSignedBy].digest : null,
    sections: await Promise.all(sectionDigests),
    ...(profiles && { profiles: profiles.map((profile) => ({ ...profile })) }),
    ...stub,
  })
  const directory = await context.store.ensure('uki', key, async (into) => {
    context.progress?.({ image: id, step: 'unified kernel image' })
    const output = join(into, `${id}.efi`)
    const profileArguments = profiles ? await makeProfiles(context, profiles, into) : []
    const base = { ...request, commandLine: profiles?.[0]?.commandLine ?? commandLine }
    const args = [...arguments_(context, base), ...profileArguments, `--output=${output}`]
    await context.tools.run('ukify', args)
    await writeFile(join(into, 'sha256'), await sha256File(output))
  })
  const sha256 = await readFile(join(directory, 'sha256'), 'utf8')
  return { file: join(directory, `${id}.efi`), sha256, commandLine }
}

/** Makes the sections of all profiles but the first; returns what has ukify join them. */
async function makeProfiles(
  context: MaterialContext,
  profiles: readonly UkiProfile[],
  into: string,
): Promise<readonly string[]> {
  const [first, ...others] = profiles
  const files = others.map(({ id }) => join(into, `${id}.profile.efi`))
  const stub = `--stub=${context.tools.path(PROFILE_STUB)}`
  for (const [index, { id, commandLine }] of others.entries()) {
    const output = `--output=${files[index]}`
    await context.tools.run('ukify', ['build', profileArgument(id), `--cmdline=${commandLine}`, stub, output])
  }
  return [
    ...(first ? [profileArgument(first.id)] : []),
    ...files.map((file) => `--join-profile=${file}`),
    ...profiles.filter(({ pcrSigned }) => pcrSigned).map(({ id }) => `--sign-profile=${id}`),
  ]
}

function profileArgument(id: string): string {
  return `--profile=ID=${id}\nTITLE=${id}\n`
}

function arguments_(context: MaterialContext, request: UkiRequest): string[] {
  const { keys, signedBy, pcrSignedBy, sections = {}, id, version } = request
  const signer = signedBy && keys.certificates[signedBy]
  const pcr = pcrSignedBy && keys.pcr[pcrSignedBy]
  return [
    'build',
    `--linux=${request.kernel.image}`,
    `--initrd=${request.initrd.file}`,
    `--cmdline=${request.commandLine}`,
    `--uname=${request.kernel.release}`,
    `--os-release=ID=attestbed\nVARIANT_ID=${id}\nVERSION_ID=${version}\nPRETTY_NAME="Attestbed ${id} ${version}"\n`,
    `--stub=${context.stub ?? context.tools.path(STUB)}`,
    // The stub verifies nothing inside the UKI, so a signature on the kernel in it would be dead weight.
    '--no-sign-kernel',
    ...Object.entries(sections).map(([name, file]) => `--section=${name}:@${file}`),
    ...(pcr
      ? [
          `--pcr-private-key=${pcr.privateKey}`,
          `--pcr-public-key=${pcr.publicKey}`,
          `--phases=${SIGNED_PHASE}`,
        ]
      : []),
    ...(pcr ? ['--pcr-banks=sha256'] : []),
    ...(signer
      ? [`--secureboot-private-key=${signer.privateKey}`, `--secureboot-certificate=${signer.certificate}`]
      : []),
  ]
}
