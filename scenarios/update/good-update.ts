import { type Boot, defineScenario, resetOnce } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'an update that works is tried once, becomes the default and stays it',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: true, image: ['offline-sealing', 'own-uki', 'ab-slots'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    offered: { claim: 'control: before, BootNext names the new slot, and the old one is the default' },
    tried: { claim: 'the new slot boots once BootNext names it' },
    madeDefault: { claim: 'the guest makes it the default, and BootNext is gone' },
    afterReset: { claim: 'it boots again after a reset' },
    afterRelaunch: { claim: 'it boots again in a new QEMU process' },
    unlocked: { claim: 'every boot opened the root from the same vTPM' },
    nothingTyped: { claim: 'nothing was typed' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next' })
    await vm.slots.offer({})
    lab.claim('offered', { expected: { next: 'b', order: ['a'] }, got: await vm.slots.state() })
    const first = await (await vm.boot()).settle()
    lab.claim('tried', { expected: 'b', got: vm.timeline.boots[0]?.slot })
    const again = await resetOnce(first)
    lab.claim('afterReset', { expected: 'b', got: vm.timeline.boots[1]?.slot })
    await again.cut()
    const state = await vm.slots.state()
    lab.claim('madeDefault', { expected: { next: 'none', order: ['b', 'a'] }, got: state })
    const relaunched = await (await vm.boot()).settle()
    lab.claim('afterRelaunch', { expected: 'b', got: vm.timeline.boots[2]?.slot })
    await relaunched.cut()
    lab.claim('unlocked', {
      expected: { opened: [true, true, true], unseals: [1, 1, 1] },
      got: { opened: vm.timeline.boots.map(({ unlocked }) => unlocked), unseals: await vm.unsealsPerBoot() },
    })
    lab.claim('nothingTyped', { expected: [0, 0], got: [again, relaunched].map(typedBytes) })
  },
})

function typedBytes({ machine }: Boot): number {
  return machine.console.sentBytes
}
