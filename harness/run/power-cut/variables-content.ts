/**
 * What a variable store holds as the firmware reads it: the variables, whether a record was being written, and what the
 * fault tolerant write driver has left to do. Where in the flash a record lies makes no difference.
 */
import { createHash } from 'node:crypto'
import { FormatError } from '../../base/errors.ts'
import { type EfiVariable, parseVariableStore, variableKey } from '../../formats/variable-store.ts'
import type { UnfinishedWrite } from '../../formats/variable-store-layout.ts'

export interface VariablesView {
  /** Equal for equal content. */
  readonly key: string
  /** Digest of attributes and data, by `<guid>:<name>`. */
  readonly variables: ReadonlyMap<string, string>
  /** A record that was being written: nothing of it counts. */
  readonly torn: boolean
  readonly unfinished: UnfinishedWrite
  /** Why it cannot be read: the firmware repairs it from the spare blocks, or makes a new one. */
  readonly problem?: string
}

export function viewVariables(flash: Uint8Array): VariablesView {
  try {
    const { variables, torn, tornAt, unfinishedWrite } = parseVariableStore(flash)
    const live = new Map(variables.map((variable) => [variableKey(variable), digestOf(variable)]))
    const lines = [...live].map((pair) => pair.join('\0')).sort()
    return {
      ...{ variables: live, torn, unfinished: unfinishedWrite },
      key: keyOf([...lines, tornAt, unfinishedWrite]),
    }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    return {
      ...{ variables: new Map(), torn: true, unfinished: 'replayed-at-boot' },
      // What the firmware makes of it depends on all of it: of the spare blocks as well.
      ...{ key: keyOf([flash]), problem: error.message },
    }
  }
}

function digestOf({ attributes, data }: EfiVariable): string {
  return keyOf([String(attributes), Buffer.from(data).toString('hex')])
}

function keyOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\n')
  return hash.digest('hex')
}
