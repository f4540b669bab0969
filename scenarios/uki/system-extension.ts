import {
  alterFile,
  buildExtension,
  compareBoot,
  defineScenario,
  explainDifference,
  graftSignature,
  type LabGuest,
  mergeAlone,
  observeBoot,
  placeCompanions,
  predictBoot,
  type ScenarioVm,
} from '../../harness/run/index.ts'

const PHASES = ['enter-initrd']
/** Whole blocks, so that the program does not share one with what is read to mount it. */
const FILLING = '# filling\n'.repeat(2000)
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
    altered: {
      claim:
        'of an extension that was altered after it was signed the kernel lets nobody read what was altered',
    },
    grafted: {
      claim:
        "one that claims another's signature is refused: the kernel says that it is not over this root hash",
    },
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
      {
        for: 'uki',
        name: 'grafted.sysext.raw',
        file: await graftSignature(vm, { onto: await extension(vm, 'grafted', 'db-other'), from: hello }),
      },
      { for: 'uki', name: 'stranger.sysext.raw', file: await extension(vm, 'stranger', 'db-other') },
      { for: 'any', name: 'unsigned.sysext.raw', file: await extension(vm, 'unsigned', null) },
      { for: 'any', name: 'welcome.sysext.raw', file: welcome },
    ])
    const others = await predictBoot(vm, { phases: PHASES })
    const second = await vm.boot()
    const again = await second.login()
    const all = ['grafted', 'hello', 'stranger', 'unsigned', 'welcome']
    lab.claim('none', {
      expected: Object.fromEntries(all.map((name) => [name, ''])),
      got: await said(again, all),
    })
    const refusal = async (name: string, place: string, pattern: RegExp) => {
      const got = await mergeAlone(again, mergeOf(place, name))
      const expected = `not merged, ${pattern.source}`
      return { expected, got, holds: !got.merged && got.printed === '' && pattern.test(got.words) }
    }
    const altered = await mergeAlone(again, mergeOf('sysext', 'hello'))
    lab.claim('altered', {
      expected: 'nothing printed, and a corrupt block',
      got: altered,
      holds: altered.printed === '' && /verity: .*data block \d+ is corrupted/.test(altered.words),
    })
    lab.claim(
      'grafted',
      await refusal('grafted', 'sysext', /Root hash verification failed \(-E?(KEYREJECTED|129)\)/),
    )
    lab.claim('stranger', await refusal('stranger', 'sysext', /Root hash verification failed \(-ENOKEY\)/))
    lab.claim('unsigned', await refusal('unsigned', 'global_sysext', /policy/i))
    const { merged, printed } = await mergeAlone(again, mergeOf('global_sysext', 'welcome'))
    lab.claim('control', { expected: { merged: true, printed: 'welcome 1' }, got: { merged, printed } })
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
  const program = `#!/bin/sh\necho ${name} 1\nexit\n${FILLING}`
  return buildExtension(vm, { name, programs: { [`usr/lib/attestbed/${name}`]: program }, signedBy })
}

function mergeOf(place: string, name: string) {
  return { file: `${place}/${name}.sysext.raw`, program: `/usr/lib/attestbed/${name}` }
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
