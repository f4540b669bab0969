/** What the next boot of a VM will measure, from its materials as they are now. */
import { readFile } from 'node:fs/promises'
import { UsageError } from '../base/errors.ts'
import { predictTpm, type TpmBoot, type TpmPrediction } from '../measure/tpm/boot.ts'
import type { SystemdBoot } from '../measure/tpm/boot-loader.ts'
import { BOOT_SECRET_MIXIN } from '../measure/tpm/boot-secret.ts'
import { companionsOnEsp } from '../measure/tpm/esp-companions.ts'
import { type FirmwareCode, parseFirmwareCode } from '../measure/tpm/firmware-code.ts'
import { rememberPrediction } from './boot-comparison.ts'
import { viewDisk } from './disk-view.ts'
import type { SystemdBootFiles } from './image.ts'
import type { ScenarioVm } from './vm.ts'

/** Where the harness's disk is: the first PCI device of its command line (harness/machine/argv.ts). */
const DISK_SLOT = 1

/** The firmware's volumes take a second to decompress, and are the same for every boot of a run. */
const parsedFirmware = new Map<string, Promise<FirmwareCode>>()

export interface BootKnowledge
  extends Pick<TpmBoot, 'acpi' | 'smbios' | 'phases' | 'profile' | 'loadOptions'> {
  /** Path of the UKI that will be booted, where it is another than the VM's own: that of slot `b`. */
  readonly uki?: string
}

/**
 * The VM must be off. `known`: what the materials do not have: tables of the machine, phases that will be reached.
 * Throws UsageError `bad-scenario` for a UKI that is not ours or firmware without a variable store.
 */
export async function predictBoot(
  vm: ScenarioVm,
  { uki: other, ...known }: BootKnowledge = {},
): Promise<TpmPrediction> {
  const { uki } = vm.disk
  if (uki === undefined || vm.firmware.kind !== 'pflash')
    throw new UsageError('a boot is predicted for a UKI of ours, under firmware with a variable store', {
      code: 'bad-scenario',
    })
  const { start, partitions, esp } = await viewDisk(vm)
  const mixin = esp?.find(BOOT_SECRET_MIXIN) && esp.read(BOOT_SECRET_MIXIN)
  const beside = esp && companionsOnEsp(esp, uki.path)
  if (vm.disk.shim !== undefined && beside?.addons.local?.length)
    throw new UsageError('a boot through shim is predicted without addons', { code: 'bad-scenario' })
  const { memoryMiB, vcpus } = vm.spec.budget
  const prediction = predictTpm({
    ...known,
    firmware: await firmwareOf(vm.firmware.code),
    variables: await readFile(vm.firmware.variables),
    uki: await readFile(other ?? uki.current().file),
    ...{ disk: start, machine: { memoryMiB, vcpus } },
    bootDevices: [{ slot: DISK_SLOT, partitions: partitions.map(({ guid }) => guid) }],
    ...(mixin && { bootSecretMixin: mixin }),
    ...beside,
    ...(vm.disk.shim && { shim: await readFile(vm.disk.shim) }),
    ...(vm.disk.systemdBoot && { systemdBoot: await systemdBootOf(vm.disk.systemdBoot) }),
  })
  rememberPrediction(prediction, vm)
  return prediction
}

async function systemdBootOf({ file, configuration }: SystemdBootFiles): Promise<SystemdBoot> {
  return { file: await readFile(file), configuration: await readFile(configuration) }
}

function firmwareOf(file: string): Promise<FirmwareCode> {
  const parsed = parsedFirmware.get(file) ?? readFile(file).then(parseFirmwareCode)
  parsedFirmware.set(file, parsed)
  return parsed
}
