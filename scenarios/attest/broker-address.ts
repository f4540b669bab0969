import {
  type Boot,
  defineScenario,
  injectCommandLine,
  ownersPolicy,
  UNLOCKED_BY_BROKER,
} from '../../harness/run/index.ts'

const AGAIN = 'systemd-cryptsetup detach root 2>/dev/null; systemctl restart attestbed-root.service'

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
      claim:
        'control: named by init data that HOST_DATA or MRCONFIGID is the digest of, the broker opens the root',
    },
    unbound: {
      claim:
        'where the report has the digest of other init data, the root stays closed, and the broker is not even asked',
    },
    injected: {
      claim:
        'a broker on the command line that the host adds by SMBIOS is not asked either, or the command line is ignored',
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
    lab.claim('initData', { expected: UNLOCKED_BY_BROKER, got: (await first.unlock()).result })
    const knocked = broker.connections
    const guest = await first.login()
    vm.tee.fault('other-host-data')
    await guest.run(['sh', '-c', AGAIN], { timeoutMs: 120_000 })
    lab.claim('unbound', {
      expected: { why: 'init-data-not-bound', asked: 0, opened: false },
      got: {
        why: whyRefused(first),
        asked: broker.connections - knocked,
        opened: (await guest.run(['test', '-e', '/dev/mapper/root'])).exitCode === 0,
      },
    })
    vm.tee.fault()
    await first.cut()

    await lab.interfere(injectCommandLine(broker.commandLine), vm)
    const asked = broker.connections
    const second = await vm.boot()
    const { result } = await second.unlock()
    // systemd's stub takes no command line from SMBIOS in a confidential VM; elsewhere it does, and measures it.
    const isIgnored = lab.basis === 'hardware'
    lab.claim('injected', {
      expected: isIgnored
        ? { result: UNLOCKED_BY_BROKER, why: '', asked: true }
        : { result: 'not-unlocked', why: 'broker-unmeasured', asked: false },
      got: { result, why: whyRefused(second), asked: broker.connections > asked },
    })
    await second.cut()
  },
})

function whyRefused({ lines }: Boot): string {
  return lines.flatMap((line) => /attest refused why=(\S+)/.exec(line)?.[1] ?? []).at(-1) ?? ''
}
