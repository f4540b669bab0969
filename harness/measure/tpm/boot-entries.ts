/**
 * PCR 1: BootOrder and the BootXXXX that it names, as OVMF leaves them before it boots (edk2, Tcg2Dxe
 * MeasureAllBootVariables). It adds entries of its own to what the store has (UefiBootManagerLib, BmBoot.c), and lets
 * QEMU's `bootindex` decide the order (OvmfPkg, QemuBootOrderLib): entries on those devices come first, of the others
 * those on PCI devices and partitions are dropped.
 */
import { type DevicePath, hardDriveOf } from '../../formats/device-path.ts'
import { guidBytes } from '../../formats/guid.ts'
import {
  bootEntryName,
  bootEntryNumber,
  encodeBootNumbers,
  encodeLoadOption,
  LOAD_OPTION_ACTIVE,
  type LoadOption,
  parseBootNumbers,
  parseLoadOption,
} from '../../formats/load-option.ts'
import { EFI_GLOBAL_VARIABLE, findVariable, type VariableStore } from '../../formats/variable-store.ts'
import type { MeasuredVariable } from './variable-event.ts'

/** Name of the volume with the applications, and the applications. */
const DXE_VOLUME = '7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1'
const BOOT_MANAGER_MENU = 'eec25bdc-67f2-4d95-b1d5-f81b2039d11d'
const SETUP = '462caa21-7614-4503-836e-8ab6f4662331'
const SHELL = '7c04a583-9e3e-4f1c-ad65-e05268d0b4d1'
/** mBmAutoCreateBootOptionGuid: marks what the boot manager found itself, and may remove again. */
const AUTO_CREATED = guidBytes('8108ac4e-9f11-4d59-850e-e21a522c59b2')

const CATEGORY_APP = 0x100
const HIDDEN = 0x8
const HARDWARE = 1
const ACPI = 2
const MEDIA = 4

/** A disk that the firmware may boot from: a virtio block device on the PCI root bus. */
export interface BootDevice {
  /** Position on the root bus. */
  readonly slot: number
  readonly function?: number
  /** GUIDs of its partitions: entries that name one of them lie on this device. */
  readonly partitions: readonly string[]
}

export interface BootEntryInputs {
  readonly store: VariableStore
  /** In QEMU's order of `bootindex`. */
  readonly devices: readonly BootDevice[]
  /** The build has the UEFI shell. */
  readonly shell: boolean
}

/** The file `bootorder` of QEMU's fw_cfg: OpenFirmware paths, one a line, the last with a NUL; empty without devices. */
export function qemuBootOrder(devices: readonly BootDevice[]): string {
  const paths = devices.map(({ slot, function: number = 0 }) => {
    const address = number === 0 ? slot.toString(16) : `${slot.toString(16)},${number.toString(16)}`
    return `/pci@i0cf8/scsi@${address}/disk@0,0`
  })
  return paths.length === 0 ? '' : `${paths.join('\n')}\0`
}

interface Entry {
  readonly number: number
  readonly option: LoadOption
  readonly data: Uint8Array
}

/** What is measured, in order. Throws FormatError for a BootOrder or entry that is malformed. */
export function bootVariables({ store, devices, shell }: BootEntryInputs): readonly MeasuredVariable[] {
  const found = [
    firmwareApplication('BootManagerMenuApp', BOOT_MANAGER_MENU, LOAD_OPTION_ACTIVE | CATEGORY_APP | HIDDEN),
    firmwareApplication('EFI Firmware Setup', SETUP, LOAD_OPTION_ACTIVE | CATEGORY_APP),
    ...devices.map(deviceOption),
    ...(shell ? [firmwareApplication('EFI Internal Shell', SHELL, LOAD_OPTION_ACTIVE | CATEGORY_APP)] : []),
  ]
  const stored = storedEntries(store).filter(
    ({ option }) => !isAutoCreated(option) || found.some((each) => isSame(each, option)),
  )
  const entries = [...stored]
  const taken = new Set(store.variables.flatMap(({ name }) => bootEntryNumber(name) ?? []))
  for (const option of found.filter((each) => !stored.some((old) => isSame(each, old.option)))) {
    const number = firstFree(taken)
    taken.add(number)
    entries.push({ number, option, data: encodeLoadOption(option) })
  }
  const ordered = devices.length > 0 ? orderedByQemu(entries, devices) : entries
  return [
    {
      name: 'BootOrder',
      guid: EFI_GLOBAL_VARIABLE,
      data: encodeBootNumbers(ordered.map(({ number }) => number)),
    },
    ...ordered.map(({ number, data }) => ({ name: bootEntryName(number), guid: EFI_GLOBAL_VARIABLE, data })),
  ]
}

function storedEntries(store: VariableStore): readonly Entry[] {
  const order = findVariable(store, { name: 'BootOrder' })
  return parseBootNumbers(order?.data ?? new Uint8Array()).flatMap((number) => {
    const variable = findVariable(store, { name: bootEntryName(number) })
    return variable === undefined
      ? []
      : [{ number, option: parseLoadOption(variable.data), data: variable.data }]
  })
}

function firstFree(taken: ReadonlySet<number>): number {
  let number = 0
  while (taken.has(number)) number += 1
  return number
}

/** An order in which no entry matches is left as it is. */
function orderedByQemu(entries: readonly Entry[], devices: readonly BootDevice[]): readonly Entry[] {
  const active = entries.filter(({ option }) => (option.attributes & LOAD_OPTION_ACTIVE) !== 0)
  const first = devices.flatMap((device) => active.filter(({ option }) => isOn(device, option)))
  if (first.length === 0) return entries
  const rest = active.filter((entry) => !first.includes(entry) && isKept(entry.option))
  return [...new Set(first), ...rest]
}

function isOn(device: BootDevice, { paths }: LoadOption): boolean {
  const [path] = paths
  if (path === undefined) return false
  const drive = hardDriveOf(path)
  const [first] = path.nodes
  if (first?.type === MEDIA) return drive !== undefined && device.partitions.includes(drive.guid)
  const wanted = devicePath(device).nodes
  return wanted.every((node, index) => {
    const got = path.nodes[index]
    return (
      got?.type === node.type && got.subType === node.subType && Buffer.compare(got.data, node.data) === 0
    )
  })
}

function isKept({ paths }: LoadOption): boolean {
  const [node] = paths[0]?.nodes ?? []
  const isHardDrive = node?.type === MEDIA && node.subType === 1
  const isPciRoot = node?.type === ACPI && node.subType === 1
  return !isHardDrive && !isPciRoot
}

function isAutoCreated({ optionalData }: LoadOption): boolean {
  return Buffer.compare(optionalData, AUTO_CREATED) === 0
}

/** As edk2 compares: attributes, description, path and optional data. */
function isSame(left: LoadOption, right: LoadOption): boolean {
  return Buffer.compare(encodeLoadOption(left), encodeLoadOption(right)) === 0
}

function firmwareApplication(description: string, file: string, attributes: number): LoadOption {
  const node = (subType: number, guid: string) => ({ type: MEDIA, subType, data: guidBytes(guid) })
  const paths = [{ nodes: [node(7, DXE_VOLUME), node(6, file)] }]
  return { attributes, description, paths, optionalData: new Uint8Array() }
}

/** Block devices without a name of their own are called so; the second one gets a number. */
function deviceOption(device: BootDevice, index: number): LoadOption {
  return {
    attributes: LOAD_OPTION_ACTIVE,
    description: index === 0 ? 'UEFI Misc Device' : `UEFI Misc Device ${index + 1}`,
    paths: [devicePath(device)],
    optionalData: AUTO_CREATED,
  }
}

/** PciRoot(0)/Pci(slot,function). */
function devicePath(device: BootDevice): DevicePath {
  const root = Buffer.from('d041030a00000000', 'hex')
  const pci = Uint8Array.of(device.function ?? 0, device.slot)
  return {
    nodes: [
      { type: ACPI, subType: 1, data: root },
      { type: HARDWARE, subType: 1, data: pci },
    ],
  }
}
