/** PCR 4 and 7: images that the firmware loads, and what let them. PC Client Profile 1.06, 3.3.4.5 and 3.3.4.8. */
import { authenticodeParts } from '../../formats/authenticode.ts'
import type { VariableStore } from '../../formats/variable-store.ts'
import { authorityOf } from './authority.ts'
import { known, type PredictedEvent } from './event.ts'
import { IMAGE_SECURITY_DATABASE } from './secure-boot.ts'
import { variableEvent } from './variable-event.ts'

export interface LoadedImage {
  /** For people: `UKI`, `addon 10-console.addon.efi`. */
  readonly what: string
  readonly file: Uint8Array
  readonly from: 'uki' | 'addons' | 'shim' | 'loader'
}

export type ImageLoad =
  | { readonly loaded: true; readonly events: readonly PredictedEvent[] }
  | { readonly loaded: false; readonly reason: string }

/** Loads images one after the other, as the firmware does: an authority is measured once. */
export class ImageLoader {
  readonly #store: VariableStore
  readonly #secureBoot: boolean
  readonly #measured = new Set<string>()

  constructor(store: VariableStore, options: { readonly secureBoot: boolean }) {
    this.#store = store
    this.#secureBoot = options.secureBoot
  }

  /** Throws FormatError for what is no PE image, and for a malformed db or dbx. */
  load({ what, file, from }: LoadedImage): ImageLoad {
    const authority = this.#secureBoot ? authorityOf(file, this.#store) : undefined
    if (authority?.allowed === false) return { loaded: false, reason: authority.reason }
    const image: PredictedEvent = {
      ...{ pcr: 4, type: 'EV_EFI_BOOT_SERVICES_APPLICATION', what, from },
      content: known(...authenticodeParts(file)),
    }
    return { loaded: true, events: authority ? [...this.#authorityEvents(authority.entry), image] : [image] }
  }

  #authorityEvents(entry: Uint8Array): readonly PredictedEvent[] {
    const key = Buffer.from(entry).toString('base64')
    if (this.#measured.has(key)) return []
    this.#measured.add(key)
    const variable = { name: 'db', guid: IMAGE_SECURITY_DATABASE, data: entry }
    return [
      {
        ...variableEvent(7, 'EV_EFI_VARIABLE_AUTHORITY', variable),
        what: `authority in db, ${entry.length} bytes`,
      },
    ]
  }
}
