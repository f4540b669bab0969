/** What a guest says of its own boot: registers, logs, and the tables that QEMU gave its firmware. */

import { parseEventLog } from '../formats/event-log/parse.ts'
import type { AcpiBlobs } from '../measure/tpm/acpi-events.ts'
import type { ObservedBoot } from '../verdict/measured-boot.ts'
import type { LabGuest } from './guest.ts'

const TPM = '/sys/class/tpm/tpm0'
const LOG = '/sys/kernel/security/tpm0/binary_bios_measurements'
const FW_CFG = '/sys/firmware/qemu_fw_cfg/by_name'
const DMI = '/sys/firmware/dmi/tables/DMI'
const LAST_REGISTER = 15

/** Registers 0 to 15 of the SHA-256 bank, as the kernel reads them from the TPM, and the firmware's log. */
export async function observeBoot(guest: LabGuest): Promise<ObservedBoot> {
  const mount = `[ -e ${LOG} ] || mount -t securityfs securityfs /sys/kernel/security`
  await guest.succeed(['sh', '-c', mount])
  const script = `for i in $(seq 0 ${LAST_REGISTER}); do echo "$i $(cat ${TPM}/pcr-sha256/$i)"; done`
  const lines = await guest.text(['sh', '-c', script])
  const registers = lines.split('\n').flatMap((line) => {
    const [, index, value] = /^(\d{1,2}) ([0-9A-Fa-f]{64})\s*$/.exec(line) ?? []
    return index !== undefined && value !== undefined
      ? [[Number(index), Buffer.from(value, 'hex')] as const]
      : []
  })
  const log = parseEventLog((await guest.succeed(['cat', LOG])).stdout)
  return { log, registers: new Map(registers) }
}

/** Tables that the firmware measures and that QEMU makes, so that nothing but a machine of the kind has them. */
export interface MachineTables {
  readonly acpi: AcpiBlobs
  readonly smbios: Uint8Array
}

/** Reads them in the guest; they are the same at the next boot of the same machine. */
export async function readMachineTables(guest: LabGuest): Promise<MachineTables> {
  const read = async (path: string) => (await guest.succeed(['cat', path])).stdout
  const blob = (name: string) => read(`${FW_CFG}/${name}/raw`)
  return {
    acpi: {
      loader: await blob('etc/table-loader'),
      rsdp: await blob('etc/acpi/rsdp'),
      tables: await blob('etc/acpi/tables'),
    },
    smbios: await read(DMI),
  }
}
