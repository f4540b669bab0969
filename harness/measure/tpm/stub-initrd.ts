/**
 * The initrd that systemd-stub passes to the kernel: the one of the UKI and archives that it writes itself, each filled
 * up to 4 bytes. systemd-stub(7), "Companion Files" and "Initrd resources"; the archives are `newc` without times.
 */
import { type UKI_SECTIONS, type Uki, ukiSection } from '../../formats/uki.ts'

/** A file beside the UKI, by its name on the ESP. */
export interface EspFile {
  readonly name: string
  readonly content: Uint8Array
}

interface CpioTarget {
  readonly directory: string
  readonly directoryMode: number
  readonly fileMode: number
}

const META: CpioTarget = { directory: '.extra', directoryMode: 0o555, fileMode: 0o444 }
/** The boot secret is for root alone. */
const META_SECRET: CpioTarget = { ...META, fileMode: 0o400 }
const SECRET_MODES = { directoryMode: 0o500, fileMode: 0o400 }
const PUBLIC_MODES = { directoryMode: 0o555, fileMode: 0o444 }

/** Kinds of companion files, in the order of the initrd; the PCR is the one that the archive is measured into. */
export const COMPANIONS = [
  {
    kind: 'credentials',
    pcr: 12,
    directory: '.extra/credentials',
    ...SECRET_MODES,
    description: 'Credentials initrd',
  },
  {
    ...{ kind: 'globalCredentials', pcr: 12, directory: '.extra/global_credentials', ...SECRET_MODES },
    description: 'Global credentials initrd',
  },
  {
    kind: 'sysexts',
    pcr: 13,
    directory: '.extra/sysext',
    ...PUBLIC_MODES,
    description: 'System extension initrd',
  },
  {
    ...{ kind: 'globalSysexts', pcr: 13, directory: '.extra/global_sysext', ...PUBLIC_MODES },
    description: 'Global system extension initrd',
  },
  {
    ...{ kind: 'confexts', pcr: 12, directory: '.extra/confext', ...PUBLIC_MODES },
    description: 'Configuration extension initrd',
  },
  {
    ...{ kind: 'globalConfexts', pcr: 12, directory: '.extra/global_confext', ...PUBLIC_MODES },
    description: 'Global configuration extension initrd',
  },
] as const
export type CompanionKind = (typeof COMPANIONS)[number]['kind']
export type Companions = Readonly<Partial<Record<CompanionKind, readonly EspFile[]>>>

/** Sections that are handed on as files, in the order of the initrd. */
const HANDED_ON = [
  { section: '.pcrsig', name: 'tpm2-pcr-signature.json' },
  { section: '.pcrpkey', name: 'tpm2-pcr-public-key.pem' },
  { section: '.osrel', name: 'os-release' },
  { section: '.profile', name: 'profile' },
] as const satisfies readonly { section: (typeof UKI_SECTIONS)[number]; name: string }[]

/** An archive of companion files of one kind, as it is measured too; undefined where there are none. */
export function companionArchive(kind: CompanionKind, files: readonly EspFile[]): Buffer | undefined {
  const target = COMPANIONS.find((each) => each.kind === kind)
  if (target === undefined || files.length === 0) return undefined
  return archive(
    target,
    files.toSorted((left, right) => (left.name < right.name ? -1 : 1)),
  )
}

export interface InitrdParts {
  readonly uki: Uki
  readonly companions: Companions
  /** What a loader, or firmware with `-initrd`, has registered before the stub ran. */
  readonly previous?: Uint8Array | undefined
  /** 32 bytes; undefined: the stub has none. */
  readonly bootSecret: Uint8Array | undefined
  /** `.ucode` of addons in the order of the addons: the last comes first, since the kernel takes the first it finds. */
  readonly addonMicrocode: readonly Uint8Array[]
  readonly addonInitrds: readonly Uint8Array[]
}

/** The parts in order. One part alone is passed as it is, several are filled up. */
export function combinedInitrd({
  uki,
  companions,
  previous,
  bootSecret,
  ...addons
}: InitrdParts): readonly Uint8Array[] {
  const section = (name: (typeof UKI_SECTIONS)[number]) => {
    const content = ukiSection(uki, name)
    return content === undefined ? [] : [content]
  }
  const parts = [
    ...addons.addonMicrocode.toReversed(),
    ...section('.ucode'),
    ...(previous ? [previous] : []),
    ...section('.initrd'),
    ...COMPANIONS.flatMap(({ kind }) => companionArchive(kind, companions[kind] ?? []) ?? []),
    ...HANDED_ON.flatMap(({ section: name, name: file }) =>
      section(name).map((content) => archive(META, [{ name: file, content }])),
    ),
    ...(bootSecret ? [archive(META_SECRET, [{ name: 'boot-secret', content: bootSecret }])] : []),
    ...addons.addonInitrds,
  ]
  return parts.length === 1 ? parts : parts.flatMap((part) => [part, Buffer.alloc(padding(part.length))])
}

function archive({ directory, directoryMode, fileMode }: CpioTarget, files: readonly EspFile[]): Buffer {
  const directories = directory.split('/').map((_, index, all) => all.slice(0, index + 1).join('/'))
  const last = directories.length - 1
  const parts = [
    ...directories.map((path, index) =>
      // Directories above the last are public, whatever is below.
      header({ inode: index + 1, mode: 0o40000 | (index === last ? directoryMode : 0o555), size: 0, path }),
    ),
    ...files.flatMap(({ name, content }, index) => [
      header({
        ...{ inode: directories.length + index + 1, mode: 0o100000 | fileMode },
        ...{ size: content.length, path: `${directory}/${name}` },
      }),
      content,
      Buffer.alloc(padding(content.length)),
    ]),
    TRAILER,
  ]
  return Buffer.concat(parts)
}

interface CpioEntry {
  readonly inode: number
  readonly mode: number
  readonly size: number
  readonly path: string
}

function header({ inode, mode, size, path }: CpioEntry): Buffer {
  const fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, path.length + 1, 0]
  const words = fields.map((field) => field.toString(16).padStart(8, '0')).join('')
  const text = `070701${words}${path}\0`
  return Buffer.concat([Buffer.from(text, 'latin1'), Buffer.alloc(padding(text.length))])
}

/** As the stub has it: with capital digits, and one NUL more than `newc` asks for. */
const TRAILER = Buffer.from(
  `070701${['0', '0', '0', '0', '1', '0', '0', '0', '0', '0', '0', 'B', '0'].map((word) => word.padStart(8, '0')).join('')}TRAILER!!!\0\0\0\0`,
  'latin1',
)

function padding(length: number): number {
  return (4 - (length % 4)) % 4
}
