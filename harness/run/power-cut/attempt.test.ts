import t from 'tap'
import { GuestError, LaunchError, TimeoutError } from '../../base/errors.ts'
import type { ScenarioVm } from '../vm.ts'
import { bootOnce } from './attempt.ts'

/** A VM whose one boot opens the root of `slot`, or not, and settles or throws. */
function vmThat({ slot = 'a', unlocked = true, typedBytes = 0, error = undefined as Error | undefined }) {
  const did: string[] = []
  const vm = {
    ...{ name: 'cut-3', typedBytes, timeline: { boots: [{ slot, unlocked }] } },
    boot: async () => ({
      settle: async () => {
        if (error) throw error
      },
    }),
    cut: async () => void did.push('cut'),
  }
  return { vm: vm as unknown as ScenarioVm, did }
}

t.test('a slot is up where its root was opened by the vTPM, with nothing typed', async (t) => {
  const good = vmThat({})
  t.strictSame(await bootOnce(good.vm, 1000), { came: 'up', slot: 'a', why: '' })
  t.strictSame(good.did, ['cut'], 'it is off afterwards')
  const why = 'the root was not opened by the vTPM'
  t.match(await bootOnce(vmThat({ unlocked: false }).vm, 1000), { came: 'down', why })
  t.match(await bootOnce(vmThat({ typedBytes: 1 }).vm, 1000), { came: 'down', why })
})

t.test('what the guest did by itself is the fault of its disks, in the same words each time', async (t) => {
  const error = new GuestError('cut-3 ended (panic): [    7.2] Kernel panic - not syncing\ntail', {
    code: 'panic',
  })
  const told = await bootOnce(vmThat({ error, slot: 'none' }).vm, 1000)
  t.strictSame(told, { came: 'down', slot: 'none', why: 'ended (panic): Kernel panic - not syncing' })
})

t.test('a boot that is late is told apart from one that failed', async (t) => {
  const error = new TimeoutError('the guest was not ready within 180 s', { code: 'boot' })
  t.match(await bootOnce(vmThat({ error }).vm, 1000), { came: 'down', late: error })
})

t.test('what is no doing of the guest says nothing of its disks', async (t) => {
  for (const error of [
    new GuestError('the console closed', { code: 'console-closed' }),
    new LaunchError('QEMU was ended by SIGKILL', { code: 'qemu-crashed' }),
    new TimeoutError('the run is over', { code: 'scenario' }),
  ])
    await t.rejects(bootOnce(vmThat({ error }).vm, 1000), error)
})
