/**
 * What OVMF measures of itself into PCR 0: its version string and the two volumes that it has decompressed into memory
 * (edk2, SecurityPkg/Tcg/Tcg2Pei, MeasureCRTMVersion and MeasureFvImage).
 */
import {
  compressedVolumes,
  PROGRAM_SECTIONS,
  type VolumeFile,
  volumeFiles,
} from '../../formats/ovmf/volume-files.ts'
import { type EventContent, known, type PredictedEvent, unknown } from './event.ts'
import { type SmmLayout, smmPatchedVolume } from './smm-relocation.ts'

/** The file that measures, with the version string in it (SecurityPkg/Tcg/Tcg2Pei/Tcg2Pei.inf). */
const TCG2_PEI = 'a0c98b77-cba5-4bb8-993b-4af6ce33ece4'
/** Drivers whose presence decides what is measured and when. */
const SECURE_BOOT_CONFIG = 'f0e6a44f-7195-41c3-ac64-54f202cd0a21'
const VARIABLE_SMM = '23a089b3-eed5-4ac5-b2ab-43e3298c2343'
const SMBIOS_MEASUREMENT = 'd27fed59-abb4-4fed-bead-2a878c7e4a7e'
const SHELL = '7c04a583-9e3e-4f1c-ad65-e05268d0b4d1'

export interface FirmwareCode {
  /** The version as it is measured: UTF-16 with its NUL; undefined where no one string in the code can be it. */
  readonly version: Uint8Array | undefined
  readonly volumes: readonly Uint8Array[]
  readonly features: {
    /** Keeps SecureBoot and the other variables of the specification. */
    readonly secureBoot: boolean
    /** Variables are written in SMM only; then code of the first volume is changed before it is measured. */
    readonly smm: boolean
    readonly shell: boolean
    readonly smbiosMeasurement: boolean
  }
}

/** Throws FormatError where the firmware's volumes are malformed. The costly part: made once for a file. */
export function parseFirmwareCode(firmware: Uint8Array): FirmwareCode {
  const volumes = compressedVolumes(firmware)
  const files = volumes.flatMap(volumeFiles)
  const has = (guid: string) => files.some((file) => file.guid === guid)
  return {
    version: versionOf(files.find(({ guid }) => guid === TCG2_PEI)),
    volumes,
    features: {
      secureBoot: has(SECURE_BOOT_CONFIG),
      smm: has(VARIABLE_SMM),
      shell: has(SHELL),
      smbiosMeasurement: has(SMBIOS_MEASUREMENT),
    },
  }
}

/** Events of PCR 0 before its separator. `smm`: where the machine puts what the relocation code is patched with. */
export function firmwareCodeEvents(
  code: FirmwareCode,
  smm: SmmLayout | undefined,
): readonly PredictedEvent[] {
  const version: PredictedEvent = {
    ...{ pcr: 0, type: 'EV_S_CRTM_VERSION', from: 'firmware' },
    what: code.version
      ? `version ${Buffer.from(code.version).toString('utf16le', 0, code.version.length - 2)}`
      : 'version',
    content: code.version
      ? known(code.version)
      : unknown('the firmware has no module Tcg2Pei with exactly one string that can be its version'),
  }
  const blobs = code.volumes.map((volume, index): PredictedEvent => {
    const first = index === 0
    return {
      ...{ pcr: 0, type: 'EV_EFI_PLATFORM_FIRMWARE_BLOB', from: 'firmware' },
      what: `${first ? 'PEI' : 'DXE'} volume, ${volume.length} bytes decompressed`,
      content: first && code.features.smm ? patched(volume, smm) : known(volume),
    }
  })
  if (blobs.length > 0) return [version, ...blobs]
  return [
    version,
    {
      ...{ pcr: 0, type: 'EV_EFI_PLATFORM_FIRMWARE_BLOB', from: 'firmware', what: 'firmware volumes' },
      content: unknown('the firmware has no LZMA-compressed volumes'),
    },
  ]
}

function patched(volume: Uint8Array, smm: SmmLayout | undefined): EventContent {
  if (smm === undefined)
    return unknown(
      'SMM code in the PEI volume is changed before it is measured, with addresses that this build chooses by the machine; they are not known for this build and machine',
    )
  const image = smmPatchedVolume(volume, smm)
  return image === undefined
    ? unknown('the PEI volume of this SMM build has no relocation code of a known form')
    : known(image)
}

/** The one text of 4 to 127 characters in the module's program, in UTF-16 with its NUL. */
function versionOf(file: VolumeFile | undefined): Uint8Array | undefined {
  const texts = (file?.sections ?? [])
    .filter(({ type }) => PROGRAM_SECTIONS.includes(type))
    .flatMap(({ content }) => wideTexts(content))
  return texts.length === 1 ? texts[0] : undefined
}

function wideTexts(program: Uint8Array): readonly Uint8Array[] {
  const texts: Uint8Array[] = []
  for (let at = 0; at + 1 < program.length; at += 2) {
    const start = at
    while (isPrintable(program[at]) && program[at + 1] === 0) at += 2
    const ends = program[at] === 0 && program[at + 1] === 0
    if (ends && at - start >= 8 && at - start < 256) texts.push(program.subarray(start, at + 2))
  }
  return texts
}

function isPrintable(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x20 && byte < 0x7f
}
