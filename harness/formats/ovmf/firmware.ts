/** OVMF and other firmware with the GUIDed table that VMMs read: what SEV, SEV-SNP and TDX launches need of it. */
import { FormatError } from '../../base/errors.ts'
import { ByteView } from '../byte-view.ts'
import { expectVariableStore } from './firmware-volumes.ts'
import { type Area, entryArea, entryU32, FOUR_GIB, hex, metadataTable, PAGE_BYTES } from './pointed.ts'
import { SEV_METADATA, type SevSection, sevSections } from './sev-metadata.ts'
import { parseGuidedTable } from './table.ts'
import { expectWholeFile, TDVF_METADATA, type TdvfSection, tdvfSections } from './tdvf-metadata.ts'

const GUIDS = {
  sevEsReset: '00f771de-1a7e-4fcb-890e-68c77e2fb44e',
  sevHashes: '7255371f-3a3b-4b04-927b-1da6efa8d454',
  sevSecret: '4c2eb361-7d9b-4cc3-8081-127c90d3d294',
  sevMetadata: 'dc886566-984a-4798-a75e-5585a7bf67cc',
  tdvfMetadata: 'e47a6535-984a-4798-865e-4685a7bf8ec2',
} as const

/** Nobody ships more; QEMU's own default limit is 8 MiB. */
const MAX_FILE_BYTES = 64 * 1024 * 1024

/**
 * What a firmware file says of how it is launched: OVMF's GUIDed table at the end of the file (edk2,
 * OvmfPkg/ResetVector).
 */
export interface OvmfFirmware {
  readonly file: Uint8Array
  /** Where the file is mapped: it ends at 4 GiB. */
  readonly rom: Area
  /** Where processors but the first start under SEV-ES and SNP; undefined where the build does not say. */
  readonly resetAddress: number | undefined
  /** Where the hashes of kernel, initrd and command line go; undefined where the build takes none. */
  readonly hashesTable: Area | undefined
  /** Where a secret of the launch goes (SEV, SEV-ES). */
  readonly secretArea: Area | undefined
  /**
   * Sections for SNP, in measured order. Throws FormatError where the build has none or they are malformed, and for a
   * file that is not the whole ROM: SNP has no pflash to bring the rest.
   */
  readonly sevSections: () => readonly SevSection[]
  /** Sections for TDX, in measured order. Throws FormatError where the build has none or they are malformed. */
  readonly tdvfSections: () => readonly TdvfSection[]
}

/**
 * Reads the tables of a firmware file. Throws FormatError where a table is malformed or points outside the file. The
 * sections inside of the two metadata tables are checked when they are asked for: builds for TDX carry empty SEV
 * sections, and a file with the code alone is right for SEV and wrong for SNP and TDX.
 */
export function parseOvmf(file: Uint8Array): OvmfFirmware {
  const view = new ByteView(file, 'firmware')
  expectSize(view)
  const table = parseGuidedTable(view)
  const rom = { gpa: FOUR_GIB - file.length, size: file.length }
  const reset = table.get(GUIDS.sevEsReset)
  const area = (guid: string, field: string): Area | undefined => {
    const entry = table.get(guid)
    return entry && entryArea(view, entry, field)
  }
  const sevEntry = table.get(GUIDS.sevMetadata)
  const sev = sevEntry && metadataTable(view, sevEntry, SEV_METADATA)
  const tdvfEntry = table.get(GUIDS.tdvfMetadata)
  const tdvf = tdvfEntry && metadataTable(view, tdvfEntry, TDVF_METADATA)
  const lacking = (what: string) =>
    view.error(`is not there: this build is not made for ${what}`, {
      code: 'bad-value',
      field: `${what === 'SNP' ? SEV_METADATA.name : TDVF_METADATA.name} entry`,
      offset: file.length,
    })
  return {
    file,
    rom,
    // QEMU takes 0 for absent.
    resetAddress: (reset && entryU32(view, reset, 'SEV-ES reset address')) || undefined,
    hashesTable: area(GUIDS.sevHashes, 'SEV hashes table area'),
    secretArea: area(GUIDS.sevSecret, 'SEV secret area'),
    sevSections: () => {
      if (sev === undefined) throw lacking('SNP')
      expectVariableStore(view)
      if (tdvf !== undefined) expectWholeFile(view, tdvf)
      return sevSections(view, sev, rom)
    },
    tdvfSections: () => {
      if (tdvf === undefined) throw lacking('TDX')
      return tdvfSections(view, tdvf)
    },
  }
}

/**
 * Throws FormatError where the build does not say where processors but the first start. OVMF, ResetVector: the entry of
 * the GUIDed table for SEV-ES. 32 bits, guest-physical.
 */
export function resetAddressOf({ resetAddress }: Pick<OvmfFirmware, 'resetAddress'>): number {
  if (resetAddress !== undefined) return resetAddress
  throw new FormatError(
    'cannot launch several vCPUs: the firmware has no SEV-ES reset block, only the first would start',
    { code: 'bad-value', field: 'SEV-ES reset address', offset: 0 },
  )
}

function expectSize(view: ByteView): void {
  const { length } = view
  if (length >= PAGE_BYTES && length % PAGE_BYTES === 0 && length <= MAX_FILE_BYTES) return
  throw view.error(
    `has ${hex(length)} bytes, must be whole pages, 0x1000 to ${hex(MAX_FILE_BYTES)}: it is truncated, or no firmware`,
    { code: length > MAX_FILE_BYTES ? 'too-large' : 'truncated', field: 'file', offset: length },
  )
}
