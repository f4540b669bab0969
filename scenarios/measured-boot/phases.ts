import { compareBoot, defineScenario, observeBoot, predictBoot } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'PCR 11 of a booted Debian is the UKI and the phases that it went through, as predicted',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['own-uki', 'login', 'luks-root'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 500 },
  claims: {
    phases: { claim: 'PCR 11 is as predicted with the two phases of the initrd' },
    control: { claim: 'control: with one phase less it is told apart' },
    others: {
      claim: 'PCR 0, 2 to 7, 12 and 13 are as predicted, before any boot, on a disk of three partitions',
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { recoveryKey: 'if-encrypted' })
    const prediction = await predictBoot(vm, { phases: ['enter-initrd', 'leave-initrd'] })
    const less = await predictBoot(vm, { phases: ['enter-initrd'] })
    const boot = await vm.boot()
    const observed = await observeBoot(await boot.login())
    const verdicts = compareBoot(prediction, observed).map(({ verdict }) => verdict)
    lab.claim('phases', { expected: 'equal', got: verdicts[11] })
    lab.claim('control', { expected: 'different', got: compareBoot(less, observed)[11]?.verdict })
    const others = [0, 2, 3, 4, 5, 6, 7, 12, 13]
    lab.claim('others', {
      expected: others.map((index) => `${index}: equal`),
      got: others.map((index) => `${index}: ${verdicts[index]}`),
    })
    await boot.cut()
  },
})
