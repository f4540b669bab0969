import type { SlotOwner } from './slot-owner.ts'
import { espOf, type SlotState, Slots, type SlotUki, UKI_DIRECTORY } from './slots.ts'

/** Slot `a` lies where firmware without variables looks; nothing leads to slot `b` unless the guest sees to it. */
export class FallbackSlots extends Slots {
  static async open(vm: SlotOwner): Promise<FallbackSlots> {
    return new FallbackSlots(vm, await espOf(vm))
  }

  override async offer(uki: SlotUki): Promise<void> {
    await this.changeEsp({ kind: 'put', path: `${UKI_DIRECTORY}/b.efi`, file: await this.build('b', uki) })
  }

  override async state(): Promise<SlotState> {
    return { files: await this.ukiFiles() }
  }
}
