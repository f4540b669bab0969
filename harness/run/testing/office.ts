/** For tests and benchmarks: what a plan is made with, on a host that has everything, or what it is said to have. */
import { join } from 'node:path'
import { readFirmwareManifest } from '../../platforms/firmware.ts'
import type { PlatformId } from '../../platforms/platform-id.ts'
import { PLATFORMS } from '../../platforms/platforms.ts'
import { firmwareFact } from '../../probe/firmware.ts'
import { resolvePaths } from '../../system/paths.ts'
import { Store } from '../../system/store.ts'
import type { Tools } from '../../system/tools.ts'
import { ImageShelf } from '../image-shelf.ts'
import type { PlanningOffice } from '../workshop.ts'

const CHECKOUT = join(import.meta.dirname, '../../..')

export interface OfficeSpec {
  /** Default: all. */
  readonly usable?: readonly PlatformId[]
  /** Of the guests' memory; default: enough. */
  readonly freeMemoryMiB?: number
}

export async function fakeOffice({ usable, freeMemoryMiB = 1e9 }: OfficeSpec = {}): Promise<PlanningOffice> {
  const paths = { ...resolvePaths(), checkout: CHECKOUT }
  const firmware = await readFirmwareManifest(CHECKOUT)
  const ids = [...firmware.map(firmwareFact), 'kvm-firmware-smm']
  const facts = ids.map((id) => ({ id, status: 'yes' as const, proof: '', hint: '' }))
  const platforms = Object.fromEntries(
    PLATFORMS.map(({ id }) => {
      const has = usable?.includes(id) ?? true
      return [id, has ? { usable: true } : { usable: false, reason: 'it is not there' }]
    }),
  )
  // A plan runs no program.
  const tools = {} as Tools
  return {
    ...{ paths, tools, host: { report: { facts, platforms }, parameters: { freeMemoryMiB }, firmware } },
    shelf: new ImageShelf({ paths, tools, store: new Store(paths.cache) }),
  }
}
