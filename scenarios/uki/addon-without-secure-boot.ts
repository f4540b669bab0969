import {
  buildAddon,
  compareBoot,
  defineScenario,
  observeBoot,
  placeCompanions,
  predictBoot,
  refusedAddons,
} from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'without Secure Boot any addon takes effect, and PCR 12 is all that tells',
  images: ['micro'],
  vtpms: ['stateful'],
  needs: { secureBoot: false, persistentVariables: true, image: ['own-uki', 'login'] },
  budget: { vcpus: 1, memoryMiB: 768, seconds: 300 },
  claims: {
    off: { claim: 'the firmware does not enforce Secure Boot' },
    taken: {
      claim:
        'an unsigned addon and one signed by a stranger take effect: what refuses them elsewhere is Secure Boot',
    },
    measured: { claim: 'PCR 4 and 12 show them, as predicted' },
    toldApart: { claim: 'control: held against a prediction without addons, PCR 4 and 12 are told apart' },
  },
  run: async (lab) => {
    // Also on firmware that could: what enforces is a key.
    const vm = await lab.vm('owner', { keys: 'none' })
    const without = await predictBoot(vm)
    const stranger = await buildAddon(vm, { commandLine: 'attestbed.stranger=1', signedBy: 'db-other' })
    await placeCompanions(vm, [
      {
        for: 'any',
        name: 'unsigned.addon.efi',
        file: await buildAddon(vm, { commandLine: 'attestbed.unsigned=1' }),
      },
      { for: 'uki', name: 'stranger.addon.efi', file: stranger },
    ])
    const predicted = await predictBoot(vm)
    const boot = await vm.boot()
    const guest = await boot.login()
    lab.claim('off', { expected: false, got: await guest.secureBoot() })
    lab.claim('taken', {
      expected: { commandLine: 'console=ttyS0 quiet attestbed.unsigned=1 attestbed.stranger=1', refused: [] },
      got: { commandLine: await guest.commandLine(), refused: refusedAddons(boot.lines) },
    })
    const observed = await observeBoot(guest)
    const verdicts = compareBoot(predicted, observed).map(({ verdict }) => verdict)
    lab.claim('measured', {
      expected: { 4: 'equal', 12: 'equal' },
      got: { 4: verdicts[4], 12: verdicts[12] },
    })
    const told = compareBoot(without, observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('toldApart', { expected: [4, 12], got: told.map(({ index }) => index) })
    await boot.powerOff()
  },
})
