/**
 * What systemd-boot measures between firmware and UKI: its configuration, as it lies on the ESP (systemd,
 * docs/TPM2_PCR_MEASUREMENTS.md, "PCR 5"). The UKI it has loaded by the firmware, which measures that as any image.
 * To a UKI it passes no command line, so nothing more goes into PCR 12.
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
