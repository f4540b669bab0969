/**
 * Changes of a variable store from outside, and what differs between two. The live records are written anew one behind
 * the other, as the firmware's own reclaim leaves them; nothing else in the image is touched.
 */
import { ByteWriter } from '../base/bytes.ts'
import { FormatError } from '../base/errors.ts'
import { guidBytes } from './guid.ts'
import { ucs2Bytes } from './ucs2.ts'
import {
  type EfiVariable,
  parseVariableStore,
  RECORD_ALIGNMENT,
  STATE_ADDED,
  VARIABLE_ATTRIBUTES,
  type VariableRef,
  variableKey,
} from './variable-store.ts'
import { isErased, spareAreaAt } from './variable-store-layout.ts'

const ERASED = 0xff
const PERSISTENT =
  VARIABLE_ATTRIBUTES.nonVolatile | VARIABLE_ATTRIBUTES.bootService | VARIABLE_ATTRIBUTES.runtime

/** What a variable shall hold: UEFI 2.10, 8.2 (SetVariable). */
export interface NewVariable extends VariableRef {
  readonly data: Uint8Array
  /** Absent: those that it has, or for a new one non-volatile, for boot services and at run time. */
  readonly attributes?: number
}

/**
 * A new image in which the variable has these contents; it keeps its place, a new one is the last. Throws FormatError
 * `too-large` where it does not fit, `bad-value` where the firmware would undo the change (see `unfinishedWrite`).
 * Edk2, VariableFormat.h; sizes in bytes.
 */
export function setVariable(image: Uint8Array, { guid, ...change }: NewVariable): Buffer {
  const { variables } = editable(image)
  const key = variableKey({ ...change, ...(guid !== undefined && { guid }) })
  const old = variables.find((variable) => variableKey(variable) === key)
  const fresh: EfiVariable = {
    ...{ monotonicCount: 0n, timestamp: new Uint8Array(16), publicKeyIndex: 0, attributes: PERSISTENT },
    ...old,
    ...change,
    guid: key.slice(0, key.indexOf(':')),
  }
  const changed = old ? variables.map((each) => (each === old ? fresh : each)) : [...variables, fresh]
  return rewrite(image, changed)
}

/**
 * A new image without the variable; an equal one where it is not there. Throws as `setVariable`. Edk2,
 * VariableFormat.h.
 */
export function deleteVariable(image: Uint8Array, ref: VariableRef): Buffer {
  const { variables } = editable(image)
  return rewrite(
    image,
    variables.filter((variable) => variableKey(variable) !== variableKey(ref)),
  )
}

function editable(image: Uint8Array): { readonly variables: readonly EfiVariable[] } {
  const store = parseVariableStore(image)
  const { unfinishedWrite, layout } = store
  if (unfinishedWrite === 'replayed-at-boot')
    throw notNow('an interrupted write waits to be replayed over it', 'WriteQueue', layout.recordsEnd)
  // The firmware may find a working block in the spare area then, with a write in it that it replays.
  const spareAt = spareAreaAt(layout)
  if (unfinishedWrite === 'no-working-block' && !isErased(image.subarray(spareAt, layout.volumeLength)))
    throw notNow('it has no working block, and its spare area may hold one to replay', 'SpareArea', spareAt)
  return store
}

function notNow(problem: string, field: string, offset: number): FormatError {
  const message = `cannot change the variable store: ${problem}; boot the firmware once first`
  return new FormatError(message, { code: 'bad-value', field, offset })
}

function rewrite(image: Uint8Array, variables: readonly EfiVariable[]): Buffer {
  const { layout } = parseVariableStore(image)
  const writer = new ByteWriter({ what: 'variable store' })
  for (const variable of variables) {
    encodeRecord(writer, variable)
    while (writer.length % RECORD_ALIGNMENT !== 0) writer.u8(ERASED, 'padding')
  }
  const room = layout.recordsEnd - layout.recordsAt
  if (writer.length > room)
    throw new FormatError(
      `cannot encode the variable store at 0x${layout.recordsAt.toString(16)}: its records need ${writer.length} bytes, there are ${room}`,
      { code: 'too-large', field: 'records', offset: layout.recordsAt },
    )
  const changed = Buffer.from(image)
  changed.fill(ERASED, layout.recordsAt, layout.recordsEnd)
  changed.set(writer.finish(), layout.recordsAt)
  return changed
}

function encodeRecord(writer: ByteWriter, variable: EfiVariable): void {
  const name = ucs2Bytes(variable.name)
  writer
    .u16le(0x55aa, 'StartId')
    .u8(STATE_ADDED, 'State')
    .zeros(1)
    .u32le(variable.attributes, 'Attributes')
    .u64le(variable.monotonicCount, 'MonotonicCount')
    .bytes(variable.timestamp, 'TimeStamp', 16)
    .u32le(variable.publicKeyIndex, 'PubKeyIndex')
    .u32le(name.length, 'NameSize')
    .u32le(variable.data.length, 'DataSize')
    .bytes(guidBytes(variable.guid), 'VendorGuid')
    .bytes(name, 'Name')
    .bytes(variable.data, 'Data')
}

/** One variable that two stores do not have alike: name and vendor GUID, UEFI 2.10, 8.2; GUID as text in lower case. */
export interface VariableDifference {
  readonly change: 'added' | 'removed' | 'changed'
  readonly name: string
  readonly guid: string
  readonly before?: EfiVariable
  readonly after?: EfiVariable
}

/**
 * What differs in contents or attributes; those of `before` first, in its order. Throws FormatError as
 * `parseVariableStore`. Edk2, VariableFormat.h.
 */
export function compareVariableStores(before: Uint8Array, after: Uint8Array): readonly VariableDifference[] {
  const [olds, news] = [parseVariableStore(before).variables, parseVariableStore(after).variables]
  const byKey = new Map(news.map((variable) => [variableKey(variable), variable]))
  const known = new Set(olds.map(variableKey))
  return [
    ...olds.flatMap((old) => differenceOf(old, byKey.get(variableKey(old)))),
    ...news
      .filter((variable) => !known.has(variableKey(variable)))
      .map((after) => ({ change: 'added' as const, name: after.name, guid: after.guid, after })),
  ]
}

function differenceOf(old: EfiVariable, fresh: EfiVariable | undefined): readonly VariableDifference[] {
  const { name, guid } = old
  if (fresh === undefined) return [{ change: 'removed', name, guid, before: old }]
  const same = old.attributes === fresh.attributes && Buffer.from(old.data).equals(fresh.data)
  return same ? [] : [{ change: 'changed', name, guid, before: old, after: fresh }]
}
