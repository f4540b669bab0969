/**
 * The GUIDed table at the reset vector: EDK II, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm. It is read from its
 * end, 32 bytes before the end of the file: each entry is its data, a u16 length (of data, length and GUID), a GUID.
 * The last entry is the footer, whose length covers the whole table.
 */
import type { ByteView } from '../byte-view.ts'
import { GUID_BYTES, guidText } from '../guid.ts'

const FOOTER_GUID = '96b582de-1fb2-45f7-baea-a366c55a082d'
/** The code of the reset vector, behind the table. */
const RESET_VECTOR_BYTES = 32
const LENGTH_BYTES = 2
const HEADER_BYTES = LENGTH_BYTES + GUID_BYTES

/** The data of one GUIDed entry; its GUID and length, 18 bytes, lie behind it (edk2, OvmfPkg/ResetVector). */
export interface TableEntry {
  /** Offset of the data in the file. */
  readonly offset: number
  readonly data: Uint8Array
}

/**
 * Entries by lower-case GUID. Throws FormatError where the footer is missing or an entry does not fit: QEMU would
 * stop reading there and silently do without what follows.
 */
export function parseGuidedTable(view: ByteView): ReadonlyMap<string, TableEntry> {
  const footer = view.length - RESET_VECTOR_BYTES - HEADER_BYTES
  if (footer < 0 || readGuid(view, footer + LENGTH_BYTES) !== FOOTER_GUID)
    throw view.error(`is not ${FOOTER_GUID}: this is no OVMF, or its end is cut off`, {
      code: footer < 0 ? 'truncated' : 'bad-magic',
      field: 'footer GUID',
      offset: Math.max(0, footer + LENGTH_BYTES),
    })
  const total = view.u16(footer, 'table length')
  const start = footer + HEADER_BYTES - total
  if (total < HEADER_BYTES || start < 0)
    throw view.error(`is ${total}, ${HEADER_BYTES} to ${footer + HEADER_BYTES} are possible`, {
      code: 'bad-value',
      field: 'table length',
      offset: footer,
    })
  return readEntries(view, start, footer)
}

/** Every turn moves `end` towards `start`: a length of 0, which would loop, is refused. */
function readEntries(view: ByteView, start: number, footer: number): ReadonlyMap<string, TableEntry> {
  const entries = new Map<string, TableEntry>()
  for (let end = footer; end > start; ) {
    const at = end - HEADER_BYTES
    const length = at < start ? 0 : view.u16(at, 'entry length')
    if (length < HEADER_BYTES || length > end - start)
      throw view.error(`is ${length}, ${HEADER_BYTES} to ${end - start} fit into the table`, {
        code: 'bad-value',
        field: 'entry length',
        offset: Math.max(at, start),
      })
    const guid = readGuid(view, at + LENGTH_BYTES)
    if (entries.has(guid))
      throw view.error(`${guid} appears twice`, {
        code: 'bad-value',
        field: 'entry GUID',
        offset: at + LENGTH_BYTES,
      })
    const offset = end - length
    entries.set(guid, { offset, data: view.slice(offset, length - HEADER_BYTES, 'entry data') })
    end -= length
  }
  return entries
}

function readGuid(view: ByteView, offset: number): string {
  return guidText(view.slice(offset, GUID_BYTES, 'GUID'))
}
