import { readFile, writeFile } from 'node:fs/promises'
import { UsageError } from '../base/errors.ts'
import { inFile } from '../base/in-file.ts'
import {
  addBootEntry,
  type BootConfiguration,
  bootConfiguration,
  setBootNext,
  setBootOrder,
} from '../formats/boot-configuration.ts'
import type { SlotOwner } from './slot-owner.ts'
import { espOf, type Slot, type SlotState, Slots, type SlotUki, UKI_DIRECTORY } from './slots.ts'

/** Slots with boot entries, in a variable store that persists. */
export class BootNextSlots extends Slots {
  /** Makes slot `a`, whose UKI lies on the ESP already, the default. */
  static async open(vm: SlotOwner): Promise<BootNextSlots> {
    const slots = new BootNextSlots(vm, await espOf(vm))
    await slots.#enter('a')
    const number = slots.#numberOf('a', await slots.#configuration())
    await slots.#write((image) => setBootOrder(image, number === undefined ? [] : [number]))
    return slots
  }

  /** The entry of slot `b` is not in BootOrder, so nothing but BootNext leads to it. */
  override async offer(uki: SlotUki): Promise<void> {
    await this.changeEsp({ kind: 'put', path: pathOf('b'), file: await this.build('b', uki) })
    if (this.#numberOf('b', await this.#configuration()) === undefined) await this.#enter('b')
    const number = this.#numberOf('b', await this.#configuration())
    await this.#write((image) => setBootNext(image, number))
  }

  /** Entries of the firmware's own are left out of the order. */
  override async state(): Promise<SlotState> {
    const configuration = await this.#configuration()
    const slotOf = (number: number) =>
      (['a', 'b'] as const).find((slot) => this.#numberOf(slot, configuration) === number)
    const { next, order } = configuration
    return {
      order: order.flatMap((number) => slotOf(number) ?? []),
      next: next === undefined ? 'none' : (slotOf(next) ?? 'other'),
    }
  }

  async #enter(slot: Slot): Promise<void> {
    const { partition } = this.partition
    const entry = { description: `slot ${slot}`, file: pathOf(slot), partition }
    await this.#write((image) => addBootEntry(image, entry).image)
  }

  #numberOf(slot: Slot, { entries }: BootConfiguration): number | undefined {
    const file = `\\${pathOf(slot).replaceAll('/', '\\')}`.toLowerCase()
    return entries.find((entry) => entry.file?.toLowerCase() === file)?.number
  }

  async #configuration(): Promise<BootConfiguration> {
    const image = await readFile(this.#variables)
    return inFile({ what: 'variable store', file: this.#variables }, () => bootConfiguration(image))
  }

  async #write(change: (image: Uint8Array) => Uint8Array): Promise<void> {
    const image = await readFile(this.#variables)
    const changed = inFile({ what: 'variable store', file: this.#variables }, () => change(image))
    await writeFile(this.#variables, changed)
  }

  get #variables(): string {
    this.vm.requireOff('read or change the variables')
    const { firmware } = this.vm
    if (firmware.kind === 'pflash') return firmware.variables
    throw new UsageError('firmware by -bios keeps no variables; the scenario must need persistentVariables', {
      code: 'bad-scenario',
    })
  }
}

function pathOf(slot: Slot): string {
  return `${UKI_DIRECTORY}/${slot}.efi`
}
