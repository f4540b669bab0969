import {
  alterFile,
  buildAddon,
  type Companion,
  compareBoot,
  defineScenario,
  explainDifference,
  observeBoot,
  placeCompanions,
  predictBoot,
  refusedAddons,
  type ScenarioVm,
} from '../../harness/run/index.ts'

/** Registers that need neither tables of the machine nor an earlier boot to be predicted. */
const PREDICTED = [0, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15]
/** The stub leaves a secret on the ESP at a VM's first boot, and measures it into PCR 9 with the initrd from then on. */
const PREDICTED_AGAIN = [...PREDICTED, 9].sort((a, b) => a - b)
const OWN = 'console=ttyS0 quiet'
const BESIDE = 'EFI/BOOT/BOOTX64.EFI.extra.d'

const REFUSED: readonly string[] = [
  'loader/addons/global.addon.efi',
  `${BESIDE}/altered.addon.efi`,
  `${BESIDE}/stranger.addon.efi`,
  `${BESIDE}/unsigned.addon.efi`,
].map((path) => `${path}: Access denied`)

/** Nothing but the console tells what the firmware refused: it measures no such image, and the stub keeps no log. */
const MOST_BOOTS = 6

export const scenario = defineScenario({
  title:
    'under Secure Boot a command-line addon takes effect if it is signed by a key in db, and shows in PCR 12',
  images: ['micro'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['own-uki', 'login'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 900 },
  claims: {
    ignored: {
      claim:
        'none takes effect that is unsigned, signed by a key outside db, or altered after it was signed: beside the UKI or global',
    },
    why: { claim: 'it is the firmware that refuses them: of each of the four, the stub says Access denied' },
    unmeasured: { claim: 'and PCR 12 and all others are those predicted of a boot without addons' },
    taken: {
      claim:
        'control: the same, signed by the key in db, take effect, the global one first; one of another UKI and one of another kernel do not',
    },
    measured: { claim: 'and PCR 12 and all others that can be predicted before a boot are as predicted' },
    named: { claim: 'and the prediction names their command line in PCR 12, and the images in PCR 4' },
    toldApart: { claim: 'control: held against a prediction without addons, PCR 4 and 12 are told apart' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner')
    const without = await predictBoot(vm)
    await placeCompanions(vm, await badAddons(vm))
    const bad = await observe(vm)
    lab.claim('ignored', { expected: OWN, got: bad.commandLine })
    const told = await refusalsTold(vm, bad.refused)
    lab.claim('why', { expected: REFUSED, got: told, holds: REFUSED.every((line) => told.includes(line)) })
    lab.claim('unmeasured', { expected: PREDICTED, got: equalIn(compareBoot(without, bad.observed)) })

    await placeCompanions(vm, await goodAddons(vm))
    const predicted = await predictBoot(vm)
    const good = await observe(vm)
    lab.claim('taken', {
      expected: {
        commandLine: `${OWN} attestbed.global=1 attestbed.altered=1 attestbed.stranger=1 attestbed.unsigned=1`,
        refused: [],
      },
      got: { commandLine: good.commandLine, refused: good.refused },
    })
    lab.claim('measured', { expected: PREDICTED_AGAIN, got: equalIn(compareBoot(predicted, good.observed)) })
    const named = explainDifference(without, predicted)
    lab.claim('named', {
      expected:
        'pcr4 for five images, pcr12 for "attestbed.global=1 attestbed.altered=1 attestbed.stranger=1 attestbed.unsigned=1"',
      got: named,
      holds:
        named.filter((each) => each.startsWith('pcr4: addon ')).length === 5 &&
        named.includes(
          'pcr12: command line of addons: "attestbed.global=1 attestbed.altered=1 attestbed.stranger=1 attestbed.unsigned=1"',
        ),
    })
    const different = compareBoot(without, good.observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('toldApart', { expected: [4, 12], got: different.map(({ index }) => index) })
  },
})

async function observe(vm: ScenarioVm) {
  const boot = await vm.boot()
  const guest = await boot.login()
  const commandLine = await guest.commandLine()
  const observed = await observeBoot(guest)
  await boot.powerOff()
  return { commandLine, observed, refused: refusedAddons(boot.lines) }
}

/**
 * On a host with more to do than it can the firmware's terminal driver drops bytes: what did not come whole is said again
 * at the next boot. Lines that lack some of their bytes are among those that are returned.
 */
async function refusalsTold(
  vm: ScenarioVm,
  first: ReturnType<typeof refusedAddons>,
): Promise<readonly string[]> {
  const told = new Set<string>()
  const add = (refused: typeof first) => {
    for (const { path, why } of refused) told.add(`${path}: ${why}`)
  }
  add(first)
  for (let boots = 1; boots < MOST_BOOTS && !REFUSED.every((line) => told.has(line)); boots++)
    add((await observe(vm)).refused)
  return [...told]
}

function equalIn(registers: ReturnType<typeof compareBoot>): readonly number[] {
  return registers.filter(({ verdict }) => verdict === 'equal').map(({ index }) => index)
}

async function badAddons(vm: ScenarioVm): Promise<readonly Companion[]> {
  const signed = await buildAddon(vm, { commandLine: 'attestbed.altered=0', signedBy: 'db' })
  const altered = await alterFile(vm, signed, { find: 'attestbed.altered=0', put: 'attestbed.altered=1' })
  const stranger = await buildAddon(vm, { commandLine: 'attestbed.stranger=1', signedBy: 'db-other' })
  return [
    {
      for: 'any',
      name: 'global.addon.efi',
      file: await buildAddon(vm, { commandLine: 'attestbed.global=1' }),
    },
    { for: 'uki', name: 'altered.addon.efi', file: altered },
    { for: 'uki', name: 'stranger.addon.efi', file: stranger },
    {
      for: 'uki',
      name: 'unsigned.addon.efi',
      file: await buildAddon(vm, { commandLine: 'attestbed.unsigned=1' }),
    },
  ]
}

async function goodAddons(vm: ScenarioVm): Promise<readonly Companion[]> {
  const signed = (word: string, uname?: string) =>
    buildAddon(vm, { commandLine: `attestbed.${word}=1`, signedBy: 'db', ...(uname && { uname }) })
  const beside = ['altered', 'stranger', 'unsigned'].map(async (name): Promise<Companion> => {
    return { for: 'uki', name: `${name}.addon.efi`, file: await signed(name) }
  })
  return [
    { for: 'any', name: 'global.addon.efi', file: await signed('global') },
    ...(await Promise.all(beside)),
    { for: 'uki', name: 'kernel.addon.efi', file: await signed('kernel', '0.0.1-another-kernel') },
    { for: 'other-uki', name: 'other.addon.efi', file: await signed('other') },
  ]
}
