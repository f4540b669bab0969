/** What of a VM its slots and its boot entries are made of. */
import type { DriveDescription, FirmwareLoad } from '../machine/description.ts'
import type { PreparedDisk } from './image.ts'
import type { VmSpec } from './lab-spec.ts'

export interface SlotOwner {
  readonly spec: VmSpec
  readonly disk: PreparedDisk
  readonly firmware: FirmwareLoad
  /** Adds a disk to every later QEMU process. */
  attach(drive: DriveDescription): void
  /** Throws UsageError `bad-scenario` where the VM runs: what the host does meanwhile, the guest undoes. */
  requireOff(action: string): void
}
