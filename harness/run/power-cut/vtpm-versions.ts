/**
 * The versions of a vTPM's state while swtpm runs on it. swtpm writes a new one beside the old one and renames it, so
 * each is whole, and a power cut leaves one or the other.
 */
import { closeSync, type FSWatcher, fstatSync, openSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'
import { PERMANENT_STATE } from '../../machine/vtpm/state.ts'

export interface VtpmVersion {
  readonly bytes: Uint8Array
  /** When it got its name; milliseconds since the epoch. */
  readonly at: number
}

export class VtpmVersions {
  readonly #file: string
  readonly #watcher: FSWatcher
  readonly #seen: VtpmVersion[] = []
  #identity = ''
  #missed = 0

  private constructor(directory: string) {
    this.#file = join(directory, PERMANENT_STATE)
    this.#look()
    this.#watcher = watch(directory, (event, name) => {
      if (event === 'rename' && name === PERMANENT_STATE) this.#look()
    })
  }

  /** The state must be there; the first version is the one that it has now. */
  static watch(directory: string): VtpmVersions {
    return new VtpmVersions(directory)
  }

  /** Oldest first; neighbours differ. */
  get seen(): readonly VtpmVersion[] {
    return this.#seen
  }

  /** Versions that were replaced before they were read. */
  get missed(): number {
    return this.#missed
  }

  close(): void {
    this.#watcher.close()
  }

  /** The kernel tells of every rename; one that finds the file of the rename before it came too late for its own. */
  #look(): void {
    const { bytes, ino, ctimeNs } = readWhole(this.#file)
    // The number alone is soon another file's.
    const identity = `${ino}:${ctimeNs}`
    if (identity === this.#identity) this.#missed += 1
    this.#identity = identity
    const last = this.#seen.at(-1)
    if (!last || !bytes.equals(last.bytes)) this.#seen.push({ bytes, at: Number(ctimeNs) / 1e6 })
  }
}

/** Content and times of one file: another may get its name at any moment. */
function readWhole(file: string) {
  const descriptor = openSync(file, 'r')
  try {
    const { ino, ctimeNs } = fstatSync(descriptor, { bigint: true })
    return { bytes: readFileSync(descriptor), ino, ctimeNs }
  } finally {
    closeSync(descriptor)
  }
}
