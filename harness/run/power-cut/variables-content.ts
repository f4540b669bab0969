/**
 * What a variable store holds as the firmware reads it: the variables, what it makes of a record that was being written,
 * and what the fault tolerant write driver has left to do. Two stores of one key start the same boot. The names are those
 * of edk2, MdeModulePkg/Universal/Variable/RuntimeDxe and MdeModulePkg/Universal/FaultTolerantWriteDxe.
 *
 * What the firmware cannot tell, or does not act upon, makes no difference:
 * - Where in the flash a record lies, and deleted ones: they are walked over (FindVariableEx). GetNextVariableName lists in
 *   the flash's order; what is booted is chosen by BootNext and BootOrder, not by that.
 * - Whether a live record is VAR_ADDED or VAR_IN_DELETED_TRANSITION without a successor: FindVariableEx gives either.
 * - How much of a torn record is there, beyond what `TornRecord` tells apart: name, data and sizes of a header without a
 *   state are read by nobody, and what Reclaim writes anew is the same whatever it found behind the last record.
 * - How much room is left, where it is ample: UpdateVariable and ReclaimForOS look at nothing but whether it suffices.
 */
import { createHash } from 'node:crypto'
import { FormatError } from '../../base/errors.ts'
import {
  type EfiVariable,
  parseVariableStore,
  type TornRecord,
  type VariableStore,
  variableKey,
} from '../../formats/variable-store.ts'
import type { UnfinishedWrite } from '../../formats/variable-store-layout.ts'

export interface VariablesView {
  /** Equal for equal content. */
  readonly key: string
  /** Digest of attributes and data, by `<guid>:<name>`. */
  readonly variables: ReadonlyMap<string, string>
  readonly torn: TornRecord
  readonly unfinished: UnfinishedWrite
  /** Why it cannot be read: the firmware repairs it from the spare blocks, or makes a new one. */
  readonly problem?: string
}

export function viewVariables(flash: Uint8Array): VariablesView {
  try {
    const store = parseVariableStore(flash)
    const { variables, torn, unfinishedWrite } = store
    const live = new Map(variables.map((variable) => [variableKey(variable), digestOf(variable)]))
    const lines = [...live].map((pair) => pair.join('\0')).sort()
    return {
      ...{ variables: live, torn, unfinished: unfinishedWrite },
      key: keyOf([...lines, torn, roomOf(store), unfinishedWrite, ...spareOf(flash, store)]),
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    return {
      ...{ variables: new Map(), torn: 'none', unfinished: 'replayed-at-boot' },
      // What the firmware makes of it depends on all of it: of the spare blocks as well.
      ...{ key: keyOf([flash]), problem: error.message },
    }
  }
}

/**
 * With less than PcdMaxVariableSize (0x8400 in OVMF) ReclaimForOS writes the records anew at every boot. Twice as much: a
 * boot that begins above it does not end below.
 */
const AMPLE_BYTES = 2 * 0x8400

/** What is free counts where it is scarce; where records are written anew, it is what the live ones leave. */
function roomOf({ torn, freeBytes }: VariableStore): string {
  return torn === 'reclaimed-at-boot' || freeBytes >= AMPLE_BYTES ? 'ample' : `${freeBytes} bytes`
}

/**
 * Where the blocks behind the records count: the spare ones take the place of the records (FtwRestart), or of the working
 * block as well; and what is reclaimed is more than its kind says (FtwReclaimWorkSpace).
 */
function spareOf(flash: Uint8Array, { unfinishedWrite, layout }: VariableStore): readonly Uint8Array[] {
  const isQuiet = unfinishedWrite === 'none' || unfinishedWrite === 'dropped-at-boot'
  return isQuiet ? [] : [flash.subarray(layout.recordsEnd)]
}

function digestOf({ attributes, data }: EfiVariable): string {
  return keyOf([String(attributes), data])
}

function keyOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\n')
  return hash.digest('hex')
}
