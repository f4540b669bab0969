import { defineScenario, recordPowerCuts } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'control: an updater that copies over the default UKI in place does not survive a power cut',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: true,
    image: ['offline-sealing', 'own-uki', 'ab-slots', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 900, secondsPerState: 120 },
  claims: {
    start: { claim: 'control: the state before its first write boots slot a' },
    finished: { claim: 'control: the update that is not interrupted boots' },
    caught: { claim: 'of the states that were booted, one boots nothing and says why: it is not just late' },
    named: {
      claim:
        'each that boots nothing is reported with the write that made it: to the UKI, its directory or the allocation table',
    },
    kept: {
      claim: 'one that boots nothing is down again, for the same reason, from the files that are kept',
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next', onPanic: 'continue' })
    await vm.slots.attachUpdate()
    const cuts = await recordPowerCuts(vm, { isControl: true })
    const boot = await (await vm.boot()).settle()
    const guest = await boot.login()
    await cuts.mark('start')
    await guest.succeed(['update-in-place'], { timeoutMs: 180_000 })
    await cuts.mark('installed')
    await boot.machine.quit()
    const report = await cuts.boot()
    lab.claim('start', { expected: 'up a', got: `${report.start.came} ${report.start.slot}` })
    lab.claim('finished', { expected: 'up b', got: `${report.end.came} ${report.end.slot}` })
    const certain = report.broken.filter(({ late }) => !late)
    lab.claim('caught', {
      expected: 'at least 1',
      got: `${certain.length} of ${report.tried}`,
      holds: certain.length > 0,
    })
    const unnamed = report.broken.filter(({ write }) => !OF_THE_UKI.test(write))
    lab.claim('named', { expected: [], got: unnamed.map(({ line }) => line) })
    const [one] = certain
    if (one?.reproducer === undefined) {
      lab.claim('kept', { expected: 'the files of a state', got: 'none', holds: false })
      return
    }
    const { came, why } = await report.bootKept(one.reproducer)
    lab.claim('kept', { expected: { came: 'down', why: one.why }, got: { came, why } })
  },
})

const OF_THE_UKI = /EFI\/Linux|file allocation table/
