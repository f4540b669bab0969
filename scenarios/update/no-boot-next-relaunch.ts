import { defineScenario } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'with firmware for SNP guests, loaded by -bios, BootNext does not outlive QEMU',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    firmwareLoad: 'bios',
    image: ['offline-sealing', 'own-uki', 'ab-slots', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 400 },
  claims: {
    written: { claim: 'control: the guest writes the entry and BootNext, and reads back both' },
    gone: { claim: 'in a new QEMU process both are gone' },
    notTried: {
      claim: 'the slot that BootNext named was not booted: the old one was, and unlocked the root',
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'fallback' })
    await vm.slots.attachUpdate()
    const { firmware } = lab.variant
    const first = await (await vm.boot()).settle()
    const guest = await first.login()
    await guest.succeed(['update-install', 'efibootmgr'])
    const before = await guest.text(['efibootmgr'])
    lab.claim('written', { expected: { firmware, ...WRITTEN }, got: { firmware, ...variablesIn(before) } })
    await first.powerOff()
    const second = await (await vm.boot()).settle()
    const after = await (await second.login()).text(['efibootmgr'])
    lab.claim('gone', { expected: { firmware, ...GONE }, got: { firmware, ...variablesIn(after) } })
    await second.cut()
    for (const line of vm.timeline.lines) lab.note(line)
    const boot = vm.timeline.boots[1]
    lab.claim('notTried', {
      expected: { process: 2, slot: 'a', unlocked: true },
      got: { process: boot?.process, slot: boot?.slot, unlocked: boot?.unlocked },
    })
  },
})

const WRITTEN = { bootNext: true, entry: true }
const GONE = { bootNext: false, entry: false }

/** As efibootmgr lists them. */
function variablesIn(list: string): typeof WRITTEN {
  return { bootNext: list.includes('BootNext:'), entry: list.includes('slot b') }
}
