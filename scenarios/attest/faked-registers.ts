import {
  defineScenario,
  fakeExtends,
  type LabBroker,
  type LabGuest,
  ownersPolicy,
  plantCanary,
  type Release,
  recordExtends,
} from '../../harness/run/index.ts'

/** What the host would like the guest to do, and does not want its owner to know. */
const WORD = 'attestbed.of-the-host=1'
/** What the vTPM is quoted for: the UKI, and what was added to its command line. */
const QUOTED = [11, 12]

export const scenario = defineScenario({
  title:
    'a host that fakes the registers of its vTPM fools an owner who trusts it, and none who asks the TEE',
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
    honest: {
      claim:
        'control: with its own UKI the root opens, for an owner who trusts the vTPM as for one who does not',
    },
    other: {
      claim: 'control: with another command line in the UKI and an honest vTPM, who trusts the vTPM is told',
    },
    faked: {
      claim:
        'with that UKI and a bus that rewrites what the guest extends, the vTPM has the registers of the honest boot',
    },
    fooled: { claim: 'control: who trusts the vTPM releases the key to it, and it opens the root' },
    bound: {
      claim:
        'by the evidence of the TEE alone, kernel hashes (SNP) or RTMRs (TDX), the key is withheld, and the audit log says which measurement',
    },
    boundAndVtpm: {
      claim: 'so it is where the vTPM is asked as well, which has nothing to say against it',
    },
    nowhere: {
      claim: 'the key is in no file of the run directory: no console, no log of broker or vTPM, no disk',
    },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console and to its vTPM, what it writes in clear on its disk, and what broker and harness record',
    },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const words = `${broker.commandLine} attestbed.after=shell`
    const vm = await lab.vm('owner', {
      ...{ recoveryKey: 'enrolled', kernel: 'direct', network: broker.network },
      uki: { extraCommandLine: words },
    })
    const secret = vm.recoveryKey
    const policies = {
      trusting: { ...(await ownersPolicy(vm, { vtpm: 'required', software: 'by-vtpm' })), secret },
      bound: { ...(await ownersPolicy(vm)), secret },
      boundAndVtpm: { ...(await ownersPolicy(vm, { vtpm: 'required' })), secret },
    } satisfies Readonly<Record<string, Release>>
    const honest = recordExtends()
    vm.listenOnTpmBus(honest)

    await broker.serve(policies.trusting)
    const first = await vm.boot()
    const own = await first.unlock()
    const asked = {
      trusting: outcome(own.result, broker),
      bound: await again(await first.login(), broker, policies.bound),
    }
    lab.claim('honest', { expected: { trusting: OPENED, bound: OPENED }, got: asked })
    await first.cut()

    await vm.installUki({ extraCommandLine: `${words} ${WORD}` })
    vm.listenOnTpmBus({})
    await broker.serve(policies.trusting)
    const second = await vm.boot()
    const { result } = await second.unlock()
    const nowhere = async (refused: ReturnType<typeof outcome>) => ({
      ...{ ...refused, found: await lab.findInRun(secret) },
    })
    lab.claim('other', { expected: closedBy('pcr'), got: await nowhere(outcome(result, broker)) })
    await second.cut()

    await lab.interfere(fakeExtends(honest.recorded), vm)
    const third = await vm.boot()
    const faked = await third.unlock()
    lab.claim('faked', {
      expected: { pcrs: own.pcrs(QUOTED), isOther: true },
      got: { pcrs: faked.pcrs(QUOTED), isOther: faked.commandLine.includes(WORD) },
    })
    lab.claim('fooled', { expected: OPENED, got: outcome(faked.result, broker) })
    const guest = await third.login()
    const code = vm.tee.platform === 'tdx' ? 'rtmr' : 'launch-digest'
    lab.claim('bound', {
      expected: closedBy(code),
      got: await nowhere(await again(guest, broker, policies.bound)),
    })
    lab.claim('boundAndVtpm', {
      expected: closedBy(code),
      got: await nowhere(await again(guest, broker, policies.boundAndVtpm)),
    })
    const planted = await plantCanary(guest, ['console', 'disk', 'vtpm'])
    await third.cut()
    lab.claim('nowhere', { expected: [], got: await lab.findInRun(secret) })
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

const OPENED = { root: 'open', released: 1, codes: [] }
const UNLOCK = 'systemd-cryptsetup detach root 2>/dev/null; systemctl restart attestbed-root.service'

function closedBy(code: string) {
  return { root: 'closed', released: 0, codes: [code], found: [] }
}

function outcome(result: string, broker: LabBroker) {
  const { released, codes } = broker.exchanges()
  return { root: result === 'unlocked-by-broker' ? 'open' : 'closed', released, codes }
}

/** The guest tries to open its root once more, in the same boot, for an owner who asks this. */
async function again(guest: LabGuest, broker: LabBroker, release: Release) {
  await broker.serve(release)
  await guest.run(['sh', '-c', UNLOCK], { timeoutMs: 120_000 })
  const { exitCode } = await guest.run(['test', '-e', '/dev/mapper/root'])
  return outcome(exitCode === 0 ? 'unlocked-by-broker' : 'not-unlocked', broker)
}
