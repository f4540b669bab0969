import { defineScenario, nothingCameUp, recordPowerCuts } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'whenever the power is cut during an update, one of the two slots comes up',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: true,
    persistentVariables: true,
    image: ['offline-sealing', 'own-uki', 'ab-slots', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 900, secondsPerState: 120 },
  claims: {
    updated: { claim: 'control: the update that is recorded works: slot b is tried and becomes the default' },
    start: { claim: 'control: the state before its first write boots slot a' },
    end: { claim: 'control: the state after its last write boots slot b' },
    survived: { claim: 'from every state that was booted, a slot comes up with its root unlocked' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next', onPanic: 'continue' })
    await vm.slots.attachUpdate()
    const cuts = await recordPowerCuts(vm)
    const old = await (await vm.boot()).settle()
    const guest = await old.login()
    await cuts.mark('start')
    await guest.succeed(['update-install', 'efibootmgr'], { timeoutMs: 180_000 })
    await cuts.mark('installed')
    const trial = await old.reboot()
    const settled = await trial.settle().catch(nothingCameUp)
    await cuts.mark('made default')
    await (settled ?? trial).machine.quit()
    for (const line of vm.timeline.lines) lab.note(line)
    const slots = vm.timeline.boots.map(({ slot }) => slot)
    const state = await vm.slots.state()
    lab.claim('updated', {
      expected: { cameUp: true, slots: ['a', 'b'], state: { order: ['b', 'a'], next: 'none' } },
      got: { cameUp: settled !== undefined, slots, state },
    })
    // What was recorded then is no update: its states say nothing.
    if (settled === undefined) return
    const report = await cuts.boot()
    lab.claim('start', { expected: 'up a', got: `${report.start.came} ${report.start.slot}` })
    lab.claim('end', { expected: 'up b', got: `${report.end.came} ${report.end.slot}` })
    const broken = report.broken.map(({ line }) => line)
    lab.claim('survived', { expected: [], got: broken, holds: report.tried > 0 && broken.length === 0 })
  },
})
