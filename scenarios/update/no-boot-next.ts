import { defineScenario } from '../../harness/run/index.ts'

const EFIVARS = '/sys/firmware/efi/efivars'
const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'

export const scenario = defineScenario({
  title: 'with firmware that is loaded by -bios, BootNext cannot work: a reset forgets it',
  images: ['ab'],
  vtpms: ['stateful'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    firmwareLoad: 'bios',
    image: ['offline-sealing', 'own-uki', 'ab-slots', 'login'],
  },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 400 },
  claims: {
    written: { claim: 'control: the guest writes the entry and BootNext, and reads back both' },
    gone: { claim: 'after a reset in the same QEMU both are gone' },
    notTried: {
      claim: 'the slot that BootNext named was not booted: the old one was, and unlocked the root',
    },
  },
  run: async (lab) => {
    const vm = await lab.vm('owner', { seal: 'offline', slots: 'fallback' })
    await vm.slots.attachUpdate()
    const first = await (await vm.boot()).settle()
    const guest = await first.login()
    await guest.succeed(['update-install', 'efibootmgr'])
    const list = [
      'sh',
      '-c',
      `cd ${EFIVARS} && ls | grep -c "^BootNext-${GLOBAL}"; efibootmgr | grep -c "slot b"`,
    ]
    const written = (await guest.run(list)).stdout.toString().trim().split('\n')
    lab.claim('written', {
      expected: { firmware: lab.variant.firmware, found: ['1', '1'] },
      got: found(written),
    })
    const second = await (await first.reboot()).settle()
    const left = (await (await second.login()).run(list)).stdout.toString().trim().split('\n')
    lab.claim('gone', { expected: { firmware: lab.variant.firmware, found: ['0', '0'] }, got: found(left) })
    await second.cut()
    for (const line of vm.timeline.lines) lab.note(line)
    const after = vm.timeline.boots[1]
    lab.claim('notTried', {
      expected: { process: 1, slot: 'a', unlocked: true },
      got: { process: after?.process, slot: after?.slot, unlocked: after?.unlocked },
    })

    function found(lines: readonly string[]) {
      return { firmware: lab.variant.firmware, found: lines }
    }
  },
})
