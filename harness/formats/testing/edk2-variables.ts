/**
 * A model of edk2's variable driver on its flash, written from its source (MdeModulePkg/Universal/Variable/RuntimeDxe)
 * and sharing nothing with our parser: what UpdateVariable writes, byte by byte, as QemuFlashWrite passes it on; and
 * what the driver makes of a flash when it starts. Names of functions are the driver's own.
 */
import { guidBytes } from '../guid.ts'
import { ucs2Bytes } from '../ucs2.ts'

const VARIABLE_DATA = 0x55aa
const VAR_ADDED = 0x3f
const VAR_HEADER_VALID_ONLY = 0x7f
const VAR_IN_DELETED_TRANSITION = 0xfe
const VAR_DELETED = 0xfd
const HEADER_BYTES = 60
const ERASED = 0xff
const OWNER = guidBytes('8be4df61-93ca-11d2-aa0d-00e098032b8c')

export interface FlashByte {
  readonly offset: number
  readonly value: number
}

export interface VariableRoom {
  readonly recordsAt: number
  readonly recordsEnd: number
}

export interface VariableChange {
  readonly name: string
  /** Absent: it is deleted. */
  readonly data?: Uint8Array
  /** edk2 of before November 2023: header, VAR_HEADER_VALID_ONLY, data. */
  readonly inFourSteps?: boolean
}

export interface StartedFirmware {
  /** Data in hexadecimal, by name. */
  readonly variables: ReadonlyMap<string, string>
  /** VariableWriteServiceInitialize found the free area not free. */
  readonly reclaims: boolean
  /** NonVolatileLastVariableOffset afterwards. */
  readonly next: number
  readonly flash: Buffer
}

/** UpdateVariable, of a variable that is non-volatile, where there is room for it; nothing where there is none. */
export function updateVariable(
  flash: Buffer,
  room: VariableRoom,
  { name, data, inFourSteps = false }: VariableChange,
): readonly FlashByte[] {
  const { current, inTransition } = findVariableEx(flash, room, name)
  const writes: FlashByte[] = []
  const state = (at: number, bits: number) =>
    writes.push({ offset: at + 2, value: (flash[at + 2] ?? 0) & bits })
  if (data === undefined) {
    for (const at of [inTransition, current]) if (at !== undefined) state(at, VAR_DELETED)
    return writes
  }
  const at = lastVariableOffset(flash, room)
  const record = recordOf(name, data)
  if (at + record.length > room.recordsEnd) return []
  if (current !== undefined) state(current, VAR_IN_DELETED_TRANSITION)
  const bytes = [...record].map((value, index) => ({ offset: at + index, value }))
  writes.push(...bytes.slice(0, HEADER_BYTES))
  if (inFourSteps) writes.push({ offset: at + 2, value: VAR_HEADER_VALID_ONLY })
  writes.push(...bytes.slice(HEADER_BYTES), { offset: at + 2, value: VAR_ADDED })
  for (const old of [inTransition, current]) if (old !== undefined) state(old, VAR_DELETED & 0xfe)
  return writes
}

/** InitNonVolatileVariableStore, VariableWriteServiceInitialize, and what GetVariable answers then. */
export function startFirmware(before: Uint8Array, room: VariableRoom): StartedFirmware {
  const end = lastVariableOffset(Buffer.from(before), room)
  const reclaims = before.subarray(end, room.recordsEnd).some((byte) => byte !== ERASED)
  const flash = reclaims ? reclaim(Buffer.from(before), room) : Buffer.from(before)
  const names = new Set([...walk(flash, room)].map((at) => nameAt(flash, at)))
  const variables = [...names].flatMap((name): [string, string][] => {
    const { current } = findVariableEx(flash, room, name)
    return current === undefined ? [] : [[name, dataAt(flash, current).toString('hex')]]
  })
  return { variables: new Map(variables.sort()), reclaims, next: lastVariableOffset(flash, room), flash }
}

function reclaim(flash: Buffer, room: VariableRoom): Buffer {
  const fresh = Buffer.from(flash)
  fresh.fill(ERASED, room.recordsAt, room.recordsEnd)
  let to = room.recordsAt
  const copy = (at: number) => {
    flash.copy(fresh, to, at, getNextVariablePtr(flash, at))
    fresh.writeUInt8(VAR_ADDED, to + 2)
    to += getNextVariablePtr(flash, at) - at
  }
  for (const at of walk(flash, room)) if (flash[at + 2] === VAR_ADDED) copy(at)
  for (const at of walk(flash, room)) {
    const isIn = [...walk(fresh, room)].some((other) => nameAt(fresh, other) === nameAt(flash, at))
    if (flash[at + 2] === (VAR_IN_DELETED_TRANSITION & VAR_ADDED) && !isIn) copy(at)
  }
  return fresh
}

function findVariableEx(flash: Buffer, room: VariableRoom, name: string) {
  let inTransition: number | undefined
  for (const at of walk(flash, room)) {
    if (nameAt(flash, at) !== name) continue
    if (flash[at + 2] === VAR_ADDED) return { current: at, inTransition }
    if (flash[at + 2] === (VAR_IN_DELETED_TRANSITION & VAR_ADDED)) inTransition = at
  }
  return { current: inTransition, inTransition: undefined }
}

function* walk(flash: Buffer, { recordsAt, recordsEnd }: VariableRoom): Generator<number> {
  for (let at = recordsAt; isValidVariableHeader(flash, at, recordsEnd); at = getNextVariablePtr(flash, at))
    yield at
}

function lastVariableOffset(flash: Buffer, { recordsAt, recordsEnd }: VariableRoom): number {
  let at = recordsAt
  while (isValidVariableHeader(flash, at, recordsEnd)) at = getNextVariablePtr(flash, at)
  return at
}

function isValidVariableHeader(flash: Buffer, at: number, end: number): boolean {
  return at < end && flash.readUInt16LE(at) === VARIABLE_DATA
}

function getNextVariablePtr(flash: Buffer, at: number): number {
  return Math.ceil((at + HEADER_BYTES + sizeAt(flash, at, 36) + sizeAt(flash, at, 40)) / 4) * 4
}

/** NameSizeOfVariable, DataSizeOfVariable: 0 where any of these is erased. */
function sizeAt(flash: Buffer, at: number, field: 36 | 40): number {
  const erased = [4, 36, 40].some((each) => flash.readUInt32LE(at + each) === 0xffffffff)
  return flash[at + 2] === ERASED || erased ? 0 : flash.readUInt32LE(at + field)
}

function nameAt(flash: Buffer, at: number): string {
  const from = at + HEADER_BYTES
  return flash.subarray(from, from + sizeAt(flash, at, 36) - 2).toString('utf16le')
}

function dataAt(flash: Buffer, at: number): Buffer {
  const from = at + HEADER_BYTES + sizeAt(flash, at, 36)
  return flash.subarray(from, from + sizeAt(flash, at, 40))
}

function recordOf(name: string, data: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16LE(VARIABLE_DATA)
  header.writeUInt8(ERASED, 2)
  header.writeUInt32LE(7, 4)
  header.writeUInt32LE(ucs2Bytes(name).length, 36)
  header.writeUInt32LE(data.length, 40)
  OWNER.copy(header, 44)
  return Buffer.concat([header, ucs2Bytes(name), data])
}
