/** Whether the digest of an event is over what the event says: PFP 1.06, table "Events". */
import { type DigestAlgorithm, digest, equalBytes } from '../../base/digest.ts'
import { digestIn, type LogEvent } from '../../formats/event-log/event.ts'
import { EV } from '../../formats/event-log/event-types.ts'

/**
 * `data`: the digest is over the event's data, so its content is as good as the register. `part`: over the variable's
 * data alone, so its name is not hashed. `opaque`: over something that is not in the log. `mismatch`: the profile wants
 * it over the data, and it is not. PFP 1.06, table "Events".
 */
export type DataCheck = 'data' | 'part' | 'opaque' | 'mismatch'

/** Types whose digest must be over their data. */
const HASHED_TYPES: ReadonlySet<number> = new Set([
  EV.SEPARATOR,
  EV.ACTION,
  EV.S_CRTM_VERSION,
  EV.OMIT_BOOT_DEVICE_EVENTS,
  EV.EFI_VARIABLE_DRIVER_CONFIG,
  EV.EFI_VARIABLE_BOOT,
  EV.EFI_VARIABLE_BOOT2,
  EV.EFI_VARIABLE_AUTHORITY,
  EV.EFI_GPT_EVENT,
  EV.EFI_GPT_EVENT2,
  EV.EFI_ACTION,
])

/** UEFI_VARIABLE_DATA in front of the name: GUID and two lengths. */
const VARIABLE_HEADER_BYTES = 32

/** "All is well": PFP 1.06, EV_SEPARATOR. */
const SEPARATORS: readonly Buffer[] = [Buffer.alloc(4), Buffer.alloc(4, 0xff)]
const ERROR_SEPARATOR = Buffer.from('01000000', 'hex')

/** Whether the profile wants the digest over the data: PFP 1.06, table "Events". Never throws. */
export function isHashedType({ type }: LogEvent): boolean {
  return HASHED_TYPES.has(type)
}

/** Compares the digest in `bank` with what the data allow. Never throws. PFP 1.06, table "Events". */
export function checkEventData(event: LogEvent, bank: DigestAlgorithm): DataCheck {
  const measured = digestIn(event, bank)
  if (!measured) return 'opaque'
  const isOver = (bytes: Uint8Array) => equalBytes(digest(bank, bytes), measured)
  if (isOver(event.data)) return 'data'
  if (!HASHED_TYPES.has(event.type)) return 'opaque'
  // An error's separator hashes the number 1, and says in its data what went wrong.
  if (event.type === EV.SEPARATOR && isOver(ERROR_SEPARATOR)) return 'opaque'
  if (event.type === EV.EFI_VARIABLE_BOOT && isOver(variableData(event.data))) return 'part'
  // An old shim logged 6 stray bytes behind the variable and hashed 5 of them: all of the variable is hashed.
  if (event.type === EV.EFI_VARIABLE_AUTHORITY && isOver(event.data.subarray(0, -1))) return 'data'
  return 'mismatch'
}

/**
 * What the digest is over, as far as the event has it; undefined where it is over something else. A view of the event.
 * Never throws. PFP 1.06, table "Events".
 */
export function hashedBytes(event: LogEvent, bank: DigestAlgorithm): Uint8Array | undefined {
  const check = checkEventData(event, bank)
  if (check === 'data') return event.data
  return check === 'part' ? variableData(event.data) : undefined
}

/** The bytes behind UEFI_VARIABLE_DATA's name; none where the lengths are not plausible. */
function variableData(data: Uint8Array): Uint8Array {
  if (data.length < VARIABLE_HEADER_BYTES) return data.subarray(data.length)
  const characters = new DataView(data.buffer, data.byteOffset).getBigUint64(16, true)
  if (characters > BigInt(data.length)) return data.subarray(data.length)
  return data.subarray(VARIABLE_HEADER_BYTES + 2 * Number(characters))
}

/**
 * Whether the event is what ends the firmware's part of a register. Decided by the digest alone: an event's type is not
 * measured, so a separator under another name still is one, and none can be hidden. An error's separator hashes what a
 * BootOrder of 1, 0 hashes too: there the type decides. PFP 1.06, EV_SEPARATOR. Never throws.
 */
export function separates(event: LogEvent, bank: DigestAlgorithm): 'separator' | 'error' | undefined {
  const measured = digestIn(event, bank)
  if (!measured) return undefined
  const { normal, error } = separatorDigests(bank)
  if (normal.some((each) => equalBytes(each, measured))) return 'separator'
  return equalBytes(error, measured) && !isVariable(event) ? 'error' : undefined
}

function isVariable({ type }: LogEvent): boolean {
  return type === EV.EFI_VARIABLE_BOOT || type === EV.EFI_VARIABLE_BOOT2
}

interface SeparatorDigests {
  readonly normal: readonly Buffer[]
  readonly error: Buffer
}

const KNOWN_DIGESTS = new Map<DigestAlgorithm, SeparatorDigests>()

function separatorDigests(bank: DigestAlgorithm): SeparatorDigests {
  const known = KNOWN_DIGESTS.get(bank)
  if (known) return known
  const made = {
    normal: SEPARATORS.map((bytes) => digest(bank, bytes)),
    error: digest(bank, ERROR_SEPARATOR),
  }
  KNOWN_DIGESTS.set(bank, made)
  return made
}
