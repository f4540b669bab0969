/** Which variants an entry of a matrix file is about. */
import { matcher as patternMatcher } from '../discover.ts'
import type { Variant } from '../events.ts'
import type { MatrixMatch } from './schema.ts'

export interface MatchSubject {
  readonly id: string
  readonly variant: Variant
  /** Of a disk that somebody brought: the file that describes it, as a matrix names it; absolute. */
  readonly imageFile?: string
}

export type VariantMatcher = (subject: MatchSubject) => boolean

/** An entry matches where every axis that it names has one of its values. */
export function variantMatcher(entry: MatrixMatch): VariantMatcher {
  const { scenario, memory, image, emulated, ...named } = entry
  const patterns = scenario?.map(patternMatcher)
  const images = image && new Set(image)
  const values = Object.entries({ ...named, memoryMiB: memory }).flatMap(([axis, list]) =>
    list === undefined
      ? []
      : [[axis as keyof Omit<Variant, 'emulatedOn'>, new Set<string | number>(list)] as const],
  )
  return ({ id, variant, imageFile = '' }) =>
    (patterns?.some((matches) => matches(id)) ?? true) &&
    (images === undefined || images.has(variant.image) || images.has(imageFile)) &&
    (emulated === undefined || emulated === (variant.emulatedOn !== undefined)) &&
    values.every(([axis, allowed]) => allowed.has(variant[axis]))
}
