import { defineScenario, tryUpdate } from '../../harness/run/index.ts'

const BACK = { slots: ['a'], oldUnlocked: [true], state: { order: ['a'], next: 'none' } }

export const scenario = defineScenario({
  title: 'an update that the firmware does not start gives way to the old slot in the same boot, by BootNext',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: true, image: ['offline-sealing', 'own-uki', 'ab-slots'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 900 },
  claims: {
    wrongKey: { claim: 'the firmware refuses the update that a stranger signed, with Access Denied' },
    afterWrongKey: {
      claim: 'then the old slot unlocks the root, and nothing is left that would try the new one again',
    },
    truncated: {
      claim:
        'the firmware refuses the update of which half is missing, in the words for a bad signature: its own lay behind the cut',
    },
    afterTruncated: {
      claim: 'then the old slot unlocks the root, and nothing is left that would try the new one again',
    },
    control: { claim: 'control: the same update whole and well signed becomes the default in the same VM' },
    unsealed: { claim: 'the same vTPM released the key in every boot' },
    nothingTyped: { claim: 'nothing was typed' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next' })
    const back = ({ slots, oldUnlocked, state }: typeof stranger) => ({ slots, oldUnlocked, state })

    const stranger = await tryUpdate(vm, { signedBy: 'db-other' })
    lab.claim('wrongKey', { expected: ['Access Denied'], got: stranger.refused.map(({ why }) => why) })
    lab.claim('afterWrongKey', { expected: BACK, got: back(stranger) })

    const half = await tryUpdate(vm, { truncatedTo: 0.5 })
    lab.claim('truncated', { expected: ['Access Denied'], got: half.refused.map(({ why }) => why) })
    lab.claim('afterTruncated', { expected: BACK, got: back(half) })

    const good = await tryUpdate(vm, {})
    lab.claim('control', {
      expected: { slots: ['b'], state: { order: ['b', 'a'], next: 'none' } },
      got: { slots: good.slots, state: good.state },
    })
    const unseals = await vm.unsealsPerBoot()
    lab.claim('unsealed', {
      expected: 'a success at each of 3 boots',
      got: unseals,
      holds: unseals.length === 3 && unseals.every((count) => count > 0),
    })
    const typed = [stranger, half, good].map(({ typedBytes }) => typedBytes)
    lab.claim('nothingTyped', { expected: [0, 0, 0], got: typed })
  },
})
