/** The emulated processors of one scenario: all its VMs run on the same ones. */

import type { PlatformDescriptor } from '../platforms/descriptor.ts'
import type { EmulatedProcessor, ProcessorOptions } from '../platforms/emulated/processor.ts'

export type ProcessorKind = Omit<ProcessorOptions, 'now'>

export class Processors {
  readonly #platform: PlatformDescriptor
  readonly #made = new Map<string, Promise<EmulatedProcessor>>()

  constructor(platform: PlatformDescriptor) {
    this.#platform = platform
  }

  /** Undefined where the platform is no emulated TEE. The same one for equal kinds. */
  async open(kind: ProcessorKind = {}): Promise<EmulatedProcessor | undefined> {
    const emulation = this.#platform.emulated?.tee.emulation
    if (emulation === undefined) return undefined
    const key = JSON.stringify(Object.entries(kind).toSorted())
    const made = this.#made.get(key) ?? emulation.load().then((make) => make({ ...kind, now: new Date() }))
    this.#made.set(key, made)
    return made
  }
}
