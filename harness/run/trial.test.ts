import t from 'tap'
import { type GuestCode, GuestError, LaunchError, TimeoutError } from '../base/errors.ts'
import type { BootRecord } from './timeline.ts'
import { tryUpdate } from './trial.ts'
import type { ScenarioVm } from './vm.ts'

const booted = (slot: string, more: Partial<BootRecord> = {}): BootRecord => ({
  ...{ number: 1, process: 1, slot, entry: `Boot0101 "slot ${slot}"`, refused: [], ending: 'reset' },
  ...{ unlocked: false, pcrs: {}, why: 'unknown', words: '' },
  ...more,
})

/** A VM whose next power-on makes `boots`, then settles or throws, with `typed` bytes at its console. */
function vmThat(
  boots: readonly BootRecord[],
  { error, typed = 0 }: { readonly error?: Error; readonly typed?: number } = {},
) {
  const earlier = booted('a', { unlocked: true })
  const vm = {
    did: [] as string[],
    timeline: { boots: [earlier] },
    typedBytes: 7,
    slots: {
      offer: async () => void vm.did.push('offer'),
      state: async () => ({ files: ['a.efi'] }),
    },
    boot: async () => {
      vm.did.push('boot')
      return {
        settle: async () => {
          vm.timeline.boots.push(...boots)
          vm.typedBytes += typed
          if (error) throw error
        },
      }
    },
    cut: async () => void vm.did.push('cut'),
  }
  return { vm: vm as unknown as ScenarioVm, did: vm.did }
}

t.test('a trial is told by what happened since its offer', async (t) => {
  const refused = [
    { entry: 'Boot0001 "other"', why: 'Not Found' },
    { entry: '\\EFI\\Linux\\b+0-1.efi', why: 'Access denied' },
  ]
  const { vm, did } = vmThat([booted('none', { refused }), booted('a', { unlocked: true })], { typed: 3 })
  t.match(await tryUpdate(vm, {}), {
    ...{ slots: ['none', 'a'], newSlot: 'refused', oldUnlocked: [true], typedBytes: 3 },
    refused: [{ entry: '\\EFI\\Linux\\b+0-1.efi' }],
    state: { files: ['a.efi'] },
  })
  t.same(did, ['offer', 'boot', 'cut'])
})

t.test('an old slot that stays closed, and one that never comes, can be told', async (t) => {
  const closed = vmThat([booted('b', { ending: 'panic' }), booted('a')])
  t.match(await tryUpdate(closed.vm, {}), { newSlot: 'panic', slots: ['b', 'a'], oldUnlocked: [false] })
  const error = new GuestError('owner reset 4 times and was never ready', { code: 'reset' })
  const loop = vmThat([booted('b'), booted('b'), booted('b'), booted('b')], { error })
  t.match(await tryUpdate(loop.vm, {}), {
    slots: ['b', 'b', 'b', 'b', 'nothing'],
    oldUnlocked: [false],
  })
  t.same(loop.did, ['offer', 'boot', 'cut'], 'it is off afterwards')
})

t.test(
  'a guest that ends by itself in place of coming up has failed, and is no fault of the lab',
  async (t) => {
    for (const code of ['firmware-refused', 'panic', 'hang', 'shut-down'] satisfies readonly GuestCode[]) {
      const error = new GuestError(`owner ended (${code})`, { code })
      const { vm, did } = vmThat([booted('b'), booted('a', { unlocked: true })], { error })
      const trial = await tryUpdate(vm, {})
      t.strictSame(trial.slots, ['b', 'a', 'nothing'], 'the old slot opened the root, and did not come up')
      t.strictSame(trial.oldUnlocked, [true, false])
      t.same(did, ['offer', 'boot', 'cut'])
    }
  },
)

t.test('what else goes wrong is no result', async (t) => {
  const late = new TimeoutError('the guest was not ready within 180 s', { code: 'boot' })
  await t.rejects(tryUpdate(vmThat([booted('b')], { error: late }).vm, {}), late)
  const broken = [
    ...(['console-closed', 'protocol'] as const).map((code) => new GuestError('the console', { code })),
    new LaunchError('QEMU was ended by SIGKILL', { code: 'qemu-crashed' }),
  ]
  for (const error of broken) await t.rejects(tryUpdate(vmThat([booted('b')], { error }).vm, {}), error)
})
