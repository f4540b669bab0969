/**
 * What an event of a log says of itself, in one line and in the words of a prediction: what it claims, not what was
 * measured. The log is somebody else's, so nothing in it is more than text.
 */
import { FormatError } from '../../base/errors.ts'
import { escapeControls } from '../../base/text.ts'
import { devicePathText } from '../../formats/device-path.ts'
import {
  parseGptEvent,
  parseImageLoadEvent,
  parseTaggedEvent,
  parseVariableEvent,
} from '../../formats/event-log/efi-events.ts'
import { EV } from '../../formats/event-log/event-types.ts'

const LONGEST = 120

const READERS: ReadonlyMap<number, (data: Uint8Array) => string> = new Map([
  ...[
    EV.EFI_VARIABLE_DRIVER_CONFIG,
    EV.EFI_VARIABLE_BOOT,
    EV.EFI_VARIABLE_BOOT2,
    EV.EFI_VARIABLE_AUTHORITY,
  ].map((type) => [type, variable] as const),
  ...[EV.EFI_BOOT_SERVICES_APPLICATION, EV.EFI_BOOT_SERVICES_DRIVER, EV.EFI_RUNTIME_SERVICES_DRIVER].map(
    (type) => [type, image] as const,
  ),
  ...[EV.EFI_GPT_EVENT, EV.EFI_GPT_EVENT2].map((type) => [type, partitionTable] as const),
  [EV.EVENT_TAG, tagged],
  [EV.EFI_ACTION, (data: Uint8Array) => `"${text(data)}"`],
])

/** Empty where the event says nothing that can be read. */
export function eventWords(type: number, data: Uint8Array): string {
  return escapeControls(readable(type, data)).slice(0, LONGEST)
}

function readable(type: number, data: Uint8Array): string {
  const read = READERS.get(type)
  if (read === undefined) return text(data)
  try {
    return read(data)
  } catch (error) {
    // Firmware puts all sorts of things there, and none of it is hashed.
    if (error instanceof FormatError) return text(data)
    throw error
  }
}

function variable(bytes: Uint8Array): string {
  const { name, data } = parseVariableEvent(bytes)
  return `variable ${name}, ${data.length === 0 ? 'not there' : `${data.length} bytes`}`
}

function image(data: Uint8Array): string {
  const { path } = parseImageLoadEvent(data)
  return path === undefined ? 'from memory' : devicePathText(path)
}

function partitionTable(data: Uint8Array): string {
  return `partition table, ${parseGptEvent(data).partitions.length} partitions`
}

function tagged(bytes: Uint8Array): string {
  const { data } = parseTaggedEvent(bytes)
  return text(data)
}

/** UTF-8 or UTF-16 up to its NULs; empty where it is neither. */
function text(data: Uint8Array): string {
  const bytes = Buffer.from(data.subarray(0, LONGEST * 2))
  const read = bytes[1] === 0 ? bytes.toString('utf16le') : bytes.toString('utf8')
  const trimmed = read.replace(/\0+$/, '')
  return /^[\p{L}\p{N}\p{P}\p{S} ]+$/u.test(trimmed) && !trimmed.includes('\ufffd') ? trimmed : ''
}
