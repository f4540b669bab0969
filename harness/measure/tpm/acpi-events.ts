/**
 * PCR 1: what OVMF downloads from QEMU to build the ACPI tables of (OvmfPkg, QemuFwCfgAcpi.c): the loader's script, then
 * each blob that it names, in the script's order. QEMU makes them for the machine, when the firmware has given the PCI
 * devices their addresses: they cannot be computed here, only be read from a machine that has got that far.
 */
import { known, type PredictedEvent, unknown } from './event.ts'

/** Blobs as QEMU's fw_cfg names them. */
export interface AcpiBlobs {
  /** etc/table-loader */
  readonly loader: Uint8Array
  /** etc/acpi/rsdp */
  readonly rsdp: Uint8Array
  /** etc/acpi/tables */
  readonly tables: Uint8Array
}

/** etc/tpm/log: zeros that a BIOS without UEFI would keep its log in. */
const LEGACY_LOG_BYTES = 0x1_0000

export function acpiEvents(blobs: AcpiBlobs | undefined): readonly PredictedEvent[] {
  const event = (name: string, content: Uint8Array | undefined): PredictedEvent => ({
    ...{ pcr: 1, type: 'EV_PLATFORM_CONFIG_FLAGS', from: 'acpi', what: `ACPI DATA, ${name}` },
    content:
      content === undefined
        ? unknown('the ACPI tables that QEMU makes for the machine are not at hand')
        : known(content),
  })
  return [
    event('etc/table-loader', blobs?.loader),
    event('etc/acpi/rsdp', blobs?.rsdp),
    event('etc/tpm/log', Buffer.alloc(LEGACY_LOG_BYTES)),
    event('etc/acpi/tables', blobs?.tables),
  ]
}
