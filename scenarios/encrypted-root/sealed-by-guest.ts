import { defineScenario, REFUSED_BY_TPM, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'the guest seals its root itself at its first boot, opened with a recovery key',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    image: ['luks-root', 'recovery-key', 'login', 'tpm2-tools'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 900 },
  claims: {
    closed: { claim: 'before anything is sealed, the root does not open by itself' },
    unsealedBefore: { claim: 'control: the header of the root has no TPM2 token before' },
    opened: { claim: 'the recovery key opens it at the first boot' },
    sealed: { claim: 'the guest seals the root to its vTPM' },
    afterReboot: { claim: 'it unlocks from the vTPM after a reboot of the guest' },
    afterRelaunch: { claim: 'it unlocks from the vTPM in a new QEMU process with the same vTPM state' },
    nothingTyped: { claim: 'nothing was typed at the console at the later boots before the root was open' },
    unsealed: { claim: 'TPM2_Unseal succeeded at the later boots, and only at those' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { recoveryKey: 'enrolled' })

    const first = await vm.boot()
    const unlock = await first.unlock()
    const { result, asksForKey } = unlock
    lab.claim('closed', {
      expected: { result: REFUSED_BY_TPM, asksForKey: true },
      got: { result, asksForKey },
    })
    lab.claim('opened', {
      expected: 'unlocked-by-key',
      got: (await first.typeRecoveryKey()).result,
    })
    const guest = await first.login()
    // The reason by the header itself: the words on the console are those of our own initrd.
    lab.claim('unsealedBefore', { expected: 0, got: await guest.tpm2Tokens() })
    await guest.sealRoot({ recoveryKey: vm.recoveryKey, pcrs: '7' })
    lab.claim('sealed', { expected: 1, got: await guest.tpm2Tokens() })
    await first.powerOff()

    const second = await vm.boot()
    lab.claim('afterRelaunch', { expected: UNLOCKED_BY_TPM, got: (await second.unlock()).result })
    const typed = [second.typedBytes]
    await second.login()
    const third = await second.reboot()
    lab.claim('afterReboot', { expected: UNLOCKED_BY_TPM, got: (await third.unlock()).result })
    typed.push(third.typedBytes)
    lab.claim('nothingTyped', { expected: [0, 0], got: typed })
    await third.cut()
    const unseals = await vm.unsealsPerBoot()
    lab.claim('unsealed', {
      expected: 'none, then some, then some',
      got: unseals,
      holds: unseals.length === 3 && unseals[0] === 0 && unseals.slice(1).every((count) => count > 0),
    })
  },
})
