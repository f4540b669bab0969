import {
  awaitRefusal,
  compareBoot,
  defineScenario,
  explainDifference,
  observeBoot,
  predictBoot,
  readMachineTables,
} from '../../harness/run/index.ts'

/** What a refusal is: shim's words, no other boot program, and no kernel. */
const REFUSED = {
  words: 'Verification failed: (0x1A) Security Violation',
  waits: true,
  firmware: 'BdsDxe: failed to start',
  reachedKernel: false,
}

export const scenario = defineScenario({
  title:
    "Debian's shim boots a UKI whose certificate is enrolled as MOK and no other, and the registers are those predicted",
  images: ['micro'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: true,
    firmwareKeys: 'microsoft',
    image: ['own-uki', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 900 },
  claims: {
    booted: {
      claim:
        'under firmware with the keys of Microsoft alone, shim boots the UKI, and Secure Boot is enforced',
    },
    first: {
      claim: 'before any boot: PCR 0, 2 to 8 and 11 to 15 are as predicted, in the TPM and by the log',
    },
    second: {
      claim:
        "after one boot, with the machine's tables: every register but PCR 10, the register of IMA, is as predicted",
    },
    control: {
      claim: 'control: held against another key in MokList, PCR 7 and 14 are told apart, and no other',
    },
    named: { claim: 'and the difference of the predictions is named: the list, and the authority in it' },
    unenrolled: { claim: 'with no key enrolled shim refuses the UKI, and no kernel runs' },
    stranger: {
      claim: 'with one key enrolled shim refuses a UKI that another one signed, and no kernel runs',
    },
    foretold: { claim: 'both refusals are predicted, as those of shim' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { shim: { mok: 'db', signedBy: 'db' } })
    const prediction = await predictBoot(vm)
    const boot = await vm.boot()
    const guest = await boot.login()
    lab.claim('booted', {
      expected: { predicted: true, refused: 'no', guest: true },
      got: {
        predicted: prediction.secureBoot,
        refused: prediction.refused ?? 'no',
        guest: await guest.secureBoot(),
      },
    })
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

    const known = await predictBoot(vm, tables)
    const second = await vm.boot()
    const again = compareBoot(known, await observeBoot(await second.login()))
    await second.powerOff()
    lab.claim('second', {
      expected: [],
      got: again.filter(({ index, verdict }) => verdict !== 'equal' && index !== 10),
    })

    const other = await predictBoot(
      await lab.vm('other-key', { shim: { mok: 'db-other', signedBy: 'db-other' } }),
    )
    const told = compareBoot(other, observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('control', { expected: [7, 14], got: told.map(({ index }) => index) })
    lab.claim('named', {
      expected: ["pcr14: shim's MokList", 'pcr7: authority in MokListRT'],
      // How long the certificate is differs between checkouts.
      got: explainDifference(prediction, other).map((line) => line.replace(/, \d+ bytes$/, '')),
    })

    const unenrolled = await lab.vm('unenrolled', { shim: { mok: 'none', signedBy: 'db' } })
    const stranger = await lab.vm('stranger', { shim: { mok: 'db', signedBy: 'db-other' } })
    const predictions = [await predictBoot(unenrolled), await predictBoot(stranger)]
    lab.claim('unenrolled', { expected: REFUSED, got: await awaitRefusal(await unenrolled.boot()) })
    lab.claim('stranger', { expected: REFUSED, got: await awaitRefusal(await stranger.boot()) })
    for (const { refused } of predictions) lab.note(`predicted: ${refused}`)
    lab.claim('foretold', {
      expected: ['shim', 'shim'],
      got: predictions.map(({ refusedBy }) => refusedBy ?? 'nobody'),
    })
  },
})
