import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { UsageError } from '../base/errors.ts'
import { variableFlash } from '../formats/testing/variable-flash.ts'
import { BootNextSlots } from './boot-next-slots.ts'
import type { SlotOwner } from './slot-owner.ts'

const ESP = {
  ...{ disk: '/nowhere/disk.qcow2', offset: 1 << 20, size: 1 << 26 },
  partition: { partition: 1, start: 2048n, size: 131072n, guid: '00112233-4455-6677-8899-aabbccddeeff' },
}

/** Slots of a VM whose variable store is `store`; nothing of its disk is read. */
async function slotsWith(
  t: Test,
  store: Uint8Array,
  requireOff: SlotOwner['requireOff'] = () => {},
): Promise<{ slots: BootNextSlots; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const variables = join(directory, 'variables.fd')
  await writeFile(variables, store)
  const vm = { spec: { directory }, firmware: { kind: 'pflash', variables }, requireOff }
  return { slots: new BootNextSlots(vm as unknown as SlotOwner, ESP), directory }
}

t.test('a variable store that is none is refused, with its file and the offset', async (t) => {
  const short = await slotsWith(t, variableFlash([]).subarray(0, 1000))
  await t.rejects(short.slots.state(), {
    name: 'FormatError',
    code: 'truncated',
    offset: 32,
    message: /variables\.fd/,
  })
  const long = await slotsWith(t, Buffer.concat([variableFlash([]), Buffer.alloc(7)]))
  await t.rejects(long.slots.state(), { code: 'trailing-bytes', message: /variables\.fd.*7 bytes/ })
  const broken = variableFlash([])
  broken.writeUInt8(0, 92)
  const { slots } = await slotsWith(t, broken)
  await t.rejects(slots.state(), {
    name: 'FormatError',
    field: 'Format',
    offset: 92,
    message: /variables\.fd/,
  })
})

t.test('nothing is read or written while the VM runs', async (t) => {
  const { slots } = await slotsWith(t, variableFlash([]), (action) => {
    throw new UsageError(`cannot ${action}`, { code: 'bad-scenario' })
  })
  const refused = (message: string) => ({ name: 'UsageError', message })
  await t.rejects(slots.state(), refused('cannot read or change the variables'))
  await t.rejects(slots.esp(), refused('cannot read the ESP'))
  await t.rejects(slots.changeEsp({ kind: 'remove', path: 'x' }), refused('cannot change the ESP'))
})

t.test('what is no UKI is refused before it reaches a disk', async (t) => {
  const { slots, directory } = await slotsWith(t, variableFlash([]))
  const file = join(directory, 'hello.efi')
  await writeFile(file, 'hello')
  await t.rejects(slots.offer({ file }), { name: 'FormatError', message: /UKI of .*hello\.efi/ })
  t.equal((await readFile(file)).toString(), 'hello')
})
