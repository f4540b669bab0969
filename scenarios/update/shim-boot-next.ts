import {
  type Boot,
  bootNextOf,
  defineScenario,
  offerThroughShim,
  pressOnAfterRefusal,
} from '../../harness/run/index.ts'

const NEW = 'attestbed.update=new'

export const scenario = defineScenario({
  title:
    "with Debian's shim an update is tried once by BootNext; one that shim refuses waits for a key, and no boot is unattended",
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
    tried: {
      claim: 'BootNext starts shim with the path of the new UKI, which boots with Secure Boot enforced',
    },
    once: { claim: 'and is gone then' },
    refused: { claim: 'an update that no enrolled key signed is refused by shim, and no kernel runs' },
    waits: { claim: 'shim then waits for a key: nothing goes on by itself' },
    afterRefusal: { claim: 'with Enter pressed, the firmware goes on to the old UKI, which boots' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { shim: { mok: 'db', signedBy: 'db' } })
    await offerThroughShim(vm, { extraCommandLine: NEW })
    lab.claim('tried', { expected: { isNew: true, secureBoot: true }, got: await look(await vm.boot()) })
    lab.claim('once', { expected: 'none', got: await bootNextOf(vm) })

    await offerThroughShim(vm, { extraCommandLine: NEW, signedBy: 'db-other' })
    const boot = await vm.boot()
    const { words, waits, firmware, reachedKernel } = await pressOnAfterRefusal(boot)
    lab.claim('refused', {
      expected: { words: 'Verification failed: (0x1A) Security Violation', reachedKernel: false },
      got: { words, reachedKernel },
    })
    lab.claim('waits', { expected: true, got: waits })
    lab.claim('afterRefusal', {
      expected: { firmware: 'BdsDxe: failed to start', isNew: false, secureBoot: true },
      got: { firmware, ...(await look(boot)) },
    })
  },
})

async function look(boot: Boot) {
  const guest = await boot.login()
  const isNew = (await guest.commandLine()).split(/\s/).includes(NEW)
  const secureBoot = await guest.secureBoot()
  await boot.powerOff()
  return { isNew, secureBoot }
}
