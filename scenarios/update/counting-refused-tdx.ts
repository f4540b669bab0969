import { type Boot, defineScenario } from '../../harness/run/index.ts'

const PROMPT = 'attestbed.on-failure=prompt'

export const scenario = defineScenario({
  title: 'with firmware for TDX guests a Secure Boot refusal moves on to the old slot, by boot counting',
  images: ['ab'],
  // This firmware measures into no TPM, so the root opens by its recovery key.
  vtpms: ['none'],
  needs: {
    secureBoot: true,
    persistentVariables: false,
    firmwareLoad: 'bios',
    image: ['own-uki', 'ab-slots', 'recovery-key'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 400 },
  claims: {
    wrongKey: { claim: 'systemd-boot is refused the update that a stranger signed, and says so' },
    movedOn: {
      claim: 'then it boots the old slot, and the file name says that no try is left (systemd#25548)',
    },
    afterWrongKey: { claim: 'the root of the old slot opens by its recovery key' },
    control: { claim: 'control: the same update signed by our key is booted' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', {
      ...{ recoveryKey: 'enrolled', slots: 'counting', slotCommandLine: PROMPT },
    })
    await vm.slots.offer({ signedBy: 'db-other', extraCommandLine: PROMPT })
    await open(await vm.boot())
    const [refusal, old] = vm.timeline.boots
    lab.claim('wrongKey', {
      expected: ['Access denied'],
      got: refusal?.refused.filter(({ entry }) => OF_SLOT_B.test(entry)).map(({ why }) => why),
    })
    lab.claim('movedOn', {
      expected: { slots: ['none', 'a'], state: { files: ['a.efi', 'b+0-1.efi'] } },
      got: { slots: vm.timeline.boots.map(({ slot }) => slot), state: await vm.slots.state() },
    })
    lab.claim('afterWrongKey', { expected: true, got: old?.unlocked })

    await vm.slots.offer({ extraCommandLine: PROMPT })
    await open(await vm.boot())
    const last = vm.timeline.boots[2]
    lab.claim('control', { expected: ['b', true], got: [last?.slot, last?.unlocked] })
  },
})

const OF_SLOT_B = /\\b\+[\d-]+\.efi$/

/** Over as many resets as the loader needs. */
async function open(boot: Boot): Promise<void> {
  await boot.unlock()
  await boot.typeRecoveryKey()
  await boot.cut()
}
