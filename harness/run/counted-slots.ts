import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FALLBACK_BOOT_PATH } from '../materials/boot-disk.ts'
import type { EspChange } from '../materials/esp.ts'
import { ensureSystemdBoot } from '../materials/systemd-boot.ts'
import type { SlotOwner } from './slot-owner.ts'
import { espOf, type SlotState, Slots, type SlotUki, UKI_DIRECTORY } from './slots.ts'

/** No menu: the first entry in systemd-boot's own order is booted at once. */
const LOADER_CONF = 'timeout 0\n'
/** A slot's file: `b.efi`, `b+3.efi`, `b+2-1.efi` (UAPI boot loader specification, "Boot counting"). */
const OF_SLOT_B = /^b(\+\d+(-\d+)?)?\.efi$/i

/** Slots that systemd-boot chooses from, by the tries that file names count. */
export class CountedSlots extends Slots {
  static async open(vm: SlotOwner): Promise<CountedSlots> {
    const { bench, directory } = vm.spec
    const slots = new CountedSlots(vm, await espOf(vm))
    const loader = await ensureSystemdBoot(bench, bench.keys)
    const configuration = join(await mkdtemp(join(directory, 'loader-')), 'loader.conf')
    await writeFile(configuration, LOADER_CONF)
    await slots.changeEsp(
      { kind: 'put', path: FALLBACK_BOOT_PATH, file: loader.file },
      { kind: 'put', path: 'loader/loader.conf', file: configuration },
    )
    return slots
  }

  /** The update is of a later version than slot `a`, so that it comes first for as long as it has tries left. */
  override async offer(uki: SlotUki): Promise<void> {
    const old = (await this.ukiFiles()).filter((name) => OF_SLOT_B.test(name))
    const removals = old.map((name): EspChange => ({ kind: 'remove', path: `${UKI_DIRECTORY}/${name}` }))
    const path = `${UKI_DIRECTORY}/b+${uki.tries ?? 1}.efi`
    await this.changeEsp(...removals, { kind: 'put', path, file: await this.build('b', uki) })
  }

  override async state(): Promise<SlotState> {
    return { files: await this.ukiFiles() }
  }
}
