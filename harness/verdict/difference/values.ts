/** Digests and registers that differ: what the changes above come to. */
import type { InputName, MeasuredDocument } from '../../measure/documents/document.ts'
import type { Difference } from './difference.ts'
import { type ChangedInputs, causesAmong, shown } from './inputs.ts'
import { inputsOfRegister } from './register-inputs.ts'

const LAUNCH_INPUTS: readonly InputName[] = [
  ...(['firmware', 'firmwareDigest', 'vcpus', 'cpu', 'guestFeatures', 'vmm', 'qemu'] as const),
  ...(['kernel', 'initrd', 'append'] as const),
]

export function valueDifferences(
  a: MeasuredDocument,
  b: MeasuredDocument,
  changed: ChangedInputs,
): readonly Difference[] {
  const registers = new Set([...registersOf(a).keys(), ...registersOf(b).keys()])
  return [
    ...differing('launchDigest', a.launchDigest, b.launchDigest, causesAmong(LAUNCH_INPUTS, changed)),
    ...differing('firmwareDigest', a.firmwareDigest, b.firmwareDigest, causesAmong(['firmware'], changed)),
    ...differing('mrtd', a.mrtd, b.mrtd, causesAmong(['firmware', 'passes', 'qemu'], changed)),
    ...[...registers].flatMap((name) =>
      differing(
        name,
        registersOf(a).get(name),
        registersOf(b).get(name),
        causesAmong(inputsOfRegister(name.split(' ')[0] ?? ''), changed),
      ),
    ),
    ...fieldDifferences(a, b),
  ]
}

/** POLICY, HOST_DATA, MRCONFIGID: not measured, and all the same in the evidence. */
function fieldDifferences({ fields: a }: MeasuredDocument, { fields: b }: MeasuredDocument) {
  if (a === undefined || b === undefined) return []
  const names = Object.keys(a).filter((name) => name in b)
  return names
    .filter((name) => a[name] !== b[name])
    .map((name) => ({
      where: `field ${name}`,
      what: `${shown(a[name])} against ${shown(b[name])}`,
      causes: [],
    }))
}

/** A value that only one document has is not compared. */
function differing(
  where: string,
  a: string | undefined,
  b: string | undefined,
  causes: readonly InputName[],
): readonly Difference[] {
  if (a === undefined || b === undefined || a === b) return []
  return [{ where, what: `${shown(a)} against ${shown(b)}`, causes }]
}

function registersOf({ rtmr = [], rtmrs = {}, pcrs = {} }: MeasuredDocument): ReadonlyMap<string, string> {
  return new Map([
    ...rtmr.map((value, index) => [`rtmr${index}`, value] as const),
    ...Object.entries(rtmrs).map(([number, value]) => [`rtmr${number}`, value] as const),
    ...Object.entries(pcrs).flatMap(([bank, values]) =>
      Object.entries(values).map(([number, value]) => [`pcr${number} ${bank}`, value] as const),
    ),
  ])
}
