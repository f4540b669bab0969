/** Inputs and packages that differ. */
import { INPUTS, type InputName, type MeasuredDocument } from '../../measure/documents/document.ts'
import type { Difference } from './difference.ts'

export type ChangedInputs = ReadonlySet<InputName>

export function inputDifferences(a: MeasuredDocument, b: MeasuredDocument): readonly Difference[] {
  const names = (Object.keys(INPUTS) as readonly InputName[]).filter((name) => {
    const [left, right] = [a.inputs?.[name], b.inputs?.[name]]
    return left !== right && bothCouldSay(name, a, b)
  })
  return [
    ...names.map((name) => ({
      where: `input ${name}`,
      what: `${INPUTS[name]}: ${shown(a.inputs?.[name])} to ${shown(b.inputs?.[name])}`,
      causes: [name],
    })),
    ...packageDifferences(a.packages, b.packages),
  ]
}

/** An input that one document names and the other kind of document never would is no difference. */
function bothCouldSay(name: InputName, a: MeasuredDocument, b: MeasuredDocument): boolean {
  if (a.inputs === undefined || b.inputs === undefined) return false
  if (a.kind === b.kind && a.platform === b.platform) return true
  return name in a.inputs && name in b.inputs
}

function packageDifferences(
  a: MeasuredDocument['packages'],
  b: MeasuredDocument['packages'],
): readonly Difference[] {
  if (a === undefined || b === undefined) return []
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()
  return names
    .filter((name) => a[name] !== b[name])
    .map((name) => ({
      where: `package ${name}`,
      what: `${shown(a[name])} to ${shown(b[name])}`,
      causes: [],
    }))
}

const LONGEST = 100

export function shown(value: string | undefined): string {
  if (value === undefined) return 'none'
  return value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value
}

/** Those of `candidates` that differ. */
export function causesAmong(candidates: readonly InputName[], changed: ChangedInputs): readonly InputName[] {
  return candidates.filter((name) => changed.has(name))
}
