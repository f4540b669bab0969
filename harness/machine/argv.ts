/**
 * QEMU's command line as a pure function of the description. The order of the devices is fixed: it decides their
 * PCI addresses, which are in the device paths and ACPI tables that the firmware measures.
 */
import type {
  DirectBoot,
  DriveDescription,
  FirmwareLoad,
  ForwardedAddress,
  MachineDescription,
  MemoryImage,
  TpmDescription,
  VirtioPort,
} from './description.ts'
import {
  filePath,
  guestAddress,
  identifier,
  machineName,
  option,
  plainText,
  portNumber,
  socketPath,
  wholeNumber,
} from './options.ts'

export const QEMU_PROGRAM = 'qemu-system-x86_64'

/** Names of the block nodes, for later layers that record or change what passes through them. */
const PFLASH_CODE_NODE = 'pflash-code'
const PFLASH_VARIABLES_NODE = 'pflash-variables'

/** Writes of block nodes, as they are begun; commands to the vTPM. */
const TRACED = ['bdrv_co_pwritev_part', 'tpm_emulator_handle_request'] as const

/**
 * Arguments of `qemu-system-x86_64`, without the program. The launcher adds `-S` and continues the guest when it is
 * connected; without `-S` the same line can be pasted and runs at once.
 * Throws LaunchError `qemu-start` for a value that no command line can carry, `socket-path-too-long` for a path.
 */
export function qemuArguments(description: MachineDescription): string[] {
  return [
    ...frame(description),
    ...firmware(description.firmware),
    ...(description.directBoot ? directBoot(description.directBoot) : []),
    ...description.objects.flatMap((object) => ['-object', JSON.stringify(object)]),
    ...channels(description),
    ...description.drives.flatMap((drive) => blockDevice(drive, description.virtioOptions)),
    ...(description.tpm ? tpm(description.tpm) : []),
    ...virtioPorts(description.ports, description.virtioOptions),
    ...smallDevices(description),
    ...network(description),
    ...description.smbiosStrings.flatMap((value) => ['-smbios', option('type=11', { value })]),
    ...Object.entries(description.firmwareFiles ?? {}).flatMap(([name, file]) => [
      ...['-fw_cfg', option('', { name, file: filePath(`the file of ${name}`, file) })],
    ]),
    ...(description.memoryImages ?? []).flatMap(memoryImage),
    ...['-action', actions(description)],
    ...(description.trace === undefined ? [] : trace(description.trace)),
  ]
}

/** Machine, processor and memory. */
function frame(description: MachineDescription): string[] {
  const { name, accelerator, machineOptions, firmware, cpu, vcpus, memoryMiB, kvmDevice } = description
  const flash =
    firmware.kind === 'pflash' ? { pflash0: PFLASH_CODE_NODE, pflash1: PFLASH_VARIABLES_NODE } : undefined
  const smm = firmware.kind === 'pflash' && firmware.secure
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-name', machineName(name)],
    ...['-machine', option('q35', { smm, ...flash, ...machineOptions })],
    ...['-accel', option(accelerator, { device: kvmDevice })],
    ...['-cpu', plainText('the CPU model', cpu)],
    ...['-smp', String(wholeNumber('the number of vCPUs', vcpus, 1))],
    ...['-m', `${wholeNumber('the memory in MiB', memoryMiB, 1)}M`],
  ]
}

function firmware(load: FirmwareLoad): string[] {
  if (load.kind === 'bios') return ['-bios', filePath('the firmware', load.file)]
  return [
    // Without this property the guest's OS could write the variable store, and with it the Secure Boot keys.
    ...(load.secure ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
    ...['-blockdev', rawNode(PFLASH_CODE_NODE, filePath('the firmware', load.code), { readOnly: true })],
    ...['-blockdev', variableStore(load)],
  ]
}

function directBoot(boot: DirectBoot): string[] {
  return [
    ...['-kernel', filePath('the kernel', boot.kernel)],
    ...(boot.initrd === undefined ? [] : ['-initrd', filePath('the initrd', boot.initrd)]),
    ...(boot.commandLine === undefined
      ? []
      : ['-append', plainText('the kernel command line', boot.commandLine)]),
  ]
}

/** The channels to the harness. The serial port is open before QMP listens: who is connected there finds both. */
function channels({ qmpSocket, serialPipe }: MachineDescription): string[] {
  return [
    ...['-chardev', option('pipe', { id: 'serial0', path: filePath('the serial console', serialPipe) })],
    ...['-device', 'isa-serial,chardev=serial0'],
    ...['-chardev', listener('qmp0', socketPath('QMP', qmpSocket))],
    ...['-qmp', 'chardev:qmp0'],
  ]
}

function listener(id: string, path: string): string {
  return option('socket', { id, path, server: true, wait: false })
}

const IGNORE_FLUSHES = { 'no-flush': true }

function blockDevice(drive: DriveDescription, virtioOptions: Readonly<Record<string, string>>): string[] {
  const id = identifier('the id of a drive', drive.id)
  const node = `${id}-node`
  const file = filePath(`the file of drive ${id}`, drive.file)
  const content = { driver: drive.format, file: { driver: 'file', filename: file } }
  const options = { 'node-name': node, 'read-only': drive.readOnly ?? false, discard: 'unmap' }
  const block =
    drive.writeLog === undefined
      ? { ...content, ...options, cache: IGNORE_FLUSHES }
      : // A flush that the recording node ignored would not be recorded.
        { ...recorded({ ...content, cache: IGNORE_FLUSHES }, drive.writeLog), ...options }
  return [
    ...['-blockdev', JSON.stringify(block)],
    ...[
      '-device',
      option('virtio-blk-pci', { id, drive: node, bootindex: drive.bootIndex, ...virtioOptions }),
    ],
  ]
}

function variableStore({ variables, variablesLog }: Extract<FirmwareLoad, { kind: 'pflash' }>): string {
  const filename = filePath('the variable store', variables)
  if (variablesLog === undefined) return rawNode(PFLASH_VARIABLES_NODE, filename, {})
  const content = { driver: 'raw', file: { driver: 'file', filename } }
  return JSON.stringify({ ...recorded(content, variablesLog), 'node-name': PFLASH_VARIABLES_NODE })
}

/** A node that logs every write before it goes on; the log's own head is kept up to date, since QEMU may be killed. */
function recorded(content: object, log: string): object {
  const file = { driver: 'file', filename: filePath('the log of writes', log) }
  return {
    ...{ driver: 'blklogwrites', 'log-sector-size': 512, 'log-super-update-interval': 1 },
    ...{ file: content, log: { driver: 'raw', file } },
  }
}

function rawNode(name: string, filename: string, options: { readonly readOnly?: boolean }): string {
  const file = { driver: 'file', filename }
  return JSON.stringify({ driver: 'raw', 'node-name': name, 'read-only': options.readOnly ?? false, file })
}

function tpm({ controlSocket, model }: TpmDescription): string[] {
  return [
    ...['-chardev', option('socket', { id: 'tpm0-control', path: socketPath('the vTPM', controlSocket) })],
    ...['-tpmdev', 'emulator,id=tpm0,chardev=tpm0-control'],
    ...['-device', `${model},tpmdev=tpm0`],
  ]
}

function virtioPorts(
  ports: readonly VirtioPort[],
  virtioOptions: Readonly<Record<string, string>>,
): string[] {
  if (ports.length === 0) return []
  return [
    ...['-device', option('virtio-serial-pci', { id: 'ports', ...virtioOptions })],
    ...ports.flatMap(({ name, socket }, index) => [
      ...['-chardev', listener(`port${index}`, socketPath(`port ${name}`, socket))],
      ...['-device', option('virtserialport', { bus: 'ports.0', chardev: `port${index}`, name })],
    ]),
  ]
}

/** Of the guest, in QEMU's user network. */
export const GUEST_ADDRESS = '10.0.2.15'

/** QEMU's user networking, restricted to what is forwarded; none where nothing is. */
function network({ network, servicePort, virtioOptions }: MachineDescription): string[] {
  if (network === undefined && servicePort === undefined) return []
  const rules = {
    ...(network && { guestfwd: outward(network) }),
    // The host's port is QEMU's choice: no other program can be there first.
    ...(servicePort !== undefined && {
      hostfwd: `tcp:127.0.0.1:0-${GUEST_ADDRESS}:${portNumber('the port of the service', servicePort)}`,
    }),
  }
  const more = network?.other ? [option('', { guestfwd: outward(network.other) })] : []
  return [
    ...[
      '-netdev',
      [option('user', { id: 'net0', restrict: true, ipv6: false, ...rules }), ...more].join(','),
    ],
    ...['-device', option('virtio-net-pci', { netdev: 'net0', romfile: '', ...virtioOptions })],
  ]
}

/**
 * A program carries each connection to the host: a character device in its place would mix all connections into one.
 */
function outward({ address, port, hostPort }: ForwardedAddress): string {
  const inside = `${guestAddress('the address of the network', address)}:${portNumber('the port of the network', port)}`
  return `tcp:${inside}-cmd:busybox nc 127.0.0.1 ${portNumber('the port of the host', hostPort)}`
}

function memoryImage({ file, address }: MemoryImage): string[] {
  const addr = `0x${wholeNumber('an address', address, 0).toString(16)}`
  return [
    '-device',
    option('loader', { file: filePath('an image of memory', file), addr, 'force-raw': true }),
  ]
}

function smallDevices({ rng, pvpanic, watchdog, virtioOptions }: MachineDescription): string[] {
  return [
    ...((rng ?? true) ? ['-device', option('virtio-rng-pci', virtioOptions)] : []),
    ...((pvpanic ?? true) ? ['-device', 'pvpanic-pci'] : []),
    ...(watchdog ? ['-device', 'i6300esb'] : []),
  ]
}

/** What the log backend of QEMU's trace events writes, with the time of each: the order across devices. */
function trace(file: string): string[] {
  const events = TRACED.flatMap((event) => ['-trace', event])
  return [...events, '-D', filePath('the trace', file), '-msg', 'timestamp=on']
}

/**
 * What QEMU does at the guest's ends, so that QMP tells them apart: a panic pauses (the guest can still be examined),
 * a shutdown ends QEMU, and a reset either boots again or ends it as `guest-reset`.
 */
function actions({ onReset, onPanic }: MachineDescription): string {
  return option('', {
    ...{ reboot: onReset === 'reset' ? 'reset' : 'shutdown', shutdown: 'poweroff' },
    ...{ panic: onPanic === 'continue' ? 'none' : 'pause', watchdog: 'reset' },
  })
}
