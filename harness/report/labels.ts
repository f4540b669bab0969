import type { Variant } from '../run/events.ts'

const AXES = ['platform', 'vtpm', 'firmware', 'image'] as const

interface Planned {
  readonly key: string
  readonly scenario: string
  readonly variant: Variant
}

/**
 * What each point of the matrix is called, by key: the scenario's id, followed by those axes in which it
 * differs from the other points of the same scenario.
 */
export function labelsOf(planned: readonly Planned[]): ReadonlyMap<string, string> {
  return new Map(planned.map((point) => [point.key, labelOf(point, planned)]))
}

function labelOf(point: Planned, planned: readonly Planned[]): string {
  const siblings = planned.filter((other) => other.scenario === point.scenario)
  const differing = AXES.filter((axis) =>
    siblings.some((other) => other.variant[axis] !== point.variant[axis]),
  )
  const suffix = differing.map((axis) => axisValue(axis, point.variant)).join(', ')
  return suffix === '' ? point.scenario : `${point.scenario} (${suffix})`
}

/** One point of the matrix in words. */
export function describeVariant(variant: Variant): string {
  return AXES.map((axis) => axisValue(axis, variant)).join(', ')
}

function axisValue(axis: (typeof AXES)[number], variant: Variant): string {
  return axis === 'vtpm' ? (variant.vtpm === 'none' ? 'no vTPM' : `${variant.vtpm} vTPM`) : variant[axis]
}
