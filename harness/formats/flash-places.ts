/**
 * What lies at an offset of a variable store's flash, for messages: also of records that no longer or do not yet count.
 */

import { ByteReader } from '../base/bytes.ts'
import { FormatError } from '../base/errors.ts'
import { ByteView } from './byte-view.ts'
import { readUcs2 } from './ucs2.ts'
import { RECORD_ALIGNMENT, RECORD_HEADER_BYTES } from './variable-store.ts'
import { parseStoreLayout } from './variable-store-layout.ts'

const START_ID = 0x55aa
const STATE_AT = 2
const NAME_SIZE_AT = 36
const DATA_SIZE_AT = 40

/**
 * `state of variable BootNext`, `variable BootNext`, `header of the variable store`. Throws nothing on any bytes. Edk2,
 * VariableFormat.h; offsets in bytes.
 */
export function flashPlace(flash: Uint8Array, offset: number): string {
  try {
    const layout = parseStoreLayout(flash)
    if (offset < layout.recordsAt) return 'header of the variable store'
    if (offset >= layout.recordsEnd) return 'blocks of the fault tolerant writes'
    return recordAt(
      new ByteView(flash.subarray(0, layout.recordsEnd), 'variable store'),
      layout.recordsAt,
      offset,
    )
  } catch (error) {
    if (error instanceof FormatError) return 'a store that cannot be read'
    throw error
  }
}

function recordAt(view: ByteView, start: number, offset: number): string {
  for (let at = start; at + RECORD_HEADER_BYTES <= view.length; ) {
    if (view.u16(at, 'StartId') !== START_ID) break
    const [nameSize, dataSize] = [
      view.u32(at + NAME_SIZE_AT, 'NameSize'),
      view.u32(at + DATA_SIZE_AT, 'DataSize'),
    ]
    const end = at + RECORD_HEADER_BYTES + nameSize + dataSize
    if (offset < end || end > view.length) {
      const record = `variable ${nameAt(view, at + RECORD_HEADER_BYTES, nameSize)}`
      return offset === at + STATE_AT ? `state of ${record}` : record
    }
    at = Math.ceil(end / RECORD_ALIGNMENT) * RECORD_ALIGNMENT
  }
  return 'free space of the variable store'
}

/** A name that is not written yet is all ones. */
function nameAt(view: ByteView, at: number, size: number): string {
  try {
    const bytes = view.slice(at, size, 'Name')
    const text = readUcs2(new ByteReader(bytes, { what: 'variable name' }), 'Name')
    return /^[\x20-\x7e]+$/.test(text) ? text : 'that has no name yet'
  } catch (error) {
    if (error instanceof FormatError) return 'that has no name yet'
    throw error
  }
}
