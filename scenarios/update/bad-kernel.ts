import { defineScenario, tryUpdate } from '../../harness/run/index.ts'

/** After a bad update: the old slot, which is still the default, and nothing left that would try the new one again. */
const BACK = { slots: ['b', 'a'], oldUnlocked: [true], state: { order: ['a'], next: 'none' } }

export const scenario = defineScenario({
  title: 'an update that boots and fails gives way to the old slot, by BootNext',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: true, image: ['offline-sealing', 'own-uki', 'ab-slots'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 1200 },
  claims: {
    panics: { claim: 'the update that panics ends in a panic, reported by its pvpanic device' },
    afterPanic: { claim: 'then the old slot unlocks the root, now and after another reset' },
    locked: { claim: 'the update whose PCR signature is by another key gives up on the root' },
    afterLocked: {
      claim: 'then the old slot unlocks the root, and nothing is left that would try the new one again',
    },
    hangs: { claim: 'the update that hangs is reset by the watchdog device' },
    afterHang: {
      claim: 'then the old slot unlocks the root, and nothing is left that would try the new one again',
    },
    unhealthy: { claim: 'the update that fails its health check unlocks the root and resets' },
    afterUnhealthy: {
      claim: 'then the old slot unlocks the root, and nothing is left that would try the new one again',
    },
    control: { claim: 'control: the same update without the fault becomes the default in the same VM' },
    pcr11: { claim: 'PCR 11 differs between the slots, so it was the signed policy that opened the root' },
    unsealed: { claim: 'the same vTPM released the key in every boot that opened the root, and in no other' },
    nothingTyped: { claim: 'nothing was typed' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', {
      seal: 'offline',
      slots: 'boot-next',
      watchdog: true,
      onPanic: 'continue',
    })
    const back = ({ slots, oldUnlocked, state }: typeof panicked) => ({ slots, oldUnlocked, state })

    const panicked = await tryUpdate(vm, { extraCommandLine: 'attestbed.fault=panic', resets: 1 })
    lab.claim('panics', { expected: 'panic', got: panicked.newSlot })
    lab.claim('afterPanic', {
      expected: { ...BACK, slots: ['b', 'a', 'a'], oldUnlocked: [true, true] },
      got: back(panicked),
    })

    const locked = await tryUpdate(vm, { pcrSignedBy: 'pcr-other' })
    lab.claim('locked', {
      expected: { ending: 'gave-up', why: 'no-pcr-signature' },
      got: { ending: locked.newSlot, why: locked.boots[0]?.why },
    })
    lab.claim('afterLocked', { expected: BACK, got: back(locked) })

    const hung = await tryUpdate(vm, { extraCommandLine: 'attestbed.fault=hang attestbed.watchdog=10' })
    lab.claim('hangs', { expected: 'watchdog', got: hung.newSlot })
    lab.claim('afterHang', { expected: BACK, got: back(hung) })

    const unhealthy = await tryUpdate(vm, { extraCommandLine: 'attestbed.health=bad' })
    lab.claim('unhealthy', {
      expected: { ending: 'unhealthy', unlocked: true },
      got: { ending: unhealthy.newSlot, unlocked: unhealthy.boots[0]?.unlocked },
    })
    lab.claim('afterUnhealthy', { expected: BACK, got: back(unhealthy) })

    const good = await tryUpdate(vm, {})
    lab.claim('control', {
      expected: { slots: ['b'], state: { order: ['b', 'a'], next: 'none' } },
      got: { slots: good.slots, state: good.state },
    })
    const [old, now] = [unhealthy.boots.at(-1), good.boots[0]]
    lab.claim('pcr11', {
      expected: { pcr7: old?.pcrs['7'], pcr11: `not ${old?.pcrs['11']}` },
      got: { pcr7: now?.pcrs['7'], pcr11: now?.pcrs['11'] },
      holds:
        [old, now].every((boot) => boot?.unlocked && boot.pcrs['11'] !== undefined) &&
        old?.pcrs['7'] === now?.pcrs['7'] &&
        old?.pcrs['11'] !== now?.pcrs['11'],
    })
    const unlocked = vm.timeline.boots.map((boot) => boot.unlocked)
    const unsealed = (await vm.unsealsPerBoot()).map((count) => count > 0)
    lab.claim('unsealed', { expected: unlocked, got: unsealed })
    const typed = [panicked, locked, hung, unhealthy, good].map(({ typedBytes }) => typedBytes)
    lab.claim('nothingTyped', { expected: [0, 0, 0, 0, 0], got: typed })
  },
})
