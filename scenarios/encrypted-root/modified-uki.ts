import { defineScenario, modifiedUki, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'a UKI with one byte changed is refused by the firmware',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['offline-sealing', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 300 },
  claims: {
    control: { claim: 'control: the UKI as it was signed boots and the root unlocks' },
    refused: { claim: 'with one byte of its initrd changed the firmware refuses the UKI' },
    why: { claim: 'for the reason that its signature does not verify: Access Denied' },
    neverRan: { claim: 'no byte of the kernel or the initrd ran: neither wrote to the console' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline' })
    const first = await vm.boot()
    lab.claim('control', { expected: UNLOCKED_BY_TPM, got: (await first.unlock()).result })
    await first.cut()

    await lab.interfere(modifiedUki, vm)
    const second = await vm.boot()
    const attacked = await second.unlock()
    lab.claim('refused', { expected: 'firmware-refused', got: attacked.result })
    lab.claim('why', { expected: 'access-denied', got: attacked.why })
    lab.claim('neverRan', { expected: false, got: second.reachedKernel })
    await second.cut()
  },
})
