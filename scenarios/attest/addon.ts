import {
  type Boot,
  buildAddon,
  type Companion,
  defineScenario,
  extraDbKey,
  ownersPolicy,
  placeCompanions,
  plantCanary,
  refusedAddons,
  type ScenarioVm,
  UNLOCKED_BY_BROKER,
} from '../../harness/run/index.ts'

const AGAIN = 'systemd-cryptsetup detach root 2>/dev/null; systemctl restart attestbed-root.service'
const SENT = '/sys/class/net/eth0/statistics/tx_packets'
const PCR_12 = '/sys/class/tpm/tpm0/pcr-sha256/12'
const RELEASED = { attested: 1, refused: 0, released: 1, codes: [] }
/** What shows an addon: its command line, by PCR 12 and by its log; its image, by the log of PCR 4, and in a TD by RTMR1. */
const ADDON_SHOWN = {
  'sev-snp': ['command-line', 'image-not-allowed', 'pcr'],
  tdx: ['command-line', 'image-not-allowed', 'pcr', 'rtmr'],
}
const WITHHELD = { result: 'not-unlocked', why: 'http-403', named: 'addon', released: 0, found: [] }
const KEYS_SHOWN = { 'sev-snp': ['launch-digest', 'pcr'], tdx: ['pcr'] }

export const scenario = defineScenario({
  title: 'an addon that its owner signed names the broker; what its host puts in its place does not',
  images: ['attester'],
  vtpms: ['stateless'],
  tees: ['sev-snp', 'tdx'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    image: ['attester', 'recovery-key', 'login', 'own-uki'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 1200 },
  claims: {
    named: {
      claim:
        'where the UKI names no broker and a signed addon does, the guest is attested to that one, and its root opens',
    },
    ignored: {
      claim:
        "of addons that the host put beside it, unsigned and signed by a stranger's key, no word reaches the command line, and nobody comes to the address that they name",
    },
    other: {
      claim:
        'another addon under the right signature sends the guest there, and the key is withheld wherever it asks: PCR 12 is another, and the log says which line',
    },
    asked: {
      claim: 'control: by a policy that asks for nothing in which an addon shows the same boot gets the key',
    },
    keys: {
      claim:
        "with one more key in db, by which the host could sign addons, the key is withheld though the addon is the owner's: PCR 7 is another, and on SNP the launch digest, which has the variables",
    },
    unenforced: {
      claim:
        "without Secure Boot an addon that nobody signed takes effect, with the owner's words and PCR 12 as predicted, and names nobody: no packet leaves the guest",
    },
    nowhere: { claim: 'the key is in no file of the run directory: no console, no log, no disk' },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console and to its vTPM, what it writes in clear on its disk, and what broker and harness record',
    },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const relay = await broker.relay()
    const options = {
      recoveryKey: 'enrolled',
      network: { ...broker.network, ...relay.network },
      uki: { extraCommandLine: 'attestbed.after=shell' },
    } as const
    const vm = await lab.vm('owner', options)
    const platform = vm.tee.platform as 'sev-snp' | 'tdx'
    const own = await addon(vm, { commandLine: broker.commandLine, signedBy: 'db' })
    await placeCompanions(vm, [own])
    const wishes = { boot: 'from-disk', vtpm: 'required', delivery: 'activate-credential' } as const
    const strict = await ownersPolicy(vm, { ...wishes, log: 'this-boot' })
    const lenient = await ownersPolicy(vm, { ...wishes, addons: 'any' })
    const [predicted] = strict.policy.tpm?.pcrs?.sha256?.[12] ?? []

    await broker.serve({ ...strict, secret: vm.recoveryKey })
    await placeCompanions(vm, [own, ...(await addonsOfHost(vm, relay.commandLine))])
    const first = await vm.boot()
    const { result, commandLine } = await first.unlock()
    lab.claim('named', {
      expected: { result: UNLOCKED_BY_BROKER, named: 'addon', ...RELEASED },
      got: { result, named: namedBy(first), ...broker.exchanges() },
    })
    lab.claim('ignored', {
      expected: { brokers: [broker.commandLine], arrivals: 0 },
      got: { brokers: brokersIn(commandLine), arrivals: relay.arrivals },
    })
    // Under load the firmware's terminal drops bytes: nothing is decided by these words.
    for (const { path, why } of refusedAddons(first.lines)) lab.note(`the stub says of ${path}: ${why}`)
    await first.cut()

    await placeCompanions(vm, [await addon(vm, { commandLine: relay.commandLine, signedBy: 'db' })])
    const second = await vm.boot()
    const refused = async (boot: Boot) => {
      const { result: outcome } = await boot.unlock()
      const { released, codes } = broker.exchanges()
      const findings = broker.attestations.at(-1)?.findings ?? []
      return {
        ...{ result: outcome, why: whyRefused(boot), named: namedBy(boot), released, codes },
        registers: findings.flatMap((finding) => /PCR \d+(?= \()/.exec(finding)?.[0] ?? []),
        found: await lab.findInRun(vm.recoveryKey),
      }
    }
    lab.claim('other', {
      expected: {
        ...WITHHELD,
        ...{ codes: ADDON_SHOWN[platform], registers: ['PCR 12'], arrived: true },
      },
      got: { ...(await refused(second)), arrived: relay.arrivals > 0 && relay.requests > 0 },
    })
    await broker.serve({ ...lenient, secret: vm.recoveryKey })
    const guest = await second.login()
    await guest.run(['sh', '-c', AGAIN], { timeoutMs: 120_000 })
    const { exitCode } = await guest.run(['test', '-e', '/dev/mapper/root'])
    lab.claim('asked', {
      expected: { root: 'open', ...RELEASED },
      got: { root: exitCode === 0 ? 'open' : 'closed', ...broker.exchanges() },
    })
    await second.cut()

    await placeCompanions(vm, [own])
    await lab.interfere(extraDbKey, vm)
    await broker.serve({ ...strict, secret: vm.recoveryKey })
    const third = await vm.boot()
    lab.claim('keys', {
      expected: { ...WITHHELD, codes: KEYS_SHOWN[platform], registers: ['PCR 7'] },
      got: await refused(third),
    })
    await third.cut()

    const unenforced = await lab.vm('unenforced', { ...options, keys: 'none' })
    const unsigned = await addon(unenforced, { name: 'unsigned', commandLine: broker.commandLine })
    await placeCompanions(unenforced, [unsigned])
    const asked = broker.arrivals.length + relay.arrivals
    const fourth = await unenforced.boot()
    const closed = await fourth.unlock()
    const last = await fourth.login()
    lab.claim('unenforced', {
      expected: {
        ...{
          secureBoot: false,
          brokers: [broker.commandLine],
          pcr12: predicted,
          result: 'not-unlocked',
          why: 'broker-unmeasured found=not-signed',
        },
        ...{ arrivals: 0, packets: 0, found: [] },
      },
      got: {
        ...{ secureBoot: await last.secureBoot(), pcr12: (await last.text(['cat', PCR_12])).toLowerCase() },
        ...{ brokers: brokersIn(closed.commandLine), result: closed.result, why: whyRefused(fourth) },
        arrivals: broker.arrivals.length + relay.arrivals - asked,
        found: await lab.findInRun(vm.recoveryKey),
        packets: Number(await last.text(['cat', SENT])),
      },
    })

    const planted = await plantCanary(last, ['console', 'disk', 'vtpm'])
    await fourth.cut()
    lab.claim('nowhere', { expected: [], got: await lab.findInRun(vm.recoveryKey) })
    const logged = broker.attestations.at(-1)?.evidence ?? 'no evidence'
    lab.claim('planted', {
      expected: { planted: ['console', 'disk', 'record', 'vtpm'], logged: true },
      got: {
        planted: await lab.placesInRun(planted),
        logged: (await lab.placesInRun(logged)).includes('broker'),
      },
    })
  },
})

async function addon(
  vm: ScenarioVm,
  { name = 'owner', ...made }: { name?: string } & Parameters<typeof buildAddon>[1],
): Promise<Companion> {
  return { for: 'uki', name: `${name}.addon.efi`, file: await buildAddon(vm, made) }
}

async function addonsOfHost(vm: ScenarioVm, commandLine: string): Promise<readonly Companion[]> {
  return [
    await addon(vm, { name: 'stranger', commandLine, signedBy: 'db-other' }),
    await addon(vm, { name: 'unsigned', commandLine }),
  ]
}

function whyRefused({ lines }: Boot): string {
  return lines.flatMap((line) => /attest refused why=(.*\S)/.exec(line)?.[1] ?? []).at(-1) ?? ''
}

function namedBy({ lines }: Boot): string {
  return lines.flatMap((line) => /attest broker=\S+ named-by=(\S+)/.exec(line)?.[1] ?? []).at(-1) ?? ''
}

/** `attestbed.broker=... attestbed.broker-pin=...`, of each addon that took effect. */
function brokersIn(commandLine: string): readonly string[] {
  return commandLine.match(/attestbed\.broker=\S+ attestbed\.broker-pin=\S+/g) ?? []
}
