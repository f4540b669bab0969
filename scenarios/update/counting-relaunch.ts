import { defineScenario, tryUpdate } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'where QEMU ends at a reset of its guest, boot counting goes on in the QEMU that follows',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    firmwareLoad: 'bios',
    image: ['offline-sealing', 'own-uki', 'ab-slots'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 400 },
  claims: {
    locked: { claim: 'the update whose PCR signature is by another key gives up on the root' },
    relaunched: { claim: 'its reset ends QEMU, and the next one boots the old slot' },
    afterLocked: { claim: 'the old slot unlocks the root, and the file name says that no try is left' },
    unsealed: { claim: 'the same vTPM released the key to the old slot, and to no other' },
    nothingTyped: { claim: 'nothing was typed' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'counting', resets: 'relaunch' })
    const locked = await tryUpdate(vm, { pcrSignedBy: 'pcr-other' })
    lab.claim('locked', {
      expected: { ending: 'gave-up', why: 'no-pcr-signature' },
      got: { ending: locked.newSlot, why: locked.boots[0]?.why },
    })
    lab.claim('relaunched', {
      expected: [
        [1, 'b'],
        [2, 'a'],
      ],
      got: locked.boots.map(({ process, slot }) => [process, slot]),
    })
    lab.claim('afterLocked', {
      expected: { oldUnlocked: [true], state: { files: ['a.efi', 'b+0-1.efi'] } },
      got: { oldUnlocked: locked.oldUnlocked, state: locked.state },
    })
    lab.claim('unsealed', { expected: [0, 1], got: await vm.unsealsPerBoot() })
    lab.claim('nothingTyped', { expected: 0, got: locked.typedBytes })
  },
})
