/** Firmware of SNP launches: parsed once, its pages measured once, for any number of predictions. */
import { FormatError } from '../../base/errors.ts'
import { type OvmfFirmware, parseOvmf } from '../../formats/ovmf/firmware.ts'
import type { SevSection } from '../../formats/ovmf/sev-metadata.ts'
import { LaunchDigest, type Region } from './page-info.ts'

export interface SnpFirmware extends Pick<OvmfFirmware, 'hashesTable' | 'resetAddress'> {
  /** The ROM, measured first. Absent where only its digest is known. */
  readonly rom?: Region
  readonly sections: readonly SevSection[]
  /** The launch digest after the ROM, 48 bytes: all that a launch takes from the ROM's pages. */
  readonly digest: () => Buffer
}

/**
 * Throws FormatError where the file is malformed or not made for SNP. Its pages are measured at the first prediction
 * and remembered, so `file` must not change afterwards.
 */
export function snpFirmware(file: Uint8Array): SnpFirmware {
  const parsed = parseOvmf(file)
  const { hashesTable, resetAddress } = parsed
  const rom: Region = { ...parsed.rom, type: 'normal', contents: file }
  let digest: Buffer | undefined
  return {
    ...{ rom, hashesTable, resetAddress },
    sections: parsed.sevSections(),
    digest: () => {
      digest ??= new LaunchDigest().add(rom).digest()
      return digest
    },
  }
}

/**
 * The same firmware with its ROM's digest given, 48 bytes: the tables of one build, the pages of another. Throws
 * FormatError where it is not 48 bytes.
 */
export function withFirmwareDigest(firmware: SnpFirmware, digest: Uint8Array): SnpFirmware {
  const known = new LaunchDigest(digest).digest()
  const { sections, hashesTable, resetAddress } = firmware
  return { sections, hashesTable, resetAddress, digest: () => known }
}

/** Throws FormatError unless the hashes table lies in the section that is measured for it. */
export function hashesPage({ sections, hashesTable }: SnpFirmware): { readonly offset: number } | undefined {
  const section = sections.find(({ type }) => type === 'kernel-hashes')
  if (section === undefined || hashesTable === undefined) return undefined
  const offset = hashesTable.gpa - section.gpa
  if (offset >= 0 && offset + hashesTable.size <= section.size) return { offset }
  throw new FormatError(
    `cannot hash a kernel: the hashes table area at 0x${hashesTable.gpa.toString(16)} is outside of the ` +
      `SEV section for it at 0x${section.gpa.toString(16)}`,
    { code: 'bad-value', field: 'SEV hashes table area', offset: hashesTable.gpa },
  )
}
