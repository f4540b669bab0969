import {
  type Attestation,
  defineScenario,
  ownersPolicy,
  plantCanary,
  UNLOCKED_BY_BROKER,
} from '../../harness/run/index.ts'

const RELEASED = { attested: 1, refused: 0, released: 1, codes: [] }

export const scenario = defineScenario({
  title:
    'with a vTPM that is new at every boot and endorsed by the TEE, the broker releases the root key at every boot',
  images: ['attester'],
  vtpms: ['stateless'],
  tees: ['sev-snp', 'tdx'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    image: ['attester', 'recovery-key', 'login', 'own-uki'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 900 },
  claims: {
    opens: { claim: 'the root opens with the key that the broker released, and nothing was typed' },
    judged: { claim: 'the broker attested one guest, without a finding, and released one key' },
    again: { claim: 'so it is at the next boot, with another EK and another AK' },
    foreign: {
      claim:
        'control: where the report is about something else than this session and the keys of its vTPM (REPORT_DATA inverted) the root stays closed, the key is nowhere in the run directory, and the audit log says why',
      requires: 'emulation',
    },
    credential: {
      claim:
        'the key came for this one vTPM: it activated a credential at the boots that opened, and unsealed nothing',
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
    const vm = await lab.vm('owner', {
      ...{ recoveryKey: 'enrolled', kernel: 'direct', network: broker.network },
      uki: { extraCommandLine: broker.commandLine },
    })
    const policy = await ownersPolicy(vm, {
      ...{ vtpm: 'required', log: 'this-boot', delivery: 'activate-credential' },
    })
    await broker.serve({ ...policy, secret: vm.recoveryKey })

    const first = await vm.boot()
    lab.claim('opens', { expected: UNLOCKED_BY_BROKER, got: (await first.unlock()).result })
    lab.claim('judged', { expected: RELEASED, got: broker.exchanges() })
    await first.cut()

    const { isEmulated } = vm.tee
    if (isEmulated) {
      vm.tee.fault('other-report-data')
      const foreign = await vm.boot()
      const { result, why } = await foreign.unlock()
      lab.claim('foreign', {
        expected: {
          result: 'not-unlocked',
          why: 'not-attested',
          released: 0,
          codes: ['report-data'],
          found: [],
        },
        got: {
          ...{ result, why, ...partOf(broker.exchanges()) },
          found: await lab.findInRun(vm.recoveryKey),
        },
      })
      await foreign.cut()
      vm.tee.fault()
    } else lab.skip('foreign', 'emulation-required: the host of a real TEE cannot be made to lie')

    const second = await vm.boot()
    const again = (await second.unlock()).result
    const [before, after] = broker.attestations.filter(({ released }) => released)
    lab.claim('again', {
      expected: { result: UNLOCKED_BY_BROKER, ...RELEASED, vtpm: { ek: 'another', ak: 'another' } },
      got: {
        ...{ result: again, ...broker.exchanges() },
        vtpm: { ek: compared(before, after, 'ek'), ak: compared(before, after, 'ak') },
      },
    })
    const planted = await plantCanary(await second.login(), ['console', 'disk', 'vtpm'])
    await second.powerOff()

    lab.claim('credential', {
      expected: isEmulated
        ? { activated: [1, 0, 1], unsealed: [0, 0, 0] }
        : { activated: [1, 1], unsealed: [0, 0] },
      got: {
        activated: await vm.tpmSuccessesPerBoot('TPM2_ActivateCredential'),
        unsealed: await vm.unsealsPerBoot(),
      },
    })
    lab.claim('nowhere', { expected: [], got: await lab.findInRun(vm.recoveryKey) })
    const logged = after?.evidence ?? 'no evidence'
    lab.claim('planted', {
      expected: { planted: ['console', 'disk', 'record', 'vtpm'], logged: true },
      got: {
        planted: await lab.placesInRun(planted),
        logged: (await lab.placesInRun(logged)).includes('broker'),
      },
    })
  },
})

/** Of the keys of the vTPMs at two attestations, as the audit log has them. */
function compared(before: Attestation | undefined, after: Attestation | undefined, key: 'ek' | 'ak'): string {
  const [one, other] = [before?.vtpm?.[key], after?.vtpm?.[key]]
  if (one === undefined || other === undefined) return 'not recorded'
  return one === other ? 'the same' : 'another'
}

function partOf({ released, codes }: { readonly released: number; readonly codes: readonly string[] }) {
  return { released, codes }
}
