/** The boot manager's variables in a store: BootXXXX, BootOrder, BootNext. UEFI specification 2.10, chapter 3. */
import { FormatError } from '../base/errors.ts'
import { fileOf, filePathOnPartition, type HardDriveNode } from './device-path.ts'
import {
  bootEntryName,
  bootEntryNumber,
  encodeBootNumbers,
  encodeLoadOption,
  LOAD_OPTION_ACTIVE,
  parseBootNumbers,
  parseLoadOption,
} from './load-option.ts'
import { EFI_GLOBAL_VARIABLE, findVariable, parseVariableStore } from './variable-store.ts'
import { deleteVariable, setVariable } from './variable-store-edit.ts'

/** A Boot#### variable in words: UEFI 2.10, 3.1.3 (EFI_LOAD_OPTION). `number` from 0 to 0xFFFF. */
export interface BootEntry {
  readonly number: number
  readonly description: string
  readonly active: boolean
  /** What it boots, with `\`; undefined for what is no file: a network card, the firmware's own menu. */
  readonly file?: string
}

/** What the firmware will boot: BootOrder, BootNext and Boot####, UEFI 2.10, 3.3. */
export interface BootConfiguration {
  /** By number. */
  readonly entries: readonly BootEntry[]
  readonly order: readonly number[]
  /** Entry that the next boot takes, once. */
  readonly next?: number
}

/**
 * Throws FormatError for a store, or a boot variable in it, that is not in order. UEFI 2.10, 3.3 (Globally Defined
 * Variables).
 */
export function bootConfiguration(image: Uint8Array): BootConfiguration {
  const store = parseVariableStore(image)
  const entries = store.variables.flatMap(({ name, guid, data }) => {
    const number = guid === EFI_GLOBAL_VARIABLE ? bootEntryNumber(name) : undefined
    return number === undefined ? [] : [entryOf(number, data)]
  })
  const [next] = parseBootNumbers(findVariable(store, { name: 'BootNext' })?.data ?? new Uint8Array())
  return {
    entries: entries.toSorted((a, b) => a.number - b.number),
    order: parseBootNumbers(findVariable(store, { name: 'BootOrder' })?.data ?? new Uint8Array()),
    ...(next !== undefined && { next }),
  }
}

function entryOf(number: number, data: Uint8Array): BootEntry {
  const { description, attributes, paths } = parseLoadOption(data)
  const file = paths[0] && fileOf(paths[0])
  const active = (attributes & LOAD_OPTION_ACTIVE) !== 0
  return { number, description, active, ...(file !== undefined && { file }) }
}

/** An entry to be written as Boot####: UEFI 2.10, 3.1.3. */
export interface NewBootEntry {
  readonly description: string
  /** From the root of the partition, with `/` or `\`. */
  readonly file: string
  readonly partition: HardDriveNode
  /** What the program is started with; default: nothing. */
  readonly optionalData?: Uint8Array
}

/**
 * Where our numbers begin. edk2 looks for a free number in BootOrder alone: it writes its own entries over a low one
 * that is not in it (MdeModulePkg/Library/UefiBootManagerLib, BmGetFreeOptionNumber).
 */
const FIRST_NUMBER = 0x100

/**
 * A new image with an entry of the first number that is free; BootOrder stays. Throws as `setVariable`. UEFI 2.10,
 * 3.1.3 (Load Options); the number has 16 bits.
 */
export function addBootEntry(
  image: Uint8Array,
  entry: NewBootEntry,
): { readonly image: Buffer; readonly number: number } {
  const taken = new Set(bootConfiguration(image).entries.map(({ number }) => number))
  const number = Array.from({ length: 0x10000 - FIRST_NUMBER }, (_, index) => FIRST_NUMBER + index).find(
    (each) => !taken.has(each),
  )
  if (number === undefined)
    throw new FormatError('cannot add a boot entry: all numbers from 0x100 are taken', {
      ...{ code: 'too-large', field: 'BootXXXX', offset: 0 },
    })
  const data = encodeLoadOption({
    ...{ attributes: LOAD_OPTION_ACTIVE, description: entry.description },
    optionalData: entry.optionalData ?? new Uint8Array(),
    paths: [filePathOnPartition(entry.partition, entry.file)],
  })
  return { image: setVariable(image, { name: bootEntryName(number), data }), number }
}

/**
 * A new image with this BootNext; undefined: with none. Throws as `setVariable`. UEFI 2.10, 3.3; the number has 16
 * bits.
 */
export function setBootNext(image: Uint8Array, number: number | undefined): Buffer {
  if (number === undefined) return deleteVariable(image, { name: 'BootNext' })
  return setVariable(image, { name: 'BootNext', data: encodeBootNumbers([number]) })
}

/**
 * The variable store with BootOrder set to `numbers`, each from 0 to 0xFFFF (UEFI 2.10, 3.3). Throws FormatError as
 * `setVariable`.
 */
export function setBootOrder(image: Uint8Array, numbers: readonly number[]): Buffer {
  return setVariable(image, { name: 'BootOrder', data: encodeBootNumbers(numbers) })
}
