import {
  compareBoot,
  defineScenario,
  observeBoot,
  predictBoot,
  readMachineTables,
} from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'without Secure Boot the registers of a boot are those predicted from its materials',
  images: ['micro'],
  vtpms: ['stateful'],
  needs: { secureBoot: false, persistentVariables: true, image: ['own-uki', 'login'] },
  budget: { vcpus: 1, memoryMiB: 768, seconds: 500 },
  claims: {
    off: { claim: 'the prediction says that Secure Boot is not enforced, and so does the guest' },
    first: {
      claim: 'before any boot: PCR 0, 2 to 8 and 11 to 15 are as predicted, in the TPM and by the log',
    },
    second: { claim: "after one boot, with the machine's tables: PCR 1 and 9 are as predicted, too" },
    memory: { claim: 'control: with other tables than the machine has, PCR 1 is told apart, and no other' },
  },
  run: async (lab) => {
    // Also on firmware that could: what enforces is a key.
    const vm = await lab.vm('owner', { keys: 'none' })
    const before = await predictBoot(vm)
    const first = await vm.boot()
    const guest = await first.login()
    const off = { predicted: before.secureBoot, guest: await guest.secureBoot() }
    lab.claim('off', { expected: { predicted: false, guest: false }, got: off })
    const registers = compareBoot(before, await observeBoot(guest))
    lab.claim('first', {
      expected: [0, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15].map((index) => ({ index, verdict: 'equal' })),
      got: registers
        .filter(({ verdict }) => verdict !== 'unknown')
        .map(({ index, verdict }) => ({ index, verdict })),
    })
    const tables = await readMachineTables(guest)
    await first.powerOff()

    const prediction = await predictBoot(vm, tables)
    const other = { ...tables, smbios: Buffer.from(tables.smbios) }
    // A letter in the name of the system's maker.
    const name = other.smbios.indexOf('QEMU')
    other.smbios.write('q', name)
    const control = await predictBoot(vm, other)
    const second = await vm.boot()
    const observed = await observeBoot(await second.login())
    const wrong = compareBoot(prediction, observed).filter(
      ({ index, verdict }) => verdict !== 'equal' && index !== 10,
    )
    lab.claim('second', { expected: [], got: wrong })
    const told = compareBoot(control, observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('memory', { expected: [1], got: told.map(({ index }) => index) })
    await second.powerOff()
  },
})
