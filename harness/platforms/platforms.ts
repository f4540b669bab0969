/** The platforms there are. A new one is its descriptor file and a line here. */

import type { PlatformDescriptor } from './descriptor.ts'
import { kvm } from './kvm.ts'
import { PLATFORM_IDS, type PlatformId } from './platform-id.ts'
import { sev } from './sev.ts'
import { sevEs } from './sev-es.ts'
import { sevSnp } from './sev-snp.ts'
import { tcg } from './tcg.ts'
import { tdx } from './tdx.ts'

const DESCRIPTORS: Readonly<Record<PlatformId, PlatformDescriptor>> = {
  'sev-snp': sevSnp,
  tdx,
  'sev-es': sevEs,
  sev,
  kvm,
  tcg,
}

/** All of them, best first. */
export const PLATFORMS: readonly PlatformDescriptor[] = PLATFORM_IDS.map((id) => DESCRIPTORS[id])

export function platform(id: PlatformId): PlatformDescriptor {
  return DESCRIPTORS[id]
}

export function isPlatformId(text: string): text is PlatformId {
  return (PLATFORM_IDS as readonly string[]).includes(text)
}
