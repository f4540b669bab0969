import { type Boot, defineScenario, type LabGuest } from '../../harness/run/index.ts'

const EFIVARS = '/sys/firmware/efi/efivars'
const BOOT_NEXT = 'BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c'

export const scenario = defineScenario({
  title: 'with firmware for TDX guests, loaded by -bios, BootNext cannot work: a reset forgets it',
  images: ['ab'],
  // This firmware measures into no TPM, so the root opens by its recovery key.
  vtpms: ['none'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    firmwareLoad: 'bios',
    image: ['own-uki', 'ab-slots', 'login', 'recovery-key'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 400 },
  claims: {
    written: { claim: 'control: the guest writes the entry and BootNext, and reads back both' },
    gone: { claim: 'after a reset both are gone' },
    notTried: { claim: 'the slot that BootNext named was not booted: the old one was' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', {
      ...{ recoveryKey: 'enrolled', slots: 'fallback', slotCommandLine: 'attestbed.on-failure=prompt' },
    })
    await vm.slots.attachUpdate({ extraCommandLine: 'attestbed.on-failure=prompt' })
    const { firmware } = lab.variant
    const first = await vm.boot()
    const guest = await open(first)
    await guest.succeed(['update-install', 'efibootmgr'])
    lab.claim('written', {
      expected: { firmware, variables: 2 },
      got: { firmware, variables: await count(guest) },
    })
    const second = await first.reboot()
    const left = await count(await open(second))
    lab.claim('gone', { expected: { firmware, variables: 0 }, got: { firmware, variables: left } })
    await second.cut()
    lab.claim('notTried', { expected: ['a', 'a'], got: vm.timeline.boots.map(({ slot }) => slot) })
  },
})

async function open(boot: Boot): Promise<LabGuest> {
  await boot.unlock()
  await boot.typeRecoveryKey()
  return (await boot.settle()).login()
}

/** How many of the two variables of an update are there. */
async function count(guest: LabGuest): Promise<number> {
  const next = await guest.run(['test', '-e', `${EFIVARS}/${BOOT_NEXT}`])
  const entries = await guest.text(['efibootmgr'])
  return Number(next.exitCode === 0) + Number(entries.includes('slot b'))
}
