import { type Boot, defineScenario, offerThroughShim } from '../../harness/run/index.ts'

const NEW = 'attestbed.update=new'

export const scenario = defineScenario({
  title: "with Debian's shim an update is tried once by BootNext, and the old UKI comes back",
  images: ['micro'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: true,
    firmwareKeys: 'microsoft',
    image: ['own-uki', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    before: { claim: 'control: without BootNext shim boots the old UKI' },
    tried: {
      claim: 'BootNext starts shim with the path of the new UKI, which boots with Secure Boot enforced',
    },
    once: { claim: 'the boot after that is one of the old UKI again' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { shim: { mok: 'db', signedBy: 'db' } })
    lab.claim('before', { expected: { isNew: false, secureBoot: true }, got: await look(await vm.boot()) })
    await offerThroughShim(vm, { extraCommandLine: NEW })
    lab.claim('tried', { expected: { isNew: true, secureBoot: true }, got: await look(await vm.boot()) })
    lab.claim('once', { expected: { isNew: false, secureBoot: true }, got: await look(await vm.boot()) })
  },
})

async function look(boot: Boot) {
  const guest = await boot.login()
  const isNew = (await guest.commandLine()).split(/\s/).includes(NEW)
  const secureBoot = await guest.secureBoot()
  await boot.powerOff()
  return { isNew, secureBoot }
}
