import { defineScenario, foreignVtpm, REFUSED_BY_TPM, UNLOCKED_BY_TPM } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: "another VM's vTPM does not open the root",
  images: ['debian'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['offline-sealing'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 400 },
  claims: {
    control: { claim: 'control: with its own vTPM the same disk unlocks' },
    refused: { claim: "with another VM's vTPM state the root does not unlock" },
    why: { claim: 'for the reason that the sealed blob does not load into that TPM' },
    samePcrs: { claim: 'and not for another: PCR 7 and PCR 11 are the same in both boots' },
    nothingReleased: { claim: 'TPM2_Unseal succeeded with its own vTPM and never with the other' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline' })
    const own = await vm.boot()
    const control = await own.unlock()
    lab.claim('control', { expected: UNLOCKED_BY_TPM, got: control.result })
    await own.cut()

    await lab.interfere(foreignVtpm, vm)
    const other = await vm.boot()
    const attacked = await other.unlock()
    lab.claim('refused', { expected: REFUSED_BY_TPM, got: attacked.result })
    lab.claim('why', { expected: 'foreign-tpm', got: attacked.why })
    lab.claim('samePcrs', { expected: control.pcrs([7, 11]), got: attacked.pcrs([7, 11]) })
    await other.cut()
    const unseals = await vm.unsealsPerBoot()
    lab.claim('nothingReleased', {
      expected: 'some, then none',
      got: unseals,
      holds: (unseals[0] ?? 0) > 0 && unseals[1] === 0,
    })
  },
})
