/** What all scenarios of a run share: the tools, the cache, this host's platform and its numbers. */
import type { MaterialContext } from '../materials/context.ts'
import type { SigningKeys } from '../materials/keys.ts'
import type { PlatformDescriptor } from '../platforms/descriptor.ts'
import type { HostParameters } from '../probe/facts.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import type { BootableImage } from './image.ts'
import type { Sampling } from './power-cut/sampling.ts'
import type { NewVtpms } from './vtpm-ahead.ts'

export interface Bench extends MaterialContext {
  readonly platform: PlatformDescriptor
  readonly host: HostParameters
  readonly firmware: FirmwareBuild
  readonly image: BootableImage
  readonly keys: SigningKeys
  readonly newVtpms: NewVtpms
  /** Prepare everything and start nothing: the first launch ends the scenario with its command lines. */
  readonly printArgv: boolean
  /** Which states of a power cut are booted; absent: a few, drawn anew. */
  readonly sampling?: Sampling
}
