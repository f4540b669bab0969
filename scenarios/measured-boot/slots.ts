import {
  compareBoot,
  defineScenario,
  explainDifference,
  observeBoot,
  predictBoot,
  readMachineTables,
  type ScenarioVm,
} from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title:
    'slot A by its boot entry, slot B by BootNext, and A again: the registers of each are those predicted',
  images: ['micro'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: true, image: ['own-uki', 'login'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 900 },
  claims: {
    a: { claim: 'slot A, before any boot: PCR 0, 2 to 8 and 11 to 15 are as predicted' },
    b: {
      claim: 'slot B, tried by BootNext: every register but PCR 10, the register of IMA, is as predicted',
    },
    back: { claim: 'slot A again, by the boot order: every register but PCR 10 is as predicted' },
    control: { claim: 'control: held against the other slot, PCR 4, 9 and 11 are told apart, and no other' },
    named: {
      claim: 'and the difference of the predictions is named: command line and os-release of the UKIs',
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { slots: 'boot-next' })
    const before = await predictBoot(vm)
    const first = await vm.boot()
    const guest = await first.login()
    lab.claim('a', {
      expected: [0, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15].map((index) => ({ index, verdict: 'equal' })),
      got: compareBoot(before, await observeBoot(guest))
        .filter(({ verdict }) => verdict !== 'unknown')
        .map(({ index, verdict }) => ({ index, verdict })),
    })
    const tables = await readMachineTables(guest)
    await first.powerOff()

    await vm.slots.offer({})
    const slotB = await predictBoot(vm, { ...tables, uki: await vm.slots.build('b') })
    const slotA = await predictBoot(vm, tables)
    const observed = await observe(vm)
    lab.claim('b', allEqual(slotB, observed))
    const told = compareBoot(slotA, observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('control', { expected: [4, 9, 11], got: told.map(({ index }) => index) })
    lab.claim('named', {
      expected: [
        'pcr4: UKI',
        'pcr11: section .osrel',
        'pcr11: section .cmdline',
        'pcr9: command line',
        'pcr9: initrd',
      ],
      got: explainDifference(slotA, slotB).map(
        (line) => /^pcr\d+: (\w+ [.]\w+|command line|\w+)/.exec(line)?.[0],
      ),
    })

    const back = await predictBoot(vm, tables)
    lab.claim('back', allEqual(back, await observe(vm)))
  },
})

async function observe(vm: ScenarioVm) {
  const boot = await vm.boot()
  const observed = await observeBoot(await boot.login())
  await boot.powerOff()
  return observed
}

type Registers = Parameters<typeof compareBoot>

function allEqual(prediction: Registers[0], observed: Registers[1]) {
  const wrong = compareBoot(prediction, observed).filter(
    ({ index, verdict }) => verdict !== 'equal' && index !== 10,
  )
  return { expected: [], got: wrong }
}
