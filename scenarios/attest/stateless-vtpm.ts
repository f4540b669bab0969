import { defineScenario, ownersPolicy, UNLOCKED_BY_BROKER } from '../../harness/run/index.ts'

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
    opens: { claim: 'the root opens with the key that the broker released' },
    credential: { claim: 'the key came as a credential: the TPM activated one, and unsealed nothing' },
    judged: { claim: 'the broker attested one guest, without a finding, and released one key' },
    again: { claim: 'so it is in the next boot, with another vTPM' },
    foreign: {
      claim:
        'control: evidence whose TPM is not the one that the report endorses gets nothing, and the log says why',
    },
    nowhere: {
      claim: 'the key is in no file of the run directory: no console, no log of broker or vTPM, no disk',
    },
    planted: { claim: 'control: one that was planted on the console is found' },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const vm = await lab.vm('owner', {
      ...{ recoveryKey: 'enrolled', kernel: 'direct', network: broker.network },
      uki: { extraCommandLine: broker.commandLine },
    })
    const policy = await ownersPolicy(vm, { vtpm: 'required', delivery: 'activate-credential' })
    await broker.serve({ ...policy, secret: vm.recoveryKey })

    const first = await vm.boot()
    lab.claim('opens', { expected: UNLOCKED_BY_BROKER, got: (await first.unlock()).result })
    lab.claim('judged', {
      expected: { attested: 1, refused: 0, released: 1, codes: [] },
      got: broker.exchanges(),
    })
    await first.cut()
  },
})
