import {
  type Boot,
  defineScenario,
  injectCommandLine,
  type LabGuest,
  ownersPolicy,
  plantCanary,
  UNLOCKED_BY_BROKER,
} from '../../harness/run/index.ts'

const AGAIN = 'systemd-cryptsetup detach root 2>/dev/null; systemctl restart attestbed-root.service'
const SENT = '/sys/class/net/eth0/statistics/tx_packets'
const INJECTED =
  "tr '\\0' '\\n' </sys/firmware/dmi/tables/DMI | sed -n 's/^.*io.systemd.stub.kernel-cmdline-extra=//p'"
const RELEASED = { attested: 1, refused: 0, released: 1, codes: [] }
const NOTHING = { attested: 0, refused: 0, released: 0, codes: [] }

export const scenario = defineScenario({
  title: 'a guest asks the broker that a measured place names, and none that its host names',
  images: ['attester'],
  vtpms: ['stateful'],
  tees: ['sev-snp', 'tdx'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    image: ['attester', 'recovery-key', 'login', 'own-uki'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 900 },
  claims: {
    initData: {
      claim: 'named by init data whose digest is in HOST_DATA or MRCONFIGID, the broker opens the root',
    },
    unbound: {
      claim:
        'where the report has the digest of other init data, the root stays closed, and no packet leaves the guest',
      requires: 'emulation',
    },
    boundAgain: {
      claim: 'control: bound again, the same boot opens its root by it',
      requires: 'emulation',
    },
    injected: {
      claim:
        'a broker on the command line that the host adds by SMBIOS, where the guest finds the words, is not asked: for these no packet leaves the guest, or the stub ignores the command line',
    },
    nowhere: {
      claim:
        'the key is in no file of the run directory, after no refusal: no console, no log of broker or vTPM, no disk',
    },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console and to its vTPM, what it writes in clear on its disk, and what broker and harness record',
    },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const vm = await lab.vm('owner', {
      ...{ recoveryKey: 'enrolled', kernel: 'direct', network: broker.network, ...broker.initData() },
      uki: { extraCommandLine: 'attestbed.after=shell' },
    })
    await broker.serve({ ...(await ownersPolicy(vm)), secret: vm.recoveryKey })

    const first = await vm.boot()
    const opened = await first.unlock()
    const guest = await first.login()
    const before = await injectedWords(guest)
    lab.claim('initData', {
      expected: { result: UNLOCKED_BY_BROKER, named: 'init-data', ...RELEASED, added: '' },
      got: { result: opened.result, named: namedBy(first), ...broker.exchanges(), added: before },
    })
    if (vm.tee.isEmulated) {
      const attempt = async () => {
        const before = { knocks: broker.arrivals.length, packets: await sent(guest) }
        await guest.run(['sh', '-c', AGAIN], { timeoutMs: 120_000 })
        return {
          root: (await guest.run(['test', '-e', '/dev/mapper/root'])).exitCode === 0 ? 'open' : 'closed',
          knocks: broker.arrivals.length - before.knocks,
          packets: (await sent(guest)) - before.packets,
          ...broker.exchanges(),
          found: await lab.findInRun(vm.recoveryKey),
        }
      }
      vm.tee.fault('other-host-data')
      const unbound = await attempt()
      lab.claim('unbound', {
        expected: {
          root: 'closed',
          knocks: 0,
          packets: 0,
          ...NOTHING,
          why: 'init-data-not-bound',
          found: [],
        },
        got: { ...unbound, why: whyRefused(first) },
      })
      vm.tee.fault()
      const { packets, knocks, ...bound } = await attempt()
      lab.claim('boundAgain', {
        expected: { root: 'open', ...RELEASED, sent: true, found: [] },
        got: { ...bound, sent: packets > 0 && knocks > 0 },
      })
    } else
      for (const each of ['unbound', 'boundAgain'] as const)
        lab.skip(each, 'emulation-required: the host of a real TEE cannot be made to lie')
    await first.cut()

    await lab.interfere(injectCommandLine(broker.commandLine), vm)
    const asked = broker.arrivals.length
    const second = await vm.boot()
    const { result, commandLine } = await second.unlock()
    const shell = await second.login()
    const added = await injectedWords(shell)
    const isInjected = commandLine.includes('attestbed.broker=')
    // systemd's stub takes no command line from SMBIOS in a confidential VM; elsewhere it does, and measures it.
    lab.claim('injected', {
      expected: {
        ...{ added: broker.commandLine, found: [], onCommandLine: vm.tee.isEmulated },
        ...(isInjected
          ? { result: 'not-unlocked', why: 'broker-unmeasured found=smbios', knocks: 0, packets: 0 }
          : { result: UNLOCKED_BY_BROKER, named: 'init-data' }),
      },
      got: {
        ...{ added, found: await lab.findInRun(vm.recoveryKey), onCommandLine: isInjected },
        ...(isInjected
          ? {
              ...{ result, why: whyRefused(second), knocks: broker.arrivals.length - asked },
              packets: await sent(shell),
            }
          : { result, named: namedBy(second) }),
      },
    })
    const planted = await plantCanary(shell, ['console', 'disk', 'vtpm'])
    await second.cut()
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

/** Packets that left the guest, as its kernel counts them. */
async function sent(guest: LabGuest): Promise<number> {
  return Number(await guest.text(['cat', SENT]))
}

/** What its host added to the command line, as the guest's own SMBIOS tables have it; empty where nothing is there. */
async function injectedWords(guest: LabGuest): Promise<string> {
  return guest.text(['sh', '-c', INJECTED])
}

function whyRefused({ lines }: Boot): string {
  return lines.flatMap((line) => /attest refused why=(.*\S)/.exec(line)?.[1] ?? []).at(-1) ?? ''
}

function namedBy({ lines }: Boot): string {
  return lines.flatMap((line) => /attest broker=\S+ named-by=(\S+)/.exec(line)?.[1] ?? []).at(-1) ?? ''
}
