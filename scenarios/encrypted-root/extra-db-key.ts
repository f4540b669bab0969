import { defineScenario, extraDbKey, REFUSED_BY_TPM, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'another key in db changes PCR 7, and the root stays closed',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    image: ['luks-root', 'recovery-key', 'login', 'tpm2-tools', 'own-uki'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 900 },
  claims: {
    control: { claim: 'control: sealed to PCR 7 and with db unchanged, the root unlocks' },
    refused: { claim: 'with one more key in db the root does not unlock' },
    why: { claim: 'for the reason that the TPM policy does not match the system state' },
    pcr7: { claim: 'PCR 7 changed' },
    pcr11: { claim: 'and nothing else of the policy did: PCR 11 is the same' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { recoveryKey: 'enrolled' })
    const first = await vm.boot()
    await first.unlock()
    await first.typeRecoveryKey()
    const guest = await first.login()
    await guest.sealRoot({ recoveryKey: vm.recoveryKey, pcrs: '7' })
    await first.powerOff()

    const second = await vm.boot()
    const control = await second.unlock()
    lab.claim('control', { expected: UNLOCKED_BY_TPM, got: control.result })
    await second.cut()

    await lab.interfere(extraDbKey, vm)
    const third = await vm.boot()
    const attacked = await third.unlock()
    lab.claim('refused', { expected: REFUSED_BY_TPM, got: attacked.result })
    lab.claim('why', { expected: 'policy-mismatch', got: attacked.why })
    lab.claim('pcr7', {
      expected: `not ${control.pcr(7)}`,
      got: attacked.pcr(7),
      holds: attacked.pcr(7) !== control.pcr(7),
    })
    lab.claim('pcr11', { expected: control.pcr(11), got: attacked.pcr(11) })
    await third.cut()
  },
})
