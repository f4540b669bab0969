import {
  collectEvidence,
  defineScenario,
  fakeExtends,
  freshNonce,
  type LabGuest,
  recordExtends,
  referencePolicy,
  verifyTeeEvidence,
} from '../../harness/run/index.ts'

/** What firmware and stub measured of the UKI, as the guest's vTPM has it. */
const BANK = '/sys/class/tpm/tpm0/pcr-sha256'
const registersOf = (guest: LabGuest): Promise<string> => guest.text(['cat', `${BANK}/4`, `${BANK}/11`])

export const scenario = defineScenario({
  title: 'a host that fakes its vTPM fools who trusts the vTPM, and not who trusts the TEE alone',
  images: ['micro'],
  vtpms: ['stateless'],
  tees: ['sev-snp', 'tdx'],
  needs: { secureBoot: false, persistentVariables: false, image: ['login', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    honest: { claim: 'the evidence of the right UKI is what its owner demands' },
    vtpm: { claim: 'control: another UKI shows in PCR 4 and 11 of an honest vTPM' },
    fooled: {
      claim: 'control: PCR 4 and 11 of the faked vTPM are those of the right UKI, whichever UKI runs',
    },
    tee: { claim: "the TEE's evidence tells the other UKI apart, and says where" },
  },
  run: async (lab) => {
    const nonce = freshNonce()
    const right = await lab.vm('right', { kernel: 'direct' })
    const recording = recordExtends()
    right.listenOnTpmBus(recording)
    const guest = await (await right.boot()).login()
    const wanted = await registersOf(guest)
    const evidence = await collectEvidence(guest, nonce)
    const { recorded } = recording
    await right.cut()
    const policy = await referencePolicy(right.tee, evidence)
    const accepted = await verifyTeeEvidence(right.tee, evidence, { nonce, policy })
    lab.claim('honest', { expected: [], got: accepted.findings })

    const other = await lab.vm('other', {
      kernel: 'direct',
      uki: { extraCommandLine: 'attestbed.other=1' },
    })
    const own = await registersOf(await (await other.boot()).login())
    await other.cut()
    lab.claim('vtpm', { expected: `not ${wanted}`, got: own, holds: own !== wanted })

    await lab.interfere(fakeExtends(recorded), other)
    const faked = await (await other.boot()).login()
    lab.claim('fooled', { expected: wanted, got: await registersOf(faked) })
    const told = await verifyTeeEvidence(other.tee, await collectEvidence(faked, nonce), { nonce, policy })
    const differs = lab.variant.platform === 'tdx' ? 'rtmr' : 'launch-digest'
    lab.claim('tee', {
      expected: `${differs} alone`,
      got: told.findings,
      holds: told.authentic && told.findings.length > 0 && told.findings.every((code) => code === differs),
    })
    await other.cut()
  },
})
