/** The machine that a VM's materials and options make. Pure. */
import { join } from 'node:path'
import type { DriveDescription, FirmwareLoad, MachineDescription } from '../machine/description.ts'
import type { PreparedDisk } from './image.ts'
import type { VmSpec } from './lab-spec.ts'
import type { VmOptions, WriteLogs } from './vm-options.ts'

export interface VmParts {
  /** Directory for the sockets of the QEMU process. */
  readonly sockets: string
  readonly hasVtpm: boolean
  readonly disk: PreparedDisk
  readonly firmware: FirmwareLoad
  /** Beside the disk. */
  readonly drives: readonly DriveDescription[]
  readonly smbiosStrings: readonly string[]
  /** Brought by QEMU; absent: the firmware boots the disk. */
  readonly kernel: string | undefined
  readonly writeLogs: WriteLogs | undefined
  readonly options: VmOptions
}

/** As the platform needs it. */
export function describeMachine({ bench, budget, name }: VmSpec, parts: VmParts): MachineDescription {
  const { sockets, hasVtpm, disk, kernel, writeLogs, options } = parts
  const plain: MachineDescription = {
    name,
    accelerator: 'tcg',
    machineOptions: {},
    cpu: 'max',
    vcpus: budget.vcpus,
    memoryMiB: budget.memoryMiB,
    firmware: recordedFirmware(parts),
    ...(kernel !== undefined && { directBoot: { kernel } }),
    drives: [
      {
        ...{ id: 'disk', file: disk.file, format: disk.format },
        ...(writeLogs && { writeLog: writeLogs.disk }),
        // QEMU gives that place to a kernel that it brings itself.
        ...(kernel === undefined && { bootIndex: 0 }),
      },
      ...parts.drives,
    ],
    ...(hasVtpm && { tpm: { controlSocket: join(sockets, 'vtpm'), model: 'tpm-crb' as const } }),
    objects: [],
    smbiosStrings: [...parts.smbiosStrings],
    ports: [],
    watchdog: options.watchdog ?? false,
    onPanic: options.onPanic ?? 'end',
    virtioOptions: {},
    onReset: (options.resets ?? bench.platform.reboot(bench.host)) === 'reset' ? 'reset' : 'exit',
    ...(writeLogs && { trace: writeLogs.trace }),
    qmpSocket: join(sockets, 'qmp'),
    serialSocket: join(sockets, 'serial'),
  }
  return bench.platform.apply(plain, bench.host)
}

function recordedFirmware({ firmware, writeLogs }: VmParts): FirmwareLoad {
  if (writeLogs === undefined || firmware.kind !== 'pflash') return firmware
  return { ...firmware, variablesLog: writeLogs.variables }
}
