/**
 * What systemd-boot measures between firmware and UKI: its configuration, as it lies on the ESP (systemd,
 * docs/TPM2_PCR_MEASUREMENTS.md, "PCR 5"). The UKI it has loaded by the firmware, which measures that as any image.
 * To a UKI it passes no command line but the number of a profile that is not the first, and measures what it passes
 * (call_image_start in its src/boot/boot.c, since 257, the first that knows of profiles).
 */
import { known, type PredictedEvent } from './event.ts'

export interface SystemdBoot {
  readonly file: Uint8Array
  /** loader/loader.conf of the ESP; absent: there is none, and nothing is measured of it. */
  readonly configuration?: Uint8Array
}

export function configurationEvents({ configuration }: SystemdBoot): readonly PredictedEvent[] {
  if (configuration === undefined) return []
  return [
    {
      ...{ pcr: 5, type: 'EV_EVENT_TAG', from: 'loader' },
      ...{ what: `loader.conf, ${configuration.length} bytes`, content: known(configuration) },
    },
  ]
}

/** Into PCR 12, after the UKI is loaded: load options, UTF-16 with their NUL. The stub takes no command line from them. */
export function profileEvents(profile: number): readonly PredictedEvent[] {
  if (profile === 0) return []
  const options = `@${profile}`
  return [
    {
      ...{ pcr: 12, type: 'EV_IPL', from: 'loader' },
      ...{ what: `load options of systemd-boot: "${options}"` },
      content: known(Buffer.from(`${options}\0`, 'utf16le')),
    },
  ]
}
