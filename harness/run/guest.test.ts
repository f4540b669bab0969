import t from 'tap'
import type { Guest } from '../machine/guest/run.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { LabGuest } from './guest.ts'

const SECURE_BOOT = 'SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c'
const OTHER = 'BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c'

/** A guest whose efivarfs holds `variables` once it is mounted; it is there from the start unless `mounts` is given. */
function guestWith(variables: Readonly<Record<string, Uint8Array>>, { mounts = 0 } = {}) {
  let waiting = mounts
  const succeed = async ([program, ...args]: readonly string[]) => {
    if (program === 'mount') waiting -= 1
    if (program === 'ls') {
      const names = waiting > 0 ? [] : Object.keys(variables)
      return { stdout: Buffer.from(names.map((name) => `${name}\n`).join('')) }
    }
    return { stdout: Buffer.from(variables[args.at(-1)?.split('/').at(-1) ?? ''] ?? []) }
  }
  return new LabGuest({ succeed } as unknown as Guest, {} as ImageDescription, () => {})
}

const [off, on] = [Buffer.from([6, 0, 0, 0, 0]), Buffer.from([6, 0, 0, 0, 1])]

t.test('Secure Boot is what its variable says, and off where the firmware has none', async (t) => {
  t.equal(await guestWith({ [OTHER]: on, [SECURE_BOOT]: on }).secureBoot(), true)
  t.equal(await guestWith({ [OTHER]: on, [SECURE_BOOT]: off }).secureBoot(), false)
  t.equal(await guestWith({ [OTHER]: on }).secureBoot(), false)
  t.equal(await guestWith({ [SECURE_BOOT]: on }, { mounts: 1 }).secureBoot(), true, 'after a mount')
})

t.test('Secure Boot is not off because nobody can tell', async (t) => {
  const refused = { name: 'GuestError', code: 'protocol' }
  await t.rejects(guestWith({}).secureBoot(), refused)
  await t.rejects(guestWith({ [SECURE_BOOT]: on }, { mounts: 2 }).secureBoot(), refused)
  for (const value of [on.subarray(0, 4), Buffer.from([6, 0, 0, 0, 2]), Buffer.concat([on, on])])
    await t.rejects(guestWith({ [SECURE_BOOT]: value }).secureBoot(), refused)
})
