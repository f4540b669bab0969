import {
  defineScenario,
  injectCommandLine,
  REFUSED_BY_TPM,
  UNLOCKED_BY_TPM,
} from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'a kernel command line that the host injects by SMBIOS shows in PCR 12, and closes the root',
  images: ['debian'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: false, image: ['offline-sealing', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 400 },
  claims: {
    control: { claim: 'control: sealed to an empty PCR 12, the root unlocks without an injection' },
    defended: { claim: 'the injection gains nothing: the root stays closed, or the command line is ignored' },
    why: {
      claim: 'closed for the reason that the policy does not match, or open because nothing was injected',
    },
    pcr12: { claim: 'PCR 12 tells an injection that took effect from one that did not' },
    pcr11: { claim: 'PCR 11 alone would not have told: it is the same in both boots' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', literalPcrs: { 12: 'zero' } })
    const first = await vm.boot()
    const control = await first.unlock()
    lab.claim('control', { expected: UNLOCKED_BY_TPM, got: control.result })
    await first.cut()

    await lab.interfere(injectCommandLine('attestbed.injected=1'), vm)
    const second = await vm.boot()
    const attacked = await second.unlock()
    // systemd's stub takes no command line from SMBIOS in a confidential VM; elsewhere it does, and measures it.
    const injected = attacked.commandLine.includes('attestbed.injected=1')
    const ignoring = lab.basis === 'hardware'
    lab.claim('defended', { expected: ignoring ? UNLOCKED_BY_TPM : REFUSED_BY_TPM, got: attacked.result })
    lab.claim('why', { expected: ignoring ? 'opened' : 'policy-mismatch', got: attacked.why })
    lab.claim('pcr12', {
      expected: { injected: !ignoring, changed: !ignoring },
      got: { injected, changed: attacked.pcr(12) !== control.pcr(12) },
    })
    lab.claim('pcr11', { expected: control.pcr(11), got: attacked.pcr(11) })
    await second.cut()
  },
})
