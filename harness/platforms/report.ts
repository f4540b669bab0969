/** From facts to verdicts: which platforms this host can run, and why not the others. */

import type { Fact, HostProbe, HostReport, PlatformVerdict } from '../probe/facts.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import type { PlatformDescriptor, PlatformNeed } from './descriptor.ts'
import { emulatedPlatform } from './emulated/emulated-platform.ts'
import { firmwareFor } from './firmware.ts'
import type { PlatformId } from './platform-id.ts'
import { PLATFORMS } from './platforms.ts'

/** The document of `attestbed doctor --json`. */
export function reportHost(probe: HostProbe, builds: readonly FirmwareBuild[]): HostReport {
  const verdicts = PLATFORMS.map((platform) => [platform, judge(platform, probe.facts, builds)] as const)
  const plain = verdicts.filter(([{ basis }, { usable }]) => usable && basis === 'emulated')
  const platforms = verdicts.map(([platform, verdict]) => {
    const [on] = plain.flatMap(([each]) => (emulatedPlatform(platform, each) ? [each.id] : []))
    return [
      platform.id,
      verdict.usable || on === undefined ? verdict : { ...verdict, emulatedOn: on },
    ] as const
  })
  return { facts: probe.facts, platforms: Object.fromEntries(platforms) }
}

/** Usable platforms, best first. */
export function rankPlatforms(report: HostReport): readonly PlatformId[] {
  return PLATFORMS.map(({ id }) => id).filter((id) => report.platforms[id]?.usable === true)
}

function judge(
  platform: PlatformDescriptor,
  facts: readonly Fact[],
  builds: readonly FirmwareBuild[],
): PlatformVerdict {
  const unmet = platform.needs.find((need) => !isMet(need, facts))
  if (unmet) return { usable: false, reason: reasonOf(unmet, facts) }
  const firmware = firmwareFor(platform, { secureBoot: false }, { builds, facts })
  if (firmware.kind === 'none') return { usable: false, reason: firmware.reason }
  const limits = platform.wants.filter((want) => !isMet(want, facts)).map((want) => reasonOf(want, facts))
  return limits.length > 0 ? { usable: true, limits } : { usable: true }
}

function isMet(need: PlatformNeed, facts: readonly Fact[]): boolean {
  const status = facts.find(({ id }) => id === need.fact)?.status
  return status === 'yes' || (status === 'unknown' && need.unknownIsEnough === true)
}

/** `KVM must run the firmware: KVM internal error. Suberror: 1 (kvm-firmware)` */
function reasonOf(need: PlatformNeed, facts: readonly Fact[]): string {
  const fact = facts.find(({ id }) => id === need.fact)
  const proof = fact ? fact.proof : 'nobody looked'
  return `${need.why}: ${proof} (${need.fact})`
}
