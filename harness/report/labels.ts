import { escapeControls } from '../base/text.ts'
import type { PlannedEntry, Variant } from '../run/events.ts'

const AXES = ['platform', 'vtpm', 'firmware', 'image', 'qemu', 'vcpus', 'memoryMiB'] as const
type Axis = (typeof AXES)[number]

/**
 * What each point of the matrix is called, by key: the scenario's id, followed by those axes in which it
 * differs from the other points of the same scenario, and by its turn where the run repeats it.
 */
export function labelsOf(planned: readonly PlannedEntry[]): ReadonlyMap<string, string> {
  const differing = new Map(
    [...Map.groupBy(planned, ({ scenario }) => scenario)].map(([scenario, siblings]) => [
      scenario,
      AXES.filter((axis) => new Set(siblings.map(({ variant }) => axisValue(axis, variant))).size > 1),
    ]),
  )
  return new Map(planned.map((point) => [point.key, labelOf(point, differing.get(point.scenario) ?? [])]))
}

function labelOf({ scenario, variant, repetition }: PlannedEntry, differing: readonly Axis[]): string {
  const words = differing.map((axis) => axisValue(axis, variant))
  if (repetition !== undefined) words.push(`no. ${repetition}`)
  return words.length === 0 ? scenario : `${scenario} (${words.join(', ')})`
}

/** One point of the matrix in words; QEMU only where it is not the one of the tools. */
export function describeVariant(variant: Variant): string {
  const told = AXES.filter((axis) => axis !== 'qemu' || variant.qemu !== 'tools')
  return told.map((axis) => axisValue(axis, variant)).join(', ')
}

function axisValue(axis: Axis, variant: Variant): string {
  switch (axis) {
    case 'vtpm':
      return variant.vtpm === 'none' ? 'no vTPM' : `${variant.vtpm} vTPM`
    case 'qemu':
      return `QEMU ${variant.qemu === 'tools' ? 'of the tools' : escapeControls(variant.qemu)}`
    case 'vcpus':
      return `${variant.vcpus} vCPU${variant.vcpus === 1 ? '' : 's'}`
    case 'memoryMiB':
      return `${variant.memoryMiB} MiB`
    case 'platform':
      return variant.emulatedOn === undefined ? variant.platform : `${variant.platform} (emulated)`
    default:
      return variant[axis]
  }
}
