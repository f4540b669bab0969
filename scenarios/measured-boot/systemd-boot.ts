import {
  changeBoot,
  compareBoot,
  defineScenario,
  explainDifference,
  observeBoot,
  predictBoot,
  readMachineTables,
} from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'through systemd-boot the registers of a boot are those predicted, with both of its slots',
  images: ['micro'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['own-uki', 'login'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    first: {
      claim: 'before any boot: PCR 0, 2 to 8 and 11 to 15 are as predicted, in the TPM and by the log',
    },
    second: {
      claim:
        "over the other UKI, with the machine's tables: every register but PCR 10, the register of IMA, is as predicted",
    },
    control: {
      claim: 'control: held against a boot of the UKI without systemd-boot, PCR 4 and 5 are told apart',
    },
    named: { claim: 'and the difference of the predictions is named: the boot program and its loader.conf' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { loader: 'systemd-boot' })
    const prediction = await predictBoot(vm)
    const boot = await vm.boot()
    const guest = await boot.login()
    const observed = await observeBoot(guest)
    const registers = compareBoot(prediction, observed)
    lab.claim('first', {
      expected: [0, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15].map((index) => ({ index, verdict: 'equal' })),
      got: registers
        .filter(({ verdict }) => verdict !== 'unknown')
        .map(({ index, verdict }) => ({ index, verdict })),
    })
    for (const { index, verdict, differences } of registers)
      if (verdict !== 'equal') lab.note(`PCR ${index} ${verdict}: ${differences.join('; ')}`)
    const tables = await readMachineTables(guest)
    await boot.powerOff()

    const direct = await predictBoot(await lab.vm('without'))
    const told = compareBoot(direct, observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('control', { expected: [4, 5], got: told.map(({ index }) => index) })
    lab.claim('named', {
      expected: ['pcr4: systemd-boot', 'pcr5: loader.conf, 10 bytes'],
      got: explainDifference(direct, prediction).filter((line) => !line.startsWith('pcr5: partition table')),
    })

    await changeBoot(vm, { version: '2' })
    const other = await predictBoot(vm, tables)
    const second = await vm.boot()
    const again = compareBoot(other, await observeBoot(await second.login()))
    lab.claim('second', {
      expected: [],
      got: again.filter(({ index, verdict }) => verdict !== 'equal' && index !== 10),
    })
    await second.powerOff()
  },
})
