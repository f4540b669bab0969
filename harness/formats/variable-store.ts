/**
 * The authenticated variable store that OVMF keeps in its flash: the VARS file of a pflash pair, or the start of a
 * combined image. Records as in edk2, MdeModulePkg/Include/Guid/VariableFormat.h (AUTHENTICATED_VARIABLE_HEADER).
 * Flash can only clear bits without an erase, so a record's state is a byte whose bits fall one by one.
 */
import { ByteReader } from '../base/bytes.ts'
import { GUID_BYTES, guidText } from './guid.ts'
import { readUcs2 } from './ucs2.ts'
import {
  parseStoreLayout,
  type StoreLayout,
  type UnfinishedWrite,
  unfinishedWrite,
} from './variable-store-layout.ts'

const WHAT = 'variable record'
/** Bytes of AUTHENTICATED_VARIABLE_HEADER: edk2, VariableFormat.h. */
export const RECORD_HEADER_BYTES = 60
/** Records begin at multiples of it: HEADER_ALIGNMENT of edk2, VariableFormat.h. */
export const RECORD_ALIGNMENT = 4
const START_ID = 0x55aa
const TIMESTAMP_BYTES = 16

/** States of a record, as the bits that have fallen. */
const STATE_UNWRITTEN = 0xff
/** The header is whole, name and data are not: edk2 wrote that step until 2023 (VAR_HEADER_VALID_ONLY). */
const STATE_HEADER_VALID = 0x7f
const ERASED = 0xff
/** Valid, and not being deleted: VAR_ADDED of edk2, VariableFormat.h. */
export const STATE_ADDED = 0x3f
/** Was valid while its successor was being written: counts where the successor is not there. */
const STATE_IN_DELETED_TRANSITION = 0x3e
const ERASED_U32 = 0xffffffff

/** Owner of BootOrder, SecureBoot and the like. UEFI 2.10, 3.3 (Globally Defined Variables). */
export const EFI_GLOBAL_VARIABLE = '8be4df61-93ca-11d2-aa0d-00e098032b8c'

/** UEFI specification 2.10, "Variable Services". */
export const VARIABLE_ATTRIBUTES = {
  nonVolatile: 1,
  bootService: 2,
  runtime: 4,
  timeBasedAuthenticated: 0x20,
} as const

/**
 * A variable as it lies in the flash: AUTHENTICATED_VARIABLE_HEADER of edk2, VariableFormat.h. The GUID as text in
 * lower case.
 */
export interface EfiVariable {
  readonly name: string
  readonly guid: string
  readonly attributes: number
  readonly data: Uint8Array
  readonly monotonicCount: bigint
  /** EFI_TIME of the last authenticated write, 16 bytes; zeros for other variables. */
  readonly timestamp: Uint8Array
  readonly publicKeyIndex: number
}

/** The variables of a flash image: edk2, VariableFormat.h. */
export interface VariableStore {
  /** What the firmware would answer, in the order of the flash. */
  readonly variables: readonly EfiVariable[]
  readonly layout: StoreLayout
  /** Bytes for new records; what deleted ones take is reclaimed by the firmware when it needs it. */
  readonly freeBytes: number
  readonly deletedRecords: number
  readonly torn: TornRecord
  readonly unfinishedWrite: UnfinishedWrite
}

/**
 * What the firmware makes of a last record that was being written; nothing of it counts. The names are those of edk2,
 * MdeModulePkg/Universal/Variable/RuntimeDxe:
 * - `passed-over`: GetNextVariablePtr steps over it and finds erased flash behind it; new records go there.
 * - `reclaimed-at-boot`: the walk ends at bytes that begin no record (IsValidVariableHeader looks at the StartId alone), so
 *   VariableWriteServiceInitialize finds that "the free area" is not free, and Reclaim writes the live records anew.
 */
export type TornRecord = 'none' | 'passed-over' | 'reclaimed-at-boot'

/**
 * Parses `image` (a VARS file or a combined image). A record whose writing was interrupted is skipped as the firmware
 * does it; anything else that is not in order is a FormatError with the offset in the image. Edk2, VariableFormat.h;
 * sizes in bytes.
 */
export function parseVariableStore(image: Uint8Array): VariableStore {
  const layout = parseStoreLayout(image)
  const { records, end } = readRecords(image, layout)
  const variables = liveVariables(records)
  return {
    variables,
    layout,
    freeBytes: layout.recordsEnd - end,
    deletedRecords: records.length - variables.length,
    torn: tornRecord(image.subarray(end, layout.recordsEnd), records.at(-1)),
    unfinishedWrite: unfinishedWrite(image, layout),
  }
}

function tornRecord(behind: Uint8Array, last: FlashRecord | undefined): TornRecord {
  if (!isErased(behind)) return 'reclaimed-at-boot'
  return last?.state === STATE_UNWRITTEN || last?.state === STATE_HEADER_VALID ? 'passed-over' : 'none'
}

/** Each byte is as the one before it, and the first is erased: in one comparison, as there may be 250 kB of it. */
function isErased(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return true
  return (
    bytes[0] === ERASED &&
    Buffer.from(bytes.buffer, bytes.byteOffset + 1, bytes.length - 1).equals(bytes.subarray(0, -1))
  )
}

function liveVariables(records: readonly FlashRecord[]): readonly EfiVariable[] {
  const added = new Set(
    records.flatMap(({ state, variable }) =>
      state === STATE_ADDED && variable ? [variableKey(variable)] : [],
    ),
  )
  return records.flatMap(({ state, variable }) =>
    variable && (state === STATE_ADDED || !added.has(variableKey(variable))) ? [variable] : [],
  )
}

/** A variable by its name and owner: UEFI 2.10, 8.2. */
export interface VariableRef {
  readonly name: string
  /** Default: EFI_GLOBAL_VARIABLE. */
  readonly guid?: string
}

/** Undefined where the store has none of this name and owner (UEFI 2.10, 8.2). Never throws. */
export function findVariable(
  { variables }: Pick<VariableStore, 'variables'>,
  ref: VariableRef,
): EfiVariable | undefined {
  return variables.find((variable) => variableKey(variable) === variableKey(ref))
}

/**
 * Equal for what the firmware takes for the same variable, by name and owner (UEFI 2.10, 8.2): `guid:name`. Never
 * throws.
 */
export function variableKey({ name, guid = EFI_GLOBAL_VARIABLE }: VariableRef): string {
  return `${guid.toLowerCase()}:${name}`
}

/** `variable` of a live record; what others hold may be half a name. */
interface FlashRecord {
  readonly state: number
  readonly variable?: EfiVariable
}

function readRecords(image: Uint8Array, layout: StoreLayout): { records: FlashRecord[]; end: number } {
  const base = layout.recordsAt
  const reader = new ByteReader(image.subarray(base, layout.recordsEnd), { what: WHAT, base })
  const records: FlashRecord[] = []
  while (startsRecord(reader, records.at(-1))) {
    records.push(readRecord(reader))
    const padding = (RECORD_ALIGNMENT - ((base + reader.position) % RECORD_ALIGNMENT)) % RECORD_ALIGNMENT
    reader.skip(Math.min(padding, reader.remaining), 'padding')
  }
  return { records, end: reader.offset }
}

/**
 * Erased flash ends the list. A start that was written in part ends it too: only its bits that are 1 may be missing.
 * Behind a header without a state anything ends it: its name and data may be there, where its sizes do not count.
 */
function startsRecord(reader: ByteReader, before: FlashRecord | undefined): boolean {
  if (reader.remaining < RECORD_HEADER_BYTES) return false
  const at = reader.position
  const startId = reader.u16le('StartId')
  reader.seek(at, 'StartId')
  if (startId === START_ID) return true
  if ((startId & START_ID) === START_ID || before?.state === STATE_UNWRITTEN) return false
  throw reader.error('bad-magic', 'StartId', `is 0x${startId.toString(16)}, must be 0x55aa or erased`)
}

function readRecord(reader: ByteReader): FlashRecord {
  reader.skip(2, 'StartId')
  const state = reader.u8('State')
  if (state === STATE_UNWRITTEN) {
    // NameSizeOfVariable and DataSizeOfVariable say 0 then, whatever is in the header: the next may begin right behind it.
    reader.skip(RECORD_HEADER_BYTES - 3, 'header')
    return { state }
  }
  reader.mustBeZero(1, 'Reserved')
  const attributes = reader.u32le('Attributes')
  const monotonicCount = reader.u64le('MonotonicCount')
  const timestamp = reader.bytes(TIMESTAMP_BYTES, 'TimeStamp')
  const publicKeyIndex = reader.u32le('PubKeyIndex')
  const nameSize = reader.u32le('NameSize')
  const dataSize = reader.u32le('DataSize')
  const guid = guidText(reader.bytes(GUID_BYTES, 'VendorGuid'))
  if (state !== STATE_ADDED && state !== STATE_IN_DELETED_TRANSITION) {
    // As for a header without a state: one of these that is erased makes both sizes 0.
    if ([attributes, nameSize, dataSize].includes(ERASED_U32)) return { state }
    reader.skip(nameSize, 'Name')
    reader.skip(dataSize, 'Data')
    return { state }
  }
  const name = readName(reader, nameSize)
  const data = reader.bytes(dataSize, 'Data')
  return { state, variable: { name, guid, attributes, data, monotonicCount, timestamp, publicKeyIndex } }
}

function readName(reader: ByteReader, size: number): string {
  const name = reader.sub(size, 'Name', 'variable name')
  // An even size too: what is left of an odd one is found by end().
  const text = readUcs2(name, 'Name')
  name.end()
  return text
}
