import {
  alterFile,
  buildExtension,
  compareBoot,
  defineScenario,
  explainDifference,
  type LabGuest,
  mergeAlone,
  observeBoot,
  placeCompanions,
  predictBoot,
  type ScenarioVm,
} from '../../harness/run/index.ts'

const PHASES = ['enter-initrd']
const REGISTERS = [4, 7, 11, 12, 13]

export const scenario = defineScenario({
  title: 'a signed system extension extends the initrd, and shows in PCR 13',
  images: ['uki'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['own-uki', 'login', 'stub-companions'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 500 },
  claims: {
    extends: { claim: 'programs of a signed extension beside the UKI and of a global one run in the initrd' },
    measured: { claim: 'PCR 13 shows both, as predicted from the files on the ESP' },
    none: { claim: 'at a boot with bad extensions beside a good one nothing is merged' },
    altered: { claim: 'an extension that was altered after it was signed is refused: its data is corrupt' },
    stranger: { claim: 'one that is signed by a key outside db is refused: the kernel has no key for it' },
    unsigned: {
      claim: 'one with verity data and no signature is refused: the policy of the initrd asks for one',
    },
    control: { claim: 'control: the good one alone is merged by the same command' },
    toldApart: {
      claim: "all of that shows in PCR 13, merged or not: as predicted, and not the owner's value",
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner')
    const hello = await extension(vm, 'hello', 'db')
    const welcome = await extension(vm, 'welcome', 'db')
    await placeCompanions(vm, [
      { for: 'uki', name: 'hello.sysext.raw', file: hello },
      { for: 'any', name: 'welcome.sysext.raw', file: welcome },
    ])
    const owners = await predictBoot(vm, { phases: PHASES })
    const first = await vm.boot()
    const guest = await first.login()
    lab.claim('extends', {
      expected: { hello: 'hello 1', welcome: 'welcome 1' },
      got: await said(guest, ['hello', 'welcome']),
    })
    lab.claim('measured', {
      expected: REGISTERS.map((index) => `${index}: equal`),
      got: verdictsOf(compareBoot(owners, await observeBoot(guest))),
    })
    await first.powerOff()

    await placeCompanions(vm, [
      {
        for: 'uki',
        name: 'hello.sysext.raw',
        file: await alterFile(vm, hello, { find: 'hello 1', put: 'hello 2' }),
      },
      { for: 'uki', name: 'stranger.sysext.raw', file: await extension(vm, 'stranger', 'db-other') },
      { for: 'any', name: 'unsigned.sysext.raw', file: await extension(vm, 'unsigned', null) },
      { for: 'any', name: 'welcome.sysext.raw', file: welcome },
    ])
    const others = await predictBoot(vm, { phases: PHASES })
    const second = await vm.boot()
    const again = await second.login()
    const all = ['hello', 'stranger', 'unsigned', 'welcome']
    lab.claim('none', {
      expected: { hello: '', stranger: '', unsigned: '', welcome: '' },
      got: await said(again, all),
    })
    const refusal = async (file: string, expected: string, pattern: RegExp) => {
      const { merged, words } = await mergeAlone(again, file)
      return { expected, got: { merged, words }, holds: !merged && pattern.test(words) }
    }
    lab.claim(
      'altered',
      await refusal('sysext/hello.sysext.raw', 'corrupt data', /data block \d+ is corrupted/),
    )
    lab.claim('stranger', await refusal('sysext/stranger.sysext.raw', 'no key', /Required key not available/))
    lab.claim('unsigned', await refusal('global_sysext/unsigned.sysext.raw', 'policy', /policy/i))
    const { merged } = await mergeAlone(again, 'global_sysext/welcome.sysext.raw')
    lab.claim('control', { expected: true, got: merged })
    const observed = await observeBoot(again)
    const different = compareBoot(owners, observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('toldApart', {
      expected: { asPredicted: 'equal', different: [13] },
      got: {
        asPredicted: compareBoot(others, observed)[13]?.verdict,
        different: different.map(({ index }) => index),
      },
    })
    for (const line of explainDifference(owners, others)) lab.note(line)
    await second.powerOff()
  },
})

function extension(vm: ScenarioVm, name: string, signedBy: 'db' | 'db-other' | null): Promise<string> {
  const program = `#!/bin/sh\necho ${name} 1\n`
  return buildExtension(vm, { name, programs: { [`usr/lib/attestbed/${name}`]: program }, signedBy })
}

/** What the program of each extension says; nothing where there is none. */
async function said(guest: LabGuest, names: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const all: Record<string, string> = {}
  for (const name of names) {
    const { stdout } = await guest.run([`/usr/lib/attestbed/${name}`])
    all[name] = stdout.toString().trim()
  }
  return all
}

function verdictsOf(registers: ReturnType<typeof compareBoot>): readonly string[] {
  return REGISTERS.map((index) => `${index}: ${registers[index]?.verdict}`)
}
