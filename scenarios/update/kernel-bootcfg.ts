import { defineScenario } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: "a guest updates itself with virt-firmware's kernel-bootcfg",
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: true,
    image: ['offline-sealing', 'own-uki', 'ab-slots', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    before: { claim: 'control: the old slot boots before the update' },
    installed: { claim: 'the installation with kernel-bootcfg --add-uki --once ends without an error' },
    once: { claim: 'kernel-bootcfg --add-uki --once: the new slot boots next and unlocks the root' },
    confirmed: { claim: 'kernel-bootcfg --boot-ok: it is the default from then on' },
    unsealed: { claim: 'the same vTPM released the key in every boot' },
    nothingTyped: { claim: 'nothing was typed before the userland was ready' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next' })
    await vm.slots.attachUpdate({ extraCommandLine: 'attestbed.confirm=kernel-bootcfg' })
    const old = await (await vm.boot()).settle()
    lab.claim('before', { expected: ['a'], got: vm.timeline.boots.map(({ slot }) => slot) })
    const installed = await (await old.login()).run(['update-install', 'kernel-bootcfg'], {
      timeoutMs: 180_000,
    })
    lab.claim('installed', { expected: 0, got: installed.exitCode })
    const trial = await (await old.reboot()).settle()
    const tried = vm.timeline.boots[1]
    lab.claim('once', { expected: ['b', true], got: [tried?.slot, tried?.unlocked] })
    await trial.cut()
    lab.claim('confirmed', { expected: { order: ['b', 'a'], next: 'none' }, got: await vm.slots.state() })
    lab.claim('unsealed', { expected: [1, 1], got: await vm.unsealsPerBoot() })
    const typed = [old, trial].map(({ typedBeforeReady }) => typedBeforeReady)
    lab.claim('nothingTyped', { expected: [0, 0], got: typed })
  },
})
