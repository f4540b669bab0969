import { defineScenario, rollBackVtpm, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'a vTPM state that the host rolls back: a PCR policy does not notice, an NV counter does',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['offline-sealing', 'login', 'tpm2-tools'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 900 },
  claims: {
    control: { claim: 'control: without a rollback the NV counter is what the root remembers' },
    stillOpens: { claim: 'after the rollback the root still unlocks: no PCR policy detects it' },
    detected: { claim: 'after the rollback the NV counter is behind what the root remembers' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline' })
    const first = await vm.boot()
    await first.unlock()
    const guest = await first.login()
    await guest.defineCounter()
    await guest.countUp()
    await first.powerOff()
    const old = await vm.snapshotVtpm()

    const second = await vm.boot()
    await second.unlock()
    const again = await second.login()
    lab.claim('control', { expected: await again.rememberedCount(), got: await again.readCounter() })
    await again.countUp()
    await second.powerOff()

    await lab.interfere(rollBackVtpm(old), vm)
    const third = await vm.boot()
    lab.claim('stillOpens', { expected: UNLOCKED_BY_TPM, got: (await third.unlock()).result })
    const victim = await third.login()
    const remembered = await victim.rememberedCount()
    const counter = await victim.readCounter()
    lab.claim('detected', {
      expected: `less than ${remembered}`,
      got: counter,
      holds: counter === remembered - 1,
    })
    await third.cut()
  },
})
