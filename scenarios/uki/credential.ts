import {
  alterFile,
  type Companion,
  compareBoot,
  credentialOutcomes,
  defineScenario,
  explainDifference,
  freshCanary,
  gotSecret,
  observeBoot,
  placeCompanions,
  predictBoot,
  type ScenarioVm,
  sealCredential,
} from '../../harness/run/index.ts'

const PHASES = ['enter-initrd']

export const scenario = defineScenario({
  title: 'a credential that is encrypted for the TPM reaches a service of systemd, and shows in PCR 12',
  images: ['uki'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['own-uki', 'login', 'stub-companions'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 500 },
  claims: {
    reaches: {
      claim:
        'a credential beside the UKI and a global one, encrypted for this TPM and the signed PCR 11, reach the service that asks for each',
    },
    measured: { claim: 'PCR 12 shows them, as predicted from the files on the ESP' },
    secret: { claim: 'the ESP has neither of them in clear' },
    refused: {
      claim:
        "altered, encrypted for another VM's TPM, or with no key at all: systemd does not start the service, and says why",
    },
    made: {
      claim:
        'control: in the same boot one that is right reaches its service: whoever has the vTPM can make one, it need not be the owner',
    },
    toldApart: {
      claim: "and of that PCR 12 tells, and no other register: it is as predicted, and not the owner's",
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner')
    const secrets = { local: freshCanary(), global: freshCanary() }
    const local = await sealed(vm, 'local', secrets.local.text)
    await placeCompanions(vm, [
      { for: 'uki', name: 'attestbed.local.cred', file: local },
      { for: 'any', name: 'attestbed.global.cred', file: await sealed(vm, 'global', secrets.global.text) },
    ])
    const owners = await predictBoot(vm, { phases: PHASES })
    const first = await observe(vm)
    lab.claim('reaches', {
      expected: { global: gotSecret(secrets.global.text), local: gotSecret(secrets.local.text) },
      got: first.outcomes,
    })
    const verdicts = compareBoot(owners, first.observed)
    lab.claim('measured', {
      expected: { 4: 'equal', 7: 'equal', 11: 'equal', 12: 'equal', 13: 'equal' },
      got: Object.fromEntries([4, 7, 11, 12, 13].map((index) => [index, verdicts[index]?.verdict])),
    })
    lab.claim('secret', {
      expected: [0, 0],
      got: [await vm.findOnDisk(secrets.local), await vm.findOnDisk(secrets.global)],
    })

    await placeCompanions(vm, await othersCredentials(vm, await lab.vm('other'), local))
    const others = await predictBoot(vm, { phases: PHASES })
    const second = await observe(vm)
    const { fourth, ...refused } = second.outcomes
    lab.claim('refused', {
      expected: { global: 'foreign-tpm', local: 'altered', third: 'null-key' },
      got: refused,
    })
    lab.claim('made', { expected: gotSecret('by the host'), got: fourth })
    const different = compareBoot(owners, second.observed).filter(({ verdict }) => verdict === 'different')
    lab.claim('toldApart', {
      expected: { asPredicted: 'equal', different: [12] },
      got: {
        asPredicted: compareBoot(others, second.observed)[12]?.verdict,
        different: different.map(({ index }) => index),
      },
    })
    for (const line of explainDifference(owners, others)) lab.note(line)
  },
})

async function observe(vm: ScenarioVm) {
  const boot = await vm.boot()
  const guest = await boot.login()
  const observed = await observeBoot(guest)
  await boot.powerOff()
  return { observed, outcomes: credentialOutcomes(boot.lines) }
}

function sealed(vm: ScenarioVm, name: string, secret: string): Promise<string> {
  return sealCredential(vm, { name: `attestbed.${name}`, secret, key: 'tpm' })
}

async function othersCredentials(
  vm: ScenarioVm,
  other: ScenarioVm,
  local: string,
): Promise<readonly Companion[]> {
  const nobodys = await sealCredential(vm, { name: 'attestbed.third', secret: 'nobody', key: 'null' })
  return [
    // At the end is what is encrypted, not what the TPM has sealed.
    { for: 'uki', name: 'attestbed.local.cred', file: await alterFile(vm, local, { lastLine: 'base64' }) },
    { for: 'any', name: 'attestbed.global.cred', file: await sealed(other, 'global', 'for another') },
    { for: 'any', name: 'attestbed.third.cred', file: nobodys },
    { for: 'any', name: 'attestbed.fourth.cred', file: await sealed(vm, 'fourth', 'by the host') },
  ]
}
