import { defineScenario, freshCanary, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'sealed offline to the SRK of its own vTPM, the root opens at every boot',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    image: ['offline-sealing', 'login', 'plain-partition'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 900 },
  claims: {
    firstBoot: { claim: 'the root unlocks from the vTPM at the first boot' },
    afterReboot: { claim: 'it unlocks again after a reboot of the guest' },
    afterRelaunch: { claim: 'it unlocks again in a new QEMU process with the same vTPM state' },
    unsealed: { claim: 'the vTPM released the key: TPM2_Unseal succeeded at every boot' },
    nothingTyped: { claim: 'nothing was typed at the console before the root was open' },
    encrypted: { claim: 'the running root is dm-crypt on a LUKS2 partition' },
    secureBoot: { claim: 'the guest booted with Secure Boot enforced' },
    canaryHidden: { claim: 'a canary written to the root is not on the host disk in clear' },
    canaryControl: {
      claim: 'control: the same canary on an unencrypted partition is found by the same search',
    },
    memoryControl: { claim: 'control: the same search of the guest memory finds what the guest shared' },
    memoryHidden: { claim: 'the host does not find the canary in the guest memory', requires: 'hardware' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline' })

    const first = await vm.boot()
    lab.claim('firstBoot', { expected: UNLOCKED_BY_TPM, got: (await first.unlock()).result })
    const typed = [first.typedBytes]
    const guest = await first.login()
    lab.claim('encrypted', { expected: 'LUKS2', got: await guest.rootEncryption() })
    lab.claim('secureBoot', { expected: true, got: await guest.secureBoot() })

    const rebooted = await first.reboot()
    lab.claim('afterReboot', { expected: UNLOCKED_BY_TPM, got: (await rebooted.unlock()).result })
    typed.push(rebooted.typedBytes)
    await rebooted.powerOff()

    const relaunched = await vm.boot()
    lab.claim('afterRelaunch', { expected: UNLOCKED_BY_TPM, got: (await relaunched.unlock()).result })
    typed.push(relaunched.typedBytes)
    lab.claim('nothingTyped', { expected: [0, 0, 0], got: typed })

    const secret = freshCanary()
    const open = freshCanary()
    const inside = await relaunched.login()
    await inside.writeFile('/root/canary', secret.repeated)
    await inside.mountPlain('/mnt')
    await inside.writeFile('/mnt/canary', open.repeated)
    await inside.succeed(['sync'])
    const shared = await relaunched.findInMemory(open)
    lab.claim('memoryControl', { expected: 'at least 1', got: shared, holds: shared > 0 })
    lab.claim('memoryHidden', { expected: 0, got: await relaunched.findInMemory(secret) })
    await relaunched.powerOff()

    lab.claim('canaryHidden', { expected: 0, got: await vm.findOnDisk(secret) })
    const found = await vm.findOnDisk(open)
    lab.claim('canaryControl', { expected: 'at least 1', got: found, holds: found > 0 })
    const unseals = await vm.unsealsPerBoot()
    lab.claim('unsealed', {
      expected: 'a success at each of 3 boots',
      got: unseals,
      holds: unseals.length === 3 && unseals.every((count) => count > 0),
    })
  },
})
