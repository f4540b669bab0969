import { type Boot, defineScenario, resetOnce } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'an update that works is tried once, becomes the default and stays it',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: { secureBoot: true, persistentVariables: true, image: ['offline-sealing', 'own-uki', 'ab-slots'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 600 },
  claims: {
    before: { claim: 'control: without BootNext the old slot boots' },
    tried: { claim: 'the new slot boots once BootNext names it' },
    madeDefault: { claim: 'the guest makes it the default, and BootNext is gone' },
    afterReset: { claim: 'it boots again after a reset' },
    afterRelaunch: { claim: 'it boots again in a new QEMU process' },
    unlocked: { claim: 'every boot opened the root from the same vTPM' },
    pcr11: { claim: 'PCR 11 differs between the slots, so it was the signed policy that opened the root' },
    nothingTyped: { claim: 'nothing was typed' },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'boot-next' })
    const old = await (await vm.boot()).settle()
    await old.cut()
    lab.claim('before', { expected: 'a', got: vm.timeline.boots[0]?.slot })

    await vm.slots.offer({})
    const first = await (await vm.boot()).settle()
    lab.claim('tried', { expected: 'b', got: vm.timeline.boots[1]?.slot })
    const again = await resetOnce(first)
    lab.claim('afterReset', { expected: 'b', got: vm.timeline.boots[2]?.slot })
    await again.cut()
    const state = await vm.slots.state()
    lab.claim('madeDefault', { expected: { next: 'none', order: ['b', 'a'] }, got: state })
    const relaunched = await (await vm.boot()).settle()
    lab.claim('afterRelaunch', { expected: 'b', got: vm.timeline.boots[3]?.slot })
    await relaunched.cut()
    for (const line of vm.timeline.lines) lab.note(line)
    lab.claim('unlocked', { expected: [1, 1, 1, 1], got: await vm.unsealsPerBoot() })
    const [a, b] = vm.timeline.boots
    lab.claim('pcr11', {
      expected: `not ${a?.pcrs['11']}`,
      got: b?.pcrs['11'],
      holds: a?.pcrs['11'] !== b?.pcrs['11'],
    })
    lab.claim('nothingTyped', { expected: [0, 0, 0], got: [old, again, relaunched].map(typedBytes) })
  },
})

function typedBytes({ machine }: Boot): number {
  return machine.console.sentBytes
}
