/**
 * Which files of an ESP the stub of a UKI takes, and as what: systemd-stub(7), "Companion Files". What lies beside the
 * UKI is for it alone, what lies below /loader for any.
 */
import type { FatVolume } from '../../formats/fat.ts'
import type { TpmBoot } from './boot.ts'
import type { Addon } from './stub.ts'
import type { CompanionKind, EspFile } from './stub-initrd.ts'

/** What lies beside a UKI for its stub. */
export function extraDirectory(ukiPath: string): string {
  return `${ukiPath}.extra.d`
}

export const GLOBAL_DIRECTORIES = {
  addons: 'loader/addons',
  credentials: 'loader/credentials',
  extensions: 'loader/extensions',
} as const

const ADDON = '.addon.efi'
const CREDENTIAL = '.cred'
const CONFEXT = '.confext.raw'
/** Whatever is no configuration is taken for a system extension. */
const EXTENSION = '.raw'

/** What is read of an ESP. */
export type EspListing = Pick<FatVolume, 'entries' | 'read'>

/** `ukiPath`: on the ESP, with `/`. Names are compared as FAT does, without case. Pure. */
export function companionsOnEsp(
  esp: EspListing,
  ukiPath: string,
): Required<Pick<TpmBoot, 'addons' | 'companions'>> {
  const own = filesIn(esp, extraDirectory(ukiPath))
  const credentials = filesIn(esp, GLOBAL_DIRECTORIES.credentials)
  const extensions = filesIn(esp, GLOBAL_DIRECTORIES.extensions)
  const companions: Record<CompanionKind, readonly EspFile[]> = {
    credentials: own.filter(endsWith(CREDENTIAL)),
    globalCredentials: credentials.filter(endsWith(CREDENTIAL)),
    sysexts: own.filter(isSysext),
    globalSysexts: extensions.filter(isSysext),
    confexts: own.filter(endsWith(CONFEXT)),
    globalConfexts: extensions.filter(endsWith(CONFEXT)),
  }
  return {
    companions,
    addons: {
      global: filesIn(esp, GLOBAL_DIRECTORIES.addons).filter(endsWith(ADDON)).map(asAddon),
      local: own.filter(endsWith(ADDON)).map(asAddon),
    },
  }
}

function filesIn(esp: EspListing, directory: string): readonly EspFile[] {
  const prefix = `${directory}/`.toLowerCase()
  return esp.entries
    .filter(({ path, kind }) => kind === 'file' && path.toLowerCase().startsWith(prefix))
    .map(({ path }) => ({ path, name: path.slice(prefix.length) }))
    .filter(({ name }) => !name.includes('/') && !name.startsWith('.'))
    .map(({ path, name }) => ({ name, content: esp.read(path) }))
}

function endsWith(suffix: string): (file: EspFile) => boolean {
  return ({ name }) => name.toLowerCase().endsWith(suffix)
}

function isSysext(file: EspFile): boolean {
  return endsWith(EXTENSION)(file) && !endsWith(CONFEXT)(file)
}

function asAddon({ name, content }: EspFile): Addon {
  return { name, file: content }
}
