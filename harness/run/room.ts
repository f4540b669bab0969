/** What a host has room for, and what a VM takes of it. */
import { availableParallelism, totalmem } from 'node:os'
import { HostError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import type { PlatformDescriptor } from '../platforms/descriptor.ts'
import type { GuestSlotKind, HostParameters } from '../probe/facts.ts'
import type { Variant } from './events.ts'
import type { Resources } from './schedule.ts'

/** What all VMs together may take. */
export type Room = Resources

/** Memory that QEMU and the harness need beside the guest's own, per VM. */
const OVERHEAD_MIB = 256
/** UKIs, vTPM states, variable stores and transcripts of a scenario: what the longest of them left, with room to spare. */
const BESIDE_DISK_MIB = 128
/** Of an image that somebody brought, of which a boot changes little however large it is. */
const USUAL_DISK_MIB = 384
const MIB = 2 ** 20

/** What the files of a scenario may take, in bytes. */
export function diskBytesOf({ diskMiB = USUAL_DISK_MIB }: Pick<ImageDescription, 'diskMiB'>): number {
  return (diskMiB + BESIDE_DISK_MIB) * MIB
}

/** Of what is not started. */
export const NO_DEMAND: Resources = { vcpus: 0, memoryMiB: 0, diskMiB: 0, sev: 0, sev_es: 0, tdx: 0 }

/** What the user allows at most; the host's own limits hold beside it. */
export interface RoomBudget {
  readonly vcpus?: number | undefined
  readonly memoryMiB?: number | undefined
  readonly diskMiB?: number | undefined
}

/** `freeDiskBytes`: on the file system of the run directories. */
export function roomOf(
  { freeMemoryMiB, guestSlots = {} }: HostParameters,
  { freeDiskBytes, budget = {} }: { readonly freeDiskBytes: number; readonly budget?: RoomBudget },
): Room {
  const most = (host: number, allowed = host): number => Math.min(host, allowed)
  return {
    vcpus: most(availableParallelism(), budget.vcpus),
    memoryMiB: most(freeMemoryMiB ?? Math.floor(totalmem() / MIB), budget.memoryMiB),
    diskMiB: most(Math.floor(freeDiskBytes / MIB), budget.diskMiB),
    ...slots(guestSlots),
  }
}

function slots(counts: HostParameters['guestSlots'] = {}): Pick<Resources, GuestSlotKind> {
  return { sev: unlimited(counts.sev), sev_es: unlimited(counts.sev_es), tdx: unlimited(counts.tdx) }
}

/** Where the kernel does not count them, it is QEMU that says when there is none left. */
function unlimited(count: number | undefined): number {
  return count ?? Number.POSITIVE_INFINITY
}

/** What beside the variant decides what a VM takes. */
export interface Demanding {
  readonly guestSlot?: PlatformDescriptor['guestSlot']
  readonly image?: Pick<ImageDescription, 'diskMiB'> | undefined
}

/** What a VM of the variant takes while its scenario runs. */
export function demandOf(
  { vcpus, memoryMiB }: Pick<Variant, 'vcpus' | 'memoryMiB'>,
  { guestSlot, image = {} }: Demanding = {},
): Resources {
  const taken = { sev: 0, sev_es: 0, tdx: 0, ...(guestSlot && { [guestSlot]: 1 }) }
  return { vcpus, memoryMiB: memoryMiB + OVERHEAD_MIB, diskMiB: diskBytesOf(image) / MIB, ...taken }
}

/** Why the VM would not fit even if it were the only one; undefined where it does. */
export function lackOfRoom(variant: Variant, room: Room, image?: Demanding['image']): HostError | undefined {
  const { vcpus, memoryMiB, diskMiB } = demandOf(variant, { image })
  if (vcpus > room.vcpus)
    return new HostError(`a VM with ${vcpus} vCPUs does not fit: ${room.vcpus} cores may be used`, {
      code: 'not-enough-cores',
      hint: 'nothing is overcommitted: give the variant fewer vCPUs, or run it on a larger host',
    })
  if (memoryMiB > room.memoryMiB)
    return new HostError(
      `a VM with ${variant.memoryMiB} MiB does not fit: it takes ${memoryMiB} MiB, ${room.memoryMiB} MiB may be used`,
      { code: 'not-enough-memory', hint: 'stop other programs, or give the variant less memory' },
    )
  if (diskMiB > room.diskMiB)
    return new HostError(
      `a VM does not fit on the disk: it takes ${diskMiB} MiB, ${room.diskMiB} MiB may be used`,
      { code: 'not-enough-disk', hint: 'free some space, or point XDG_STATE_HOME at a larger disk' },
    )
  return undefined
}
