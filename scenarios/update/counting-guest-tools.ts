import { defineScenario, resetOnce } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title:
    'a guest updates itself with systemd-boot and systemd-bless-boot, and a full ESP leaves it as it was',
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
    full: { claim: 'the installation on a full ESP fails, and the UKIs are those of before' },
    afterFull: { claim: 'then the old slot unlocks the root' },
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
    const full = await (await vm.boot()).settle()
    const failed = await (await full.login()).run(['update-install', 'systemd-boot'])
    await full.cut()
    lab.claim('full', {
      expected: { exitCode: 1, state: { files: ['a.efi'] } },
      got: { exitCode: failed.exitCode, state: await vm.slots.state() },
    })
    await vm.slots.changeEsp({ kind: 'remove', path: 'fill' })
    const roomy = await (await vm.boot()).settle()
    lab.claim('afterFull', { expected: ['a', true], got: slotOf(vm.timeline.boots[1]) })
    const done = await (await roomy.login()).run(['update-install', 'systemd-boot'])
    lab.claim('installed', { expected: 0, got: done.exitCode })
    const trial = await (await roomy.reboot()).settle()
    lab.claim('tried', { expected: ['b', true], got: slotOf(vm.timeline.boots[2]) })
    const again = await resetOnce(trial)
    await again.cut()
    lab.claim('blessed', { expected: { files: ['a.efi', 'b.efi'] }, got: await vm.slots.state() })
    lab.claim('stays', { expected: ['b', true], got: slotOf(vm.timeline.boots[3]) })
    const last = await (await vm.boot()).settle()
    lab.claim('relaunched', { expected: ['b', true], got: slotOf(vm.timeline.boots[4]) })
    await last.cut()
    for (const line of vm.timeline.lines) lab.note(line)
    lab.claim('unsealed', { expected: [1, 1, 1, 1, 1], got: await vm.unsealsPerBoot() })
    const typed = [full, roomy, trial, again, last].map(({ typedBeforeReady }) => typedBeforeReady)
    lab.claim('nothingTyped', { expected: [0, 0, 0, 0, 0], got: typed })
  },
})

function slotOf(boot: { readonly slot: string; readonly unlocked: boolean } | undefined): readonly unknown[] {
  return [boot?.slot, boot?.unlocked]
}
