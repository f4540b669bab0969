/** A TEE on a host that has none: its guests run on a plain platform, and an emulated processor vouches for them. */
import type { PlatformDescriptor } from '../descriptor.ts'
import { refuseOthers } from '../launch-options.ts'

/**
 * `tee` as `on` can stand in for it: firmware, launch options and way to reboot are the TEE's, all else is the plain
 * platform's. Undefined where nothing emulates `tee`, or `on` proves something itself.
 */
export function emulatedPlatform(
  tee: PlatformDescriptor,
  on: PlatformDescriptor,
): PlatformDescriptor | undefined {
  const { emulation } = tee
  if (emulation === undefined || on.basis !== 'emulated') return undefined
  const { needs, wants, smmFact } = on
  const { standIn } = emulation
  return {
    ...{ id: tee.id, title: `${tee.title}, emulated on ${on.id}`, basis: 'emulated', needs, wants },
    firmwareLoads: tee.firmwareLoads,
    firmwareFeature: emulation.firmwareFeature,
    // From flash: its variables are in SMM, which wants to write there.
    ...(standIn && {
      standIn: {
        firmwareLoads: ['pflash'],
        firmwareFeature: standIn,
        ...(smmFact !== undefined && { smmFact }),
      },
    }),
    launchOptions: tee.launchOptions,
    ...(tee.predictLaunch && { predictLaunch: tee.predictLaunch }),
    emulated: { tee, on },
    reboot: (host) => tee.reboot(host),
    apply: (description, host, options = {}) => {
      refuseOthers(tee.id, options, tee.launchOptions)
      return on.apply({ ...description, ...(tee.reboot(host) === 'relaunch' && { onReset: 'exit' }) }, host)
    },
  }
}
