import { defineScenario, type LabGuest, resetOnce } from '../../harness/run/index.ts'

const MAKE_ROOM = ['sh', '-c', '. /usr/lib/attestbed/guest.sh; esp; rm /efi/fill; sync']

export const scenario = defineScenario({
  title:
    'where variables are in memory, a guest updates itself with systemd-boot, and a full ESP leaves it as it was',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    firmwareLoad: 'bios',
    image: ['offline-sealing', 'own-uki', 'ab-slots', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    full: {
      claim: 'the installation on a full ESP fails for want of space, and the UKIs are those of before',
    },
    afterFull: { claim: 'then the old slot, on the ESP that is still full, unlocks the root' },
    written: {
      claim: 'control: the guest writes a boot entry and BootNext, and reads back both',
    },
    reset: {
      claim:
        'after a reset in the same QEMU process its memory still holds the entry, and BootNext was followed and is gone',
    },
    gone: { claim: 'in the next QEMU process, of the same firmware, the entry is gone as well' },
    installed: { claim: 'control: with room on the ESP the same installation succeeds' },
    tried: { claim: 'the new slot boots next and unlocks the root' },
    blessed: { claim: 'systemd-bless-boot takes the counter off its name' },
    stays: { claim: 'it boots again after a reset' },
    relaunched: { claim: 'it boots again in a new QEMU process, without any variable kept' },
    unsealed: { claim: 'the same vTPM released the key in every boot' },
    nothingTyped: { claim: 'nothing was typed before the userland was ready' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'counting' })
    await vm.slots.attachUpdate()
    await vm.slots.fillEsp({ leaving: 8 << 20 })
    const { firmware } = lab.variant
    const full = await (await vm.boot()).settle()
    const guest = await full.login()
    const failed = await guest.run(['update-install', 'systemd-boot'])
    const number = await writeBootNext(guest)
    const variables = async (reader: LabGuest) => ({ firmware, ...(await written(reader, number)) })
    lab.claim('written', { expected: { firmware, ...WRITTEN }, got: await variables(guest) })
    const followed = await (await full.reboot()).settle()
    lab.claim('reset', {
      expected: { firmware, ...FOLLOWED },
      got: await variables(await followed.login()),
    })
    await followed.cut()
    lab.claim('full', {
      expected: { exitCode: 1, noSpace: true, state: { files: ['a.efi'] } },
      got: {
        exitCode: failed.exitCode,
        noSpace: /No space left/.test(failed.stderr.toString()),
        state: await vm.slots.state(),
      },
    })
    const roomy = await (await vm.boot()).settle()
    lab.claim('afterFull', { expected: ['a', true], got: slotOf(vm.timeline.boots[2]) })
    const again = await roomy.login()
    lab.claim('gone', { expected: { firmware, ...GONE }, got: await variables(again) })
    await again.succeed(MAKE_ROOM)
    const done = await again.run(['update-install', 'systemd-boot'])
    lab.claim('installed', { expected: 0, got: done.exitCode })
    const trial = await (await roomy.reboot()).settle()
    lab.claim('tried', { expected: ['b', true], got: slotOf(vm.timeline.boots[3]) })
    const reset = await resetOnce(trial)
    await reset.cut()
    lab.claim('blessed', { expected: { files: ['a.efi', 'b.efi'] }, got: await vm.slots.state() })
    lab.claim('stays', { expected: ['b', true], got: slotOf(vm.timeline.boots[4]) })
    const last = await (await vm.boot()).settle()
    lab.claim('relaunched', { expected: ['b', true], got: slotOf(vm.timeline.boots[5]) })
    await last.cut()
    lab.claim('unsealed', { expected: [1, 1, 1, 1, 1, 1], got: await vm.unsealsPerBoot() })
    const typed = [full, followed, roomy, trial, reset, last].map(({ typedBeforeReady }) => typedBeforeReady)
    lab.claim('nothingTyped', { expected: [0, 0, 0, 0, 0, 0], got: typed })
  },
})

const LABEL = 'by BootNext'
const WRITTEN = { bootNext: true, entry: true, booted: false }
const FOLLOWED = { bootNext: false, entry: true, booted: true }
const GONE = { bootNext: false, entry: false, booted: false }

/** Returns the number of its entry, which is one that the firmware has not given to its own. */
async function writeBootNext(guest: LabGuest): Promise<string> {
  const place = ['-d', '/dev/vda', '-p', '1', '-l', '\\EFI\\Linux\\a.efi']
  await guest.succeed(['efibootmgr', '-q', '-C', '-L', LABEL, ...place])
  const [, number = ''] = ENTRY.exec(await guest.text(['efibootmgr'])) ?? []
  await guest.succeed(['efibootmgr', '-q', '-n', number])
  return number
}

const ENTRY = /^Boot([0-9A-F]{4})\*? by BootNext\b/m

/** As efibootmgr lists them; `booted`: what runs is what the entry of this number named. */
async function written(guest: LabGuest, number: string): Promise<typeof WRITTEN> {
  const list = await guest.text(['efibootmgr'])
  const [, current] = /^BootCurrent: ([0-9A-F]{4})$/m.exec(list) ?? []
  return { bootNext: /^BootNext:/m.test(list), entry: ENTRY.test(list), booted: current === number }
}

function slotOf(boot: { readonly slot: string; readonly unlocked: boolean } | undefined): readonly unknown[] {
  return [boot?.slot, boot?.unlocked]
}
