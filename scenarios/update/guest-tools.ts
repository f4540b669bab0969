import { defineScenario } from '../../harness/run/index.ts'

const MAKE_ROOM = ['sh', '-c', '. /usr/lib/attestbed/guest.sh; esp; rm /efi/fill; sync']

export const scenario = defineScenario({
  title: 'a guest updates itself with efibootmgr, and a full ESP leaves it as it was',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: true,
    image: ['offline-sealing', 'own-uki', 'ab-slots', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    full: { claim: 'the installation on a full ESP fails while it copies: no space is left' },
    untouched: { claim: 'the UKIs on the ESP are those of before, and the firmware tries nothing' },
    afterFull: { claim: 'then the old slot, on the ESP that is still full, unlocks the root' },
    control: { claim: 'control: with room on the ESP the same installation succeeds' },
    tried: { claim: 'the new slot boots next and unlocks the root' },
    madeDefault: { claim: 'it is the default from then on, and BootNext is gone' },
    unsealed: { claim: 'the same vTPM released the key in every boot' },
    nothingTyped: { claim: 'nothing was typed before the userland was ready' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next' })
    await vm.slots.attachUpdate()
    await vm.slots.fillEsp({ leaving: 8 << 20 })
    const before = ukisOn(await vm.slots.esp())

    const full = await (await vm.boot()).settle()
    const typed = [full.typedBeforeReady]
    const failed = await (await full.login()).run(['update-install', 'efibootmgr'])
    lab.claim('full', {
      expected: { exitCode: 1, noSpace: true },
      got: { exitCode: failed.exitCode, noSpace: /No space left/.test(failed.stderr.toString()) },
    })
    await full.cut()
    const after = ukisOn(await vm.slots.esp())
    lab.claim('untouched', {
      expected: { files: before, state: { order: ['a'], next: 'none' } },
      got: { files: after, state: await vm.slots.state() },
    })
    const roomy = await (await vm.boot()).settle()
    typed.push(roomy.typedBeforeReady)
    lab.claim('afterFull', { expected: ['a', true], got: slotOf(vm.timeline.boots[1]) })
    const guest = await roomy.login()
    await guest.succeed(MAKE_ROOM)
    const done = await guest.run(['update-install', 'efibootmgr'])
    lab.claim('control', { expected: 0, got: done.exitCode })
    const trial = await (await roomy.reboot()).settle()
    typed.push(trial.typedBeforeReady)
    lab.claim('tried', { expected: ['b', true], got: slotOf(vm.timeline.boots[2]) })
    await trial.cut()
    lab.claim('madeDefault', {
      expected: { order: ['b', 'a'], next: 'none' },
      got: await vm.slots.state(),
    })
    lab.claim('unsealed', { expected: [1, 1, 1], got: await vm.unsealsPerBoot() })
    lab.claim('nothingTyped', { expected: [0, 0, 0], got: typed })
  },
})

function slotOf(boot: { readonly slot: string; readonly unlocked: boolean } | undefined): readonly unknown[] {
  return [boot?.slot, boot?.unlocked]
}

/** systemd-stub keeps files of its own in `loader/`. */
function ukisOn({
  entries,
}: {
  readonly entries: readonly { readonly path: string; readonly size: number }[]
}) {
  return entries
    .filter(({ path }) => path.startsWith('EFI/Linux/'))
    .map(({ path, size }) => `${path} ${size}`)
}
