/**
 * SMBIOS in PCR 1: the firmware measures the table with what differs from machine to machine filtered out (edk2,
 * MdeModulePkg/Universal/SmbiosMeasurementDxe), systemd-stub single structures. DSP0134, 6.1.2 and 7.
 */
import { ByteView } from '../../formats/byte-view.ts'
import { known, type PredictedEvent, unknown } from './event.ts'

const HEADER_BYTES = 4
const END_OF_TABLE = 127
const MOST_STRUCTURES = 1024
const WAKE_UP_TYPE_AT = 24
/** Structures of vendors: nothing of them is measured but their header. */
const FIRST_OEM_TYPE = 128

/** Structures that systemd-stub measures, by type. */
const MEASURED_BY_STUB: readonly number[] = [1, 2, 11]

/** Field of a structure that the filter clears; `text`: it is the number of a string, which is blanked too. */
interface Field {
  readonly at: number
  readonly size: number
  readonly text: boolean
}

const text = (...places: readonly number[]): readonly Field[] =>
  places.map((at) => ({ at, size: 1, text: true }))
const bytes = (at: number, size: number): Field => ({ at, size, text: false })

/** mSmbiosFilterStandardTableBlackList; `whole`: nothing of the structure is measured but its header. */
const FILTERED: Readonly<Record<number, readonly Field[] | 'whole'>> = {
  1: [...text(7), bytes(8, 16), bytes(24, 1)],
  2: [...text(7), bytes(10, 1)],
  3: text(7, 8),
  4: [
    ...text(32, 33, 34),
    ...[bytes(35, 1), bytes(36, 1), bytes(37, 1), bytes(42, 2), bytes(44, 2), bytes(46, 2)],
    ...[bytes(17, 1), bytes(22, 2)],
  ],
  11: 'whole',
  15: 'whole',
  17: text(24, 25, 26),
  18: 'whole',
  22: [...text(7), bytes(16, 2), bytes(18, 2)],
  23: [bytes(5, 2)],
  27: [bytes(12, 2)],
  31: 'whole',
  33: 'whole',
  39: text(8, 9, 10),
}

interface Structure {
  readonly type: number
  readonly formatted: number
  readonly bytes: Uint8Array
}

/** Structures of `table` up to the one that ends it, which is the last. Throws FormatError. */
function structuresOf(table: Uint8Array): readonly Structure[] {
  const view = new ByteView(table, 'SMBIOS table')
  const structures: Structure[] = []
  for (let at = 0; at < table.length; ) {
    const type = view.u8(at, 'Type')
    const formatted = view.u8(at + 1, 'Length')
    if (formatted < HEADER_BYTES || structures.length === MOST_STRUCTURES)
      throw view.error(`is ${formatted}, at least ${HEADER_BYTES} is required`, {
        code: 'bad-value',
        field: 'Length',
        offset: at + 1,
      })
    view.slice(at, formatted, 'structure')
    const size = sizeWithStrings(view, at, formatted)
    structures.push({ type, formatted, bytes: table.subarray(at, at + size) })
    at += size
    if (type === END_OF_TABLE) break
  }
  return structures
}

function sizeWithStrings(view: ByteView, at: number, formatted: number): number {
  let end = at + formatted
  while (view.u8(end, 'strings') !== 0 || view.u8(end + 1, 'strings') !== 0) end += 1
  return end + 2 - at
}

/** `table`: without its entry point, as /sys/firmware/dmi/tables/DMI has it; undefined: not at hand. */
export function smbiosTableEvent(table: Uint8Array | undefined): PredictedEvent {
  return {
    ...{ pcr: 1, type: 'EV_EFI_HANDOFF_TABLES', from: 'smbios', what: 'SMBIOS table, filtered' },
    content:
      table === undefined
        ? unknown('the SMBIOS table that QEMU makes for the machine is not at hand')
        : known(...structuresOf(table).map(filtered)),
  }
}

function filtered({ type, formatted, bytes: structure }: Structure): Uint8Array {
  const fields = type >= FIRST_OEM_TYPE ? 'whole' : FILTERED[type]
  if (fields === undefined) return structure
  const copy = Buffer.from(structure)
  if (fields === 'whole') return copy.fill(0, HEADER_BYTES)
  for (const field of fields) {
    if (field.at + field.size > formatted) continue
    if (field.text) blankString(copy, formatted, copy[field.at] ?? 0)
    copy.fill(0, field.at, field.at + field.size)
  }
  return copy
}

/** The `number`th string (from 1) becomes blanks of the same length; 0 is no string. */
function blankString(structure: Buffer, formatted: number, number: number): void {
  let at = formatted
  for (let index = 1; at < structure.length && number > 0; index++) {
    const end = structure.indexOf(0, at)
    if (end < 0 || end === at) return
    if (index === number) {
      structure.fill(0x20, at, end)
      return
    }
    at = end + 1
  }
}

/** Events of systemd-stub, in the order of the table. */
export function stubSmbiosEvents(table: Uint8Array | undefined): readonly PredictedEvent[] {
  if (table === undefined)
    return [
      {
        ...{ pcr: 1, type: 'EV_EVENT_TAG', from: 'smbios', what: 'SMBIOS structures' },
        content: unknown('the SMBIOS table that QEMU makes for the machine is not at hand'),
      },
    ]
  return structuresOf(table)
    .filter(({ type }) => MEASURED_BY_STUB.includes(type))
    .map(({ type, bytes: structure }) => ({
      ...{ pcr: 1, type: 'EV_EVENT_TAG', from: 'smbios', what: `SMBIOS structure of type ${type}` },
      content: known(type === 1 ? withoutWakeUp(structure) : structure),
    }))
}

/** It says how the machine was switched on. */
function withoutWakeUp(structure: Uint8Array): Uint8Array {
  const copy = Buffer.from(structure)
  copy[WAKE_UP_TYPE_AT] = 0
  return copy
}
