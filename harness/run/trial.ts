/** One update that is tried once, and what came of it. */
import type { Boot } from './boot.ts'
import { isOwnEnd } from './own-ends.ts'
import type { SlotState, SlotUki } from './slots.ts'
import type { BootEnding, BootRecord, Refusal } from './timeline.ts'
import type { ScenarioVm } from './vm.ts'

export interface Trial {
  /** Boots from the relaunch with BootNext on. */
  readonly boots: readonly BootRecord[]
  /** Slots in which an initrd ran, in order; `nothing` at the end where none came up. */
  readonly slots: readonly string[]
  /** How the first boot of the new slot ended; `refused` where the firmware never started it. */
  readonly newSlot: BootEnding | 'refused'
  /** The firmware's or the loader's refusals of the new slot, in its first boot. */
  readonly refused: readonly Refusal[]
  /** Boots of the old slot that opened the root, of those that there were; a last `false` where no slot came up. */
  readonly oldUnlocked: readonly boolean[]
  readonly state: SlotState
  /** Bytes that were typed at the console. */
  readonly typedBytes: number
}

/**
 * Offers `uki` from the host and switches the VM on; when the guest has settled, it is reset `resets` times more (default
 * 0), and then it is switched off. The VM must be off. A guest that resets for ever, panics, hangs, powers off or
 * finds nothing to boot is a result, too.
 */
export async function tryUpdate(
  vm: ScenarioVm,
  { resets = 0, ...uki }: SlotUki & { readonly resets?: number },
): Promise<Trial> {
  await vm.slots.offer(uki)
  const before = { boots: vm.timeline.boots.length, typedBytes: vm.typedBytes }
  let cameUp = true
  try {
    let boot = await (await vm.boot()).settle()
    for (let reset = 0; reset < resets; reset++) boot = await resetOnce(boot)
  } catch (error) {
    // No slot came up: that is what the claims are about.
    if (!isOwnEnd(error)) throw error
    cameUp = false
  }
  await vm.cut()
  const typedBytes = vm.typedBytes - before.typedBytes
  return describe(vm, { boots: vm.timeline.boots.slice(before.boots), typedBytes, cameUp })
}

/** Presses the reset button, and follows the guest until it has settled again. */
export async function resetOnce(boot: Boot): Promise<Boot> {
  const next = boot.afterReset({ deadlineMs: RESET_MS })
  await boot.machine.reset()
  return (await next).settle()
}

const RESET_MS = 60_000
/** An entry as the firmware names it, or a file as systemd-boot does. */
const NEW_SLOT = /"slot b"|[\\/]b(\+[\d-]+)?\.efi$/i

interface Seen extends Pick<Trial, 'boots' | 'typedBytes'> {
  readonly cameUp: boolean
}

async function describe(vm: ScenarioVm, { boots, typedBytes, cameUp }: Seen): Promise<Trial> {
  const [first] = boots
  const old = boots.filter(({ slot }) => slot === 'a')
  return {
    ...{ boots, typedBytes },
    slots: [...boots.map(({ slot }) => slot), ...(cameUp ? [] : ['nothing'])],
    newSlot: first?.slot === 'b' ? first.ending : 'refused',
    refused: first?.refused.filter(({ entry }) => NEW_SLOT.test(entry)) ?? [],
    oldUnlocked: [...old.map(({ unlocked }) => unlocked), ...(cameUp ? [] : [false])],
    state: await vm.slots.state(),
  }
}
