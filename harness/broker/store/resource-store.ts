/** Where resources come from. */

/** A resource is 1 byte to 1 MiB. */
export const MAX_RESOURCE_BYTES = 1024 * 1024

/** What a broker reads from. `path` has been checked (`isResourcePath`). */
export interface ResourceStore {
  /** The caller owns what it gets and may overwrite it. Undefined where there is none. */
  get(path: string): Promise<Uint8Array | undefined>
}

/** For fixtures: nothing is written anywhere. */
export function memoryStore(resources: ReadonlyMap<string, Uint8Array>): ResourceStore {
  return {
    get: async (path) => {
      const found = resources.get(path)
      return found && Uint8Array.from(found)
    },
  }
}
