/**
 * RTMR1 and RTMR2 of a direct boot under firmware that measures into a TPM, where each PCR stands for the register that
 * UEFI maps it to (specification 2.10, 38.4.1): what emulated TDs have. Against a TD's own firmware it has separators for
 * every PCR, and the kernel leaves the firmware at its second try.
 */
import { parseVariableStore } from '../../formats/variable-store.ts'
import { exitBootServices } from '../tpm/boot.ts'
import { action, type PredictedEvent, separator, unknown } from '../tpm/event.ts'
import { ImageLoader } from '../tpm/images.ts'
import { secureBootEnforced } from '../tpm/secure-boot.ts'
import { type DirectKernel, foldRtmrs, inDirectUki, type RtmrPrediction, type TdxMachine } from './rtmr.ts'

/** What of the machine decides RTMR1 and RTMR2. */
export type MappedMachine = Pick<TdxMachine, 'firmware' | 'code'>

const OF_THE_HOST: PredictedEvent = {
  ...{ pcr: 1, type: 'EV_PLATFORM_CONFIG_FLAGS', from: 'acpi', what: 'ACPI and SMBIOS tables, boot entries' },
  content: unknown('the tables that QEMU makes for the machine are not at hand'),
}

/** Of a UKI that QEMU brings; RTMR0 is not known. Throws FormatError where a material is malformed. */
export function predictMappedDirectBoot(
  { firmware, code }: MappedMachine,
  boot: DirectKernel,
): RtmrPrediction {
  const store = parseVariableStore(firmware)
  const secureBoot = secureBootEnforced(store, code.features.secureBoot)
  const kernel = new ImageLoader(store, { secureBoot }).load({
    ...{ what: 'kernel', file: boot.kernel, from: 'uki' },
  })
  return foldRtmrs([
    OF_THE_HOST,
    ...(kernel.loaded ? kernel.events : refused(kernel.reason)),
    action(4, 'Calling EFI Application from Boot Option'),
    ...[1, 2, 3, 4, 5, 6].map(separator),
    ...(kernel.loaded ? [...inDirectUki(boot, secureBoot), ...exitBootServices()] : []),
  ])
}

function refused(reason: string): readonly PredictedEvent[] {
  return [4, 9].map((pcr) => ({
    ...{ pcr, type: 'EV_EFI_BOOT_SERVICES_APPLICATION', from: 'uki', what: 'what runs in place of the UKI' },
    content: unknown(`the firmware refuses the UKI: ${reason}`),
  }))
}
