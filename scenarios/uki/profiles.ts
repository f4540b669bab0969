import {
  chooseProfile,
  defineScenario,
  predictBoot,
  REFUSED_BY_TPM,
  type ScenarioVm,
  signedProfiles,
  UNLOCKED_BY_TPM,
} from '../../harness/run/index.ts'

const PHASES = ['enter-initrd']
const REGISTERS = [4, 7, 11, 12, 13]

export const scenario = defineScenario({
  title:
    'a UKI with profiles boots the chosen one, PCR 11 shows it, and a profile without a signature opens nothing',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: true, image: ['own-uki', 'luks-root', 'offline-sealing'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    signed: {
      claim:
        'the signatures of PCR 11 in the UKI are over the values that are predicted for its first two profiles, and none is over that of the third',
    },
    main: {
      claim: 'unless another is asked for, the first profile boots, and the root unlocks from the vTPM',
    },
    rescue: { claim: 'asked for, the second one boots, with its own command line, and the root unlocks' },
    debug: {
      claim:
        'the third one boots, too, since one signature lets the firmware run them all, and the root stays closed for want of a signature',
    },
    measured: { claim: 'PCR 4, 7, 11, 12 and 13 of each are as predicted for its profile' },
    toldApart: {
      claim: 'PCR 11 and 12 tell the three apart; PCR 4 and 7, which Secure Boot is measured into, do not',
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', {
      seal: 'offline',
      uki: {
        profiles: [
          { id: 'main', extraCommandLine: 'attestbed.profile=main', pcrSigned: true },
          { id: 'rescue', extraCommandLine: 'attestbed.profile=rescue', pcrSigned: true },
          {
            id: 'debug',
            extraCommandLine: 'attestbed.profile=debug attestbed.on-failure=poweroff',
            pcrSigned: false,
          },
        ],
      },
    })
    lab.claim('signed', {
      expected: [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
      ],
      got: await signedProfiles(vm),
    })
    const main = await observe(vm, 0)
    lab.claim('main', {
      expected: { profile: 'main', result: UNLOCKED_BY_TPM, why: 'opened' },
      got: main.seen,
    })
    const rescue = await observe(vm, 1)
    lab.claim('rescue', {
      expected: { profile: 'rescue', result: UNLOCKED_BY_TPM, why: 'opened' },
      got: rescue.seen,
    })
    const debug = await observe(vm, 2)
    lab.claim('debug', {
      expected: { profile: 'debug', result: REFUSED_BY_TPM, why: 'pcr-signature-missing' },
      got: debug.seen,
    })
    const all = [main, rescue, debug]
    lab.claim('measured', {
      expected: all.map(({ predicted }) => predicted),
      got: all.map(({ pcrs }) => pcrs),
    })
    const distinct = (index: number) => new Set(all.map(({ pcrs }) => pcrs[index])).size
    lab.claim('toldApart', {
      expected: { 4: 1, 7: 1, 11: 3, 12: 3 },
      got: Object.fromEntries([4, 7, 11, 12].map((index) => [index, distinct(index)])),
    })
  },
})

async function observe(vm: ScenarioVm, profile: number) {
  const registers = (await predictBoot(vm, { profile, phases: PHASES })).registers('sha256')
  const predicted = Object.fromEntries(
    REGISTERS.map((index) => {
      const register = registers[index]
      return [String(index), register?.known ? register.value.toString('hex') : 'not known']
    }),
  )
  if (profile > 0) await chooseProfile(vm, profile)
  const boot = await vm.boot()
  const unlock = await boot.unlock()
  await boot.cut()
  const [, name = ''] = /\battestbed\.profile=(\w+)/.exec(unlock.commandLine) ?? []
  const { result, why } = unlock.summary
  return { predicted, pcrs: unlock.pcrs(REGISTERS), seen: { profile: name, result, why } }
}
