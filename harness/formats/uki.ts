/**
 * Sections of a unified kernel image, as its stub finds them: UAPI group specification UKI 1 (uapi.uki), "UKI
 * Components" and "Multi-Profile UKIs".
 */
import { type PeSection, parsePeSections, peSectionInMemory } from './pe.ts'

/**
 * In the order in which they are measured; that of the file does not matter. UAPI group specification UKI 1, "UKI
 * Components"; systemd, docs/TPM2_PCR_MEASUREMENTS.md.
 */
export const UKI_SECTIONS = [
  ...(['.linux', '.osrel', '.cmdline', '.initrd', '.ucode', '.splash', '.dtb', '.uname', '.sbat'] as const),
  ...(['.pcrsig', '.pcrpkey', '.profile', '.dtbauto', '.hwids', '.efifw'] as const),
] as const
/** A section of a UKI that its stub measures: UAPI Unified Kernel Image specification, and systemd-stub. */
export type UkiSectionName = (typeof UKI_SECTIONS)[number]

/** Chosen by hardware ids of the machine: which one counts cannot be known from the file. */
const BY_HARDWARE: readonly string[] = ['.dtbauto', '.efifw']

/** A section with its bytes. */
export interface UkiSection {
  readonly name: UkiSectionName
  /** As in memory: zeros where it is larger than in the file. */
  readonly content: Uint8Array
}

/** A unified kernel image: UAPI Unified Kernel Image specification. */
export interface Uki {
  /** In the order of UKI_SECTIONS. */
  readonly sections: readonly UkiSection[]
  /** Sections that are there but depend on the hardware. */
  readonly byHardware: readonly string[]
  readonly profiles: number
}

/**
 * Sections of `file` for a profile, from 0: those before the first `.profile`, with those of the profile in their
 * place. The first of a name counts. A file without a `.linux` is not refused: an addon has none. Throws FormatError
 * where `file` is no PE file. UAPI group specification UKI 1, "UKI Components" and "Multi-Profile UKIs".
 */
export function parseUki(file: Uint8Array, { profile = 0 } = {}): Uki {
  const groups = byProfile(parsePeSections(file))
  const [base = [], ...profiles] = groups
  const chosen = new Map<string, PeSection>()
  for (const section of [base, profiles[profile] ?? []].flatMap(firstOfEachName))
    chosen.set(section.name, section)
  const sections = UKI_SECTIONS.flatMap((name) => {
    const section = BY_HARDWARE.includes(name) ? undefined : chosen.get(name)
    // A section of no bytes is as good as none: the stub asks for both address and size.
    return section === undefined || section.virtualSize === 0
      ? []
      : [{ name, content: peSectionInMemory(file, section) }]
  })
  return {
    sections,
    byHardware: BY_HARDWARE.filter((name) => chosen.has(name)),
    profiles: profiles.length,
  }
}

/** The base sections, then those of each profile, which begins with its `.profile`. */
function byProfile(sections: readonly PeSection[]): readonly (readonly PeSection[])[] {
  const groups: PeSection[][] = [[]]
  for (const section of sections) {
    if (section.name === '.profile') groups.push([])
    groups.at(-1)?.push(section)
  }
  return groups
}

function firstOfEachName(sections: readonly PeSection[]): readonly PeSection[] {
  return sections.filter(({ name }, index) => sections.findIndex((each) => each.name === name) === index)
}

/** The content of one section; undefined where there is none. Never throws. */
export function ukiSection({ sections }: Uki, name: UkiSectionName): Uint8Array | undefined {
  return sections.find((section) => section.name === name)?.content
}
