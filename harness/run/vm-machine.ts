/** The machine of a scenario's VM: its materials and the wishes of the scenario, as QEMU is to have them. */
import { join } from 'node:path'
import type {
  DriveDescription,
  FirmwareLoad,
  MachineDescription,
  MemoryImage,
  NetworkDescription,
} from '../machine/description.ts'
import { TSM_PORT_NAME } from '../platforms/emulated/tsm-protocol.ts'
import type { PreparedDisk } from './image.ts'
import type { VmSpec } from './lab-spec.ts'
import type { NetworkOptions, VmOptions } from './vm-options.ts'

/** Files that get what a QEMU process writes; see `MachineDescription`. */
export interface WriteLogs {
  readonly disk: string
  readonly variables: string
  readonly trace: string
}

/** Of one QEMU process. */
export interface LaunchedFiles {
  readonly memoryImages?: readonly MemoryImage[]
  /** Absent: the VM's own. */
  readonly firmware?: FirmwareLoad | undefined
}

export interface MachineMaterials {
  readonly disk: PreparedDisk
  readonly firmware: FirmwareLoad
  /** Private directory for the sockets. */
  readonly sockets: string
  readonly hasVtpm: boolean
  /** A kernel that QEMU brings itself. */
  readonly kernel: string | undefined
  readonly drives: readonly DriveDescription[]
  readonly writeLogs: WriteLogs | undefined
  readonly smbiosStrings: readonly string[]
  readonly memoryImages: readonly MemoryImage[]
  /** File with it. */
  readonly initData: string | undefined
  readonly options: Pick<VmOptions, 'watchdog' | 'onPanic' | 'resets' | 'launch' | 'network' | 'servicePort'>
}

/** Where a guest finds its init data. */
const INIT_DATA = 'opt/org.attestbed/init-data'

/** Where a guest finds the one port that it can reach. */
export const BROKER_ADDRESS = { address: '10.0.2.100', port: 8443 } as const
/** And where one that its host may give it beside that. */
export const RELAY_ADDRESS = { address: '10.0.2.101', port: 8443 } as const

export function describeMachine(
  { bench, budget, name }: VmSpec,
  materials: MachineMaterials,
): MachineDescription {
  const { disk, firmware, sockets, kernel, drives, writeLogs, options } = materials
  const plain: MachineDescription = {
    name,
    accelerator: 'tcg',
    machineOptions: {},
    cpu: 'max',
    vcpus: budget.vcpus,
    memoryMiB: budget.memoryMiB,
    firmware:
      firmware.kind === 'pflash' && writeLogs ? { ...firmware, variablesLog: writeLogs.variables } : firmware,
    ...(kernel !== undefined && { directBoot: { kernel } }),
    drives: [
      {
        ...{ id: 'disk', file: disk.file, format: disk.format },
        ...(writeLogs && { writeLog: writeLogs.disk }),
        // QEMU gives that place to a kernel that it brings itself.
        ...(kernel === undefined && { bootIndex: 0 }),
      },
      ...drives,
    ],
    ...(materials.hasVtpm && {
      tpm: { controlSocket: join(sockets, 'vtpm'), model: 'tpm-crb' as const },
    }),
    objects: [],
    smbiosStrings: [...materials.smbiosStrings],
    ...(materials.initData !== undefined && { firmwareFiles: { [INIT_DATA]: materials.initData } }),
    ...(options.network && { network: networkOf(options.network) }),
    ...(options.servicePort !== undefined && { servicePort: options.servicePort }),
    ports: bench.platform.emulated ? [{ name: TSM_PORT_NAME, socket: join(sockets, 'tsm') }] : [],
    ...(materials.memoryImages.length > 0 && { memoryImages: materials.memoryImages }),
    watchdog: options.watchdog ?? false,
    onPanic: options.onPanic ?? 'end',
    virtioOptions: {},
    onReset: (options.resets ?? bench.platform.reboot(bench.host)) === 'reset' ? 'reset' : 'exit',
    ...(writeLogs && { trace: writeLogs.trace }),
    qmpSocket: join(sockets, 'qmp'),
    serialPipe: join(sockets, 'serial'),
  }
  return bench.platform.apply(plain, bench.host, options.launch)
}

function networkOf({ hostPort, relayPort }: NetworkOptions): NetworkDescription {
  const other = relayPort === undefined ? undefined : { ...RELAY_ADDRESS, hostPort: relayPort }
  return { ...BROKER_ADDRESS, hostPort, ...(other && { other }) }
}
