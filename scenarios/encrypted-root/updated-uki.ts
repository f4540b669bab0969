import { defineScenario, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'a UKI updated and signed by the right keys opens the root without sealing again',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['offline-sealing', 'own-uki', 'login'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 500 },
  claims: {
    before: { claim: 'the root unlocks with the first UKI' },
    after: { claim: 'the root unlocks with the updated UKI' },
    updated: { claim: 'it really is the updated one that runs: its command line says so' },
    pcr11: { claim: 'PCR 11 changed with it, so it was the signed policy that opened the root' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline' })
    const first = await vm.boot()
    const before = await first.unlock()
    lab.claim('before', { expected: UNLOCKED_BY_TPM, got: before.result })
    await first.cut()

    await vm.installUki({ extraCommandLine: 'attestbed.generation=2' })
    const second = await vm.boot()
    const after = await second.unlock()
    lab.claim('after', { expected: UNLOCKED_BY_TPM, got: after.result })
    lab.claim('pcr11', {
      expected: `not ${before.pcr(11)}`,
      got: after.pcr(11),
      holds: after.pcr(11) !== before.pcr(11),
    })
    const guest = await second.login()
    const commandLine = await guest.commandLine()
    lab.claim('updated', {
      expected: 'attestbed.generation=2 in the command line',
      got: commandLine,
      holds: commandLine.split(' ').includes('attestbed.generation=2'),
    })
    await second.cut()
  },
})
