import { defineScenario, tryUpdate } from '../../harness/run/index.ts'

const BACK = { slots: ['none', 'a'], oldUnlocked: [true], state: { files: ['a.efi', 'b+0-1.efi'] } }

export const scenario = defineScenario({
  title: 'an update that the firmware does not start gives way to the old slot, by boot counting',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    image: ['offline-sealing', 'own-uki', 'ab-slots'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    wrongKey: { claim: 'systemd-boot is refused the update that a stranger signed, and says so' },
    afterWrongKey: { claim: 'the refusal moves on to the old slot, which unlocks the root (systemd#25548)' },
    control: { claim: 'control: the same update signed by our key is blessed in the same VM' },
    unsealed: { claim: 'the same vTPM released the key in every boot that opened the root, and in no other' },
    nothingTyped: { claim: 'nothing was typed' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'counting' })
    const back = ({ slots, oldUnlocked, state }: typeof stranger) => ({ slots, oldUnlocked, state })

    const stranger = await tryUpdate(vm, { signedBy: 'db-other' })
    lab.claim('wrongKey', { expected: ['Access denied'], got: stranger.refused.map(({ why }) => why) })
    lab.claim('afterWrongKey', { expected: BACK, got: back(stranger) })

    const good = await tryUpdate(vm, {})
    lab.claim('control', {
      expected: { slots: ['b'], state: { files: ['a.efi', 'b.efi'] } },
      got: { slots: good.slots, state: good.state },
    })
    const unlocked = vm.timeline.boots.map((boot) => boot.unlocked)
    const unsealed = (await vm.unsealsPerBoot()).map((count) => count > 0)
    lab.claim('unsealed', { expected: unlocked, got: unsealed })
    const typed = [stranger, good].map(({ typedBytes }) => typedBytes)
    lab.claim('nothingTyped', { expected: [0, 0], got: typed })
  },
})
