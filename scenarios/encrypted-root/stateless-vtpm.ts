import { defineScenario, REFUSED_BY_TPM, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'with a vTPM that is new at every boot the root stays closed, and the recovery key opens it',
  images: ['debian'],
  vtpms: ['stateless'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    image: ['offline-sealing', 'recovery-key', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 600 },
  claims: {
    control: { claim: 'control: with the vTPM that it was sealed to the same disk unlocks' },
    refused: { claim: 'the root does not unlock from a vTPM that is not the one it was sealed to' },
    why: { claim: 'the console says why: the sealed blob does not load into this TPM' },
    nothingReleased: { claim: 'no secret is released: TPM2_Unseal succeeded in the control only' },
    asked: { claim: 'the initrd asks for the recovery key instead of giving up' },
    opened: { claim: 'the recovery key opens it' },
  },
  run: async (lab) => {
    // The seal is to the SRK of a vTPM that existed once; every boot gets another one, as a host that
    // keeps no vTPM state gives its guests.
    const vm = await lab.vm('owner', { seal: 'offline', recoveryKey: 'enrolled' })

    const control = await vm.boot({ vtpm: 'sealed-to' })
    lab.claim('control', { expected: UNLOCKED_BY_TPM, got: (await control.unlock()).result })
    await control.cut()

    const boot = await vm.boot()
    const unlock = await boot.unlock()
    lab.claim('refused', { expected: REFUSED_BY_TPM, got: unlock.result })
    lab.claim('why', { expected: 'foreign-tpm', got: unlock.why })
    lab.claim('asked', { expected: true, got: unlock.asksForKey })
    lab.claim('opened', {
      expected: 'unlocked-by-key',
      got: (await boot.typeRecoveryKey()).result,
    })
    await boot.login()
    await boot.powerOff()
    lab.claim('nothingReleased', { expected: [1, 0], got: await vm.unsealsPerBoot() })
  },
})
