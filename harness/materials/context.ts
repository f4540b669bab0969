import { createHash } from 'node:crypto'
import type { Paths } from '../system/paths.ts'
import type { Store } from '../system/store.ts'
import type { Tools } from '../system/tools.ts'

/** A step of building materials, for progress. `detail` may change while one step runs. */
export interface MaterialStep {
  readonly image: string
  readonly step: string
  readonly detail?: string
}

/** What every builder of materials needs. */
export interface MaterialContext {
  readonly tools: Tools
  readonly store: Store
  readonly paths: Paths
  readonly progress?: ((step: MaterialStep) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** systemd-stub of every UKI in place of the tools' own; absolute path. */
  readonly stub?: string | undefined
}

export type KeyInput =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly KeyInput[]
  | { readonly [name: string]: KeyInput }

/** Key of a store entry: 32 hex digits over everything it is made from, whatever the order of the names. */
export function contentKey(inputs: { readonly [name: string]: KeyInput }): string {
  return createHash('sha256').update(canonical(inputs)).digest('hex').slice(0, 32)
}

function canonical(value: KeyInput): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? '-'
  const entries = Object.entries(value as { readonly [name: string]: KeyInput })
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`)
    .join(',')}}`
}
