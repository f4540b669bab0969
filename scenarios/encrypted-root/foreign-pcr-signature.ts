import {
  defineScenario,
  foreignPcrSignature,
  REFUSED_BY_TPM,
  UNLOCKED_BY_TPM,
} from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'a UKI whose PCR signature is by another key boots, and the root stays closed',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['offline-sealing', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 400 },
  claims: {
    control: { claim: 'control: with the PCR signature of the right key the root unlocks' },
    refused: { claim: 'with a PCR signature by another key the root does not unlock' },
    why: { claim: 'for the reason that no signature by the enrolled key covers PCR 11' },
    booted: { claim: 'and not for another: the firmware accepted the UKI and PCR 7 is the same' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline' })
    const first = await vm.boot()
    const control = await first.unlock()
    lab.claim('control', { expected: UNLOCKED_BY_TPM, got: control.result })
    await first.cut()

    await lab.interfere(foreignPcrSignature, vm)
    const second = await vm.boot()
    const attacked = await second.unlock()
    lab.claim('refused', { expected: REFUSED_BY_TPM, got: attacked.result })
    lab.claim('why', { expected: 'no-pcr-signature', got: attacked.why })
    lab.claim('booted', { expected: control.pcr(7), got: attacked.pcr(7) })
    await second.cut()
  },
})
