/** Policies are those that systemd-measure signs; which files a stub takes is what systemd-stub(7) says. */
import t from 'tap'
import { companionsOnEsp, type EspListing } from './esp-companions.ts'
import { pcrPolicyDigest } from './pcr-policy.ts'

t.test('the policy digest of a register is the one that systemd-measure signs', async (t) => {
  // systemd 262: `systemd-measure calculate` and `sign` of one file with the phase enter-initrd.
  const value = Buffer.from('d3de8b4e0925ca252f97da1ef4027704f51814af2c81dd3c2c5e14c893f046ce', 'hex')
  const policy = '9e5d140fcb21799b85683cac2dcb5cb2436e2beec4da52b634693c3e10378ef8'
  t.equal(pcrPolicyDigest(11, value).toString('hex'), policy)
  t.not(pcrPolicyDigest(12, value).toString('hex'), policy)
})

/** An ESP whose files hold their own paths. */
function espOf(paths: readonly string[]): EspListing {
  const entries = paths.map((path) => ({ path, kind: 'file' as const, size: 1, entryAt: 0, firstCluster: 2 }))
  return { entries, read: (path) => Buffer.from(path) }
}

t.test('a stub takes what lies beside its UKI and what is for all, by the ends of names', async (t) => {
  const esp = espOf([
    ...['EFI/BOOT/BOOTX64.EFI', 'efi/boot/bootx64.efi.extra.d/A.ADDON.EFI', 'loader/addons/b.addon.efi'],
    ...['EFI/BOOT/BOOTX64.EFI.extra.d/c.cred', 'loader/credentials/d.cred'],
    ...['EFI/BOOT/BOOTX64.EFI.extra.d/e.sysext.raw', 'EFI/BOOT/BOOTX64.EFI.extra.d/f.raw'],
    ...[
      'EFI/BOOT/BOOTX64.EFI.extra.d/g.confext.raw',
      'loader/extensions/h.raw',
      'loader/extensions/i.confext.raw',
    ],
  ])
  const { addons, companions } = companionsOnEsp(esp, 'EFI/BOOT/BOOTX64.EFI')
  const names = (files: readonly { readonly name: string }[] = []) => files.map(({ name }) => name)
  t.same(names(addons.local), ['A.ADDON.EFI'])
  t.same(names(addons.global), ['b.addon.efi'])
  t.same(Object.fromEntries(Object.entries(companions).map(([kind, files]) => [kind, names(files)])), {
    ...{ credentials: ['c.cred'], globalCredentials: ['d.cred'] },
    ...{ sysexts: ['e.sysext.raw', 'f.raw'], globalSysexts: ['h.raw'] },
    ...{ confexts: ['g.confext.raw'], globalConfexts: ['i.confext.raw'] },
  })
  t.equal(companions['credentials']?.[0]?.content.toString(), 'EFI/BOOT/BOOTX64.EFI.extra.d/c.cred')
})

t.test(
  'it takes nothing of another UKI, below a directory, hidden, in the wrong place or of another kind',
  async (t) => {
    const esp = espOf([
      ...['EFI/Linux/other.efi.extra.d/a.addon.efi', 'EFI/Linux/uki.efi.extra.d/below/a.addon.efi'],
      ...['EFI/Linux/uki.efi.extra.d/.hidden.cred', 'EFI/Linux/uki.efi.extra.d/readme.txt'],
      ...['loader/addons/a.cred', 'loader/credentials/a.raw', 'loader/extensions/a.addon.efi'],
      ...['EFI/Linux/uki.efi.extra.d/a.efi', 'EFI/Linux/uki.efi.extra.danger/a.cred'],
    ])
    const { addons, companions } = companionsOnEsp(esp, 'EFI/Linux/uki.efi')
    t.same(addons, { global: [], local: [] })
    t.same(Object.values(companions).flat(), [])
  },
)
