import type { Measure } from './figure.ts'

/**
 * The measures whose id is one of `names` or begins with one and a hyphen; all for no names. Throws TypeError for a
 * name that selects nothing.
 */
export function selectMeasures(all: readonly Measure[], names: readonly string[]): readonly Measure[] {
  const selects = (name: string, { id }: Measure) => id === name || id.startsWith(`${name}-`)
  const unknown = names.find((name) => !all.some((measure) => selects(name, measure)))
  if (unknown !== undefined)
    throw new TypeError(`no measure is called "${unknown}"; there are ${all.map(({ id }) => id).join(', ')}`)
  return names.length === 0 ? all : all.filter((measure) => names.some((name) => selects(name, measure)))
}
