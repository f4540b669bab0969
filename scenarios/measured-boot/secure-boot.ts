import {
  changeBoot,
  compareBoot,
  defineScenario,
  explainDifference,
  type Lab,
  type MachineTables,
  observeBoot,
  predictBoot,
  readMachineTables,
  type ScenarioVm,
} from '../../harness/run/index.ts'

const ALL = 'every register but PCR 10, the register of IMA'

export const scenario = defineScenario({
  title:
    'with Secure Boot the registers of a boot are those predicted from its materials, and a change shows where it should',
  images: ['micro'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['own-uki', 'login'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 900 },
  claims: {
    first: {
      claim: 'before any boot: PCR 0, 2 to 8 and 11 to 15 are as predicted, in the TPM and by the log',
    },
    why: { claim: 'PCR 1, 9 and 10 are not predicted then, and for each the reason is said' },
    second: { claim: `after one boot, with the machine's tables: ${ALL} is as predicted` },
    b: { claim: `over another UKI: ${ALL} is as predicted` },
    control: { claim: 'control: held against the other UKI, PCR 4, 9 and 11 are told apart, and no other' },
    named: {
      claim: 'and the difference of the predictions is named: the os-release, nothing else of the UKI',
    },
    addon: { claim: `with an addon: ${ALL} is as predicted` },
    addonNamed: {
      claim: 'and the addon shows as an image in PCR 4, and by its command line in PCR 9 and 12',
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner')
    const tables = await claimFirst(lab, vm)
    const a = await predictBoot(vm, tables)
    const second = compareBoot(a, await observe(vm))
    lab.claim('second', allEqual(second))

    await changeBoot(vm, { version: '2' })
    const b = await predictBoot(vm, tables)
    const observedB = await observe(vm)
    lab.claim('b', allEqual(compareBoot(b, observedB)))
    const different = compareBoot(a, observedB).filter(({ verdict }) => verdict === 'different')
    lab.claim('control', { expected: [4, 9, 11], got: different.map(({ index }) => index) })
    lab.claim('named', {
      expected: [
        'pcr4: UKI',
        'pcr11: section .osrel, 75 bytes',
        'pcr9: initrd, with what the stub adds to it',
      ],
      got: explainDifference(a, b),
    })

    await changeBoot(vm, { addonCommandLine: 'attestbed.addon=1' })
    const withAddon = await predictBoot(vm, tables)
    lab.claim('addon', allEqual(compareBoot(withAddon, await observe(vm))))
    lab.claim('addonNamed', {
      expected: [
        'pcr4: addon attestbed.addon.efi',
        'pcr12: command line of addons: "attestbed.addon=1"',
        'pcr9: command line "console=ttyS0 quiet attestbed.addon=1"',
      ],
      got: explainDifference(b, withAddon),
    })
  },
})

async function claimFirst(lab: Lab<'first' | 'why'>, vm: ScenarioVm): Promise<MachineTables> {
  const prediction = await predictBoot(vm)
  const boot = await vm.boot()
  const guest = await boot.login()
  const registers = compareBoot(prediction, await observeBoot(guest))
  const predicted = registers.filter(({ verdict }) => verdict !== 'unknown')
  lab.claim('first', {
    expected: [0, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15].map((index) => ({ index, verdict: 'equal' })),
    got: predicted.map(({ index, verdict }) => ({ index, verdict })),
  })
  const unknown = registers.filter(({ verdict }) => verdict === 'unknown')
  lab.claim('why', {
    expected: "PCR 1 for the machine's tables, PCR 9 for the boot secret, PCR 10 for IMA",
    got: unknown.map(({ index, differences }) => `${index}: ${differences[0]}`),
    holds:
      unknown.map(({ index }) => index).join() === '1,9,10' &&
      [/ACPI/, /boot secret/, /IMA/].every((why, index) => why.test(unknown[index]?.differences[0] ?? '')),
  })
  const tables = await readMachineTables(guest)
  await boot.powerOff()
  return tables
}

async function observe(vm: ScenarioVm) {
  const boot = await vm.boot()
  const observed = await observeBoot(await boot.login())
  await boot.powerOff()
  return observed
}

function allEqual(registers: ReturnType<typeof compareBoot>) {
  const wrong = registers.filter(({ index, verdict }) => verdict !== 'equal' && index !== 10)
  return { expected: [], got: wrong }
}
