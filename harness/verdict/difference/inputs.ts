/** Inputs and packages that differ. */
import { INPUTS, type InputName, type MeasuredDocument } from '../../measure/documents/document.ts'
import type { Difference } from './difference.ts'
import { registersOfInput } from './register-inputs.ts'

export type ChangedInputs = ReadonlySet<InputName>

export function inputDifferences(a: MeasuredDocument, b: MeasuredDocument): readonly Difference[] {
  const names = (Object.keys(INPUTS) as readonly InputName[]).filter((name) => {
    const [left, right] = [a.inputs?.[name], b.inputs?.[name]]
    return left !== right && bothCouldSay(name, a, b)
  })
  const areBills = a.kind === 'bill-of-materials' && b.kind === 'bill-of-materials'
  return [
    ...platformDifference(a, b),
    ...names.map((name) => ({
      where: `input ${name}`,
      what: `${INPUTS[name]}: ${shown(a.inputs?.[name])} to ${shown(b.inputs?.[name])}`,
      causes: [name],
      ...(areBills && reach(name)),
    })),
    ...packageDifferences(a.packages, b.packages),
  ]
}

function platformDifference({ platform: a }: MeasuredDocument, { platform: b }: MeasuredDocument) {
  if (a === undefined || b === undefined || a === b) return []
  return [{ where: 'platform', what: `${shown(a)} against ${shown(b)}`, causes: [] }]
}

/** Bills hold no registers: what the input reaches is all that can be said. */
function reach(name: InputName): Pick<Difference, 'because'> {
  const registers = registersOfInput(name)
  return registers.length === 0 ? {} : { because: `can change PCR ${registers.join(', ')}` }
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
  const onlyIn = (which: 'A' | 'B', own: Packages, other: Packages): readonly Difference[] => {
    const only = names.filter((name) => name in own && !(name in other))
    if (only.length === 0) return []
    return [
      {
        where: `packages only in ${which}`,
        what: only.map((name) => `${name} ${own[name]}`).join(', '),
        causes: [],
      },
    ]
  }
  return [
    ...names
      .filter((name) => name in a && name in b && a[name] !== b[name])
      .map((name) => ({
        where: `package ${name}`,
        what: `${shown(a[name])} to ${shown(b[name])}`,
        causes: [],
      })),
    ...onlyIn('A', a, b),
    ...onlyIn('B', b, a),
  ]
}

type Packages = Readonly<Record<string, string>>

const LONGEST = 100

export function shown(value: string | undefined): string {
  if (value === undefined) return 'none'
  return value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value
}

/** Those of `candidates` that differ. */
export function causesAmong(candidates: readonly InputName[], changed: ChangedInputs): readonly InputName[] {
  return candidates.filter((name) => changed.has(name))
}
