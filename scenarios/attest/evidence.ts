import {
  collectEvidence,
  defineScenario,
  freshNonce,
  portErrors,
  verifyTeeEvidence,
} from '../../harness/run/index.ts'

/** What no guest that wants a report would say. */
const NONSENSE = ['', 'report', 'report 00', `report ${'G'.repeat(128)}`, `report ${'0'.repeat(9000)}`]

export const scenario = defineScenario({
  title: 'a guest gets evidence of its launch that its owner can verify, and nobody by default',
  images: ['micro'],
  vtpms: ['none'],
  tees: ['sev-snp', 'tdx'],
  needs: { secureBoot: false, persistentVariables: false, image: ['login', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 500 },
  claims: {
    authentic: {
      claim: "the evidence verifies under its TEE's root, and its REPORT_DATA is what was asked for",
    },
    launch: { claim: 'its launch digest is the one that the owner predicts', about: 'launch' },
    again: { claim: 'so is that of a second report, after a reset' },
    nonsense: {
      claim: 'what is no request is answered with an error, and the next request with evidence that verifies',
      requires: 'emulation',
    },
    defaults: {
      claim:
        "control: by the vendors' roots alone evidence of an emulated TEE is not authentic, and that of hardware is",
    },
    nonce: { claim: 'control: of another nonce it is refused' },
    twin: { claim: 'control: a twin with one other byte of firmware is told apart', about: 'launch' },
  },
  run: async (lab) => {
    const vm = await lab.vm('guest', { kernel: 'direct' })
    const { tee } = vm
    const digest = await tee.expectedDigest()
    const policy = {
      'sev-snp': { snp: { launchDigests: [digest] } },
      tdx: { tdx: { mrtd: [digest] } },
    }[tee.platform as 'sev-snp' | 'tdx']
    const verified = { authentic: true, acceptable: true, findings: [] }
    const boot = await vm.boot()
    const guest = await boot.login()
    const nonce = freshNonce()
    const evidence = await collectEvidence(guest, nonce)
    const verdict = await verifyTeeEvidence(tee, evidence, { nonce, policy })
    lab.claim('authentic', { expected: true, got: verdict.authentic })
    const { authentic, acceptable, findings } = verdict
    lab.claim('launch', { expected: verified, got: { authentic, acceptable, findings } })

    const refused = await verifyTeeEvidence(tee, evidence, { nonce, policy, trust: 'default' })
    lab.claim('defaults', {
      expected: tee.isEmulated ? 'not authentic, and the reason names the root' : 'authentic',
      got: `${refused.authentic ? 'authentic' : 'not authentic'}: ${refused.because}`,
      holds: tee.isEmulated ? !refused.authentic && refused.because.includes('SIMULATED') : refused.authentic,
    })
    const other = await verifyTeeEvidence(tee, evidence, { nonce: freshNonce(), policy })
    lab.claim('nonce', { expected: ['report-data'], got: other.findings })

    if (tee.isEmulated) {
      const errors = await portErrors(guest, NONSENSE)
      const next = freshNonce()
      const afterwards = await verifyTeeEvidence(tee, await collectEvidence(guest, next), {
        ...{ nonce: next, policy },
      })
      lab.claim('nonsense', {
        expected: { errors: NONSENSE.length, findings: [] },
        got: {
          errors: errors.filter((error) => error !== undefined).length,
          findings: afterwards.findings,
        },
      })
    } else lab.skip('nonsense', 'emulation-required: this guest has the interface of its kernel, and no port')

    const later = freshNonce()
    const second = await collectEvidence(await (await boot.reboot()).login(), later)
    const again = await verifyTeeEvidence(tee, second, { nonce: later, policy })
    lab.claim('again', { expected: [], got: again.findings })
    await vm.cut()

    const twin = await lab.vm('twin', { kernel: 'direct', firmware: 'altered' })
    const last = freshNonce()
    const fromTwin = await collectEvidence(await (await twin.boot()).login(), last)
    const told = await verifyTeeEvidence(twin.tee, fromTwin, { nonce: last, policy })
    lab.claim('twin', {
      expected: [tee.platform === 'sev-snp' ? 'launch-digest' : 'mrtd'],
      got: told.findings,
    })
    await twin.cut()
  },
})
