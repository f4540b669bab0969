import { defineScenario, tryUpdate } from '../../harness/run/index.ts'

/** After a bad update with one try: the old slot, and a file name that says that no try is left. */
const BACK = { slots: ['b', 'a'], oldUnlocked: [true], state: { files: ['a.efi', 'b+0-1.efi'] } }

export const scenario = defineScenario({
  title: 'an update that boots and fails gives way to the old slot, by boot counting',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    firmwareLoad: 'bios',
    image: ['offline-sealing', 'own-uki', 'ab-slots'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 1200 },
  claims: {
    panics: { claim: 'the update that panics ends in a panic, once for each of its two tries' },
    exhausted: {
      claim: 'with no try left it is not booted again while the old slot is there (systemd#40192)',
    },
    afterPanic: { claim: 'the old slot, which boots instead, unlocks the root' },
    hangs: { claim: 'the update that hangs is reset by the watchdog device' },
    afterHang: { claim: 'then the old slot unlocks the root' },
    unhealthy: { claim: 'the update that fails its health check unlocks the root and resets' },
    afterUnhealthy: { claim: 'then the old slot unlocks the root' },
    truncated: { claim: 'the update of which half is missing cannot be loaded, and systemd-boot says so' },
    afterTruncated: { claim: 'then the old slot unlocks the root' },
    control: { claim: 'control: the same update without the fault boots and is blessed' },
    unsealed: { claim: 'the same vTPM released the key in every boot that opened the root, and in no other' },
    nothingTyped: { claim: 'nothing was typed' },
  },
  run: async (lab) => {
    const options = { slots: 'counting', watchdog: true, onPanic: 'continue' } as const
    const vm = await lab.vm('owner', { seal: 'offline', ...options })
    const back = ({ slots, oldUnlocked, state }: typeof panicked) => ({ slots, oldUnlocked, state })

    const panicked = await tryUpdate(vm, {
      ...{ extraCommandLine: 'attestbed.fault=panic', tries: 2 },
    })
    const endings = panicked.boots.flatMap(({ slot, ending }) => (slot === 'b' ? [ending] : []))
    lab.claim('panics', { expected: ['panic', 'panic'], got: endings })
    lab.claim('afterPanic', { expected: [true], got: panicked.oldUnlocked })
    lab.claim('exhausted', {
      expected: { slots: ['b', 'b', 'a'], state: { files: ['a.efi', 'b+0-2.efi'] } },
      got: { slots: panicked.slots, state: panicked.state },
    })

    const hung = await tryUpdate(vm, { extraCommandLine: 'attestbed.fault=hang attestbed.watchdog=10' })
    lab.claim('hangs', { expected: 'watchdog', got: hung.newSlot })
    lab.claim('afterHang', { expected: BACK, got: back(hung) })

    const unhealthy = await tryUpdate(vm, { extraCommandLine: 'attestbed.health=bad' })
    lab.claim('unhealthy', {
      expected: { ending: 'unhealthy', unlocked: true },
      got: { ending: unhealthy.newSlot, unlocked: unhealthy.boots[0]?.unlocked },
    })
    lab.claim('afterUnhealthy', { expected: BACK, got: back(unhealthy) })

    const half = await tryUpdate(vm, { truncatedTo: 0.5 })
    lab.claim('truncated', { expected: 1, got: half.refused.length })
    lab.claim('afterTruncated', { expected: { ...BACK, slots: ['none', 'a'] }, got: back(half) })

    const good = await tryUpdate(vm, {})
    lab.claim('control', {
      expected: { slots: ['b'], state: { files: ['a.efi', 'b.efi'] } },
      got: { slots: good.slots, state: good.state },
    })
    const unlocked = vm.timeline.boots.map((boot) => boot.unlocked)
    const unsealed = (await vm.unsealsPerBoot()).map((count) => count > 0)
    lab.claim('unsealed', { expected: unlocked, got: unsealed })
    const typed = [panicked, hung, unhealthy, half, good].map(({ typedBytes }) => typedBytes)
    lab.claim('nothingTyped', { expected: [0, 0, 0, 0, 0], got: typed })
  },
})
