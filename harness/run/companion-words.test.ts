/** The lines are those of the consoles of systemd 262 and edk2 2026.08. */
import t from 'tap'
import { credentialOutcomes, refusedAddons } from './companion-words.ts'

t.test('addons that the stub could not load are told by path and reason, in its order', async (t) => {
  const line = (name: string, path: string) =>
    `\\x1b[0m../src/boot/stub.c:586@load_addons: Failed to read '${name}' from '${path}', ignoring: Access denied`
  t.same(
    refusedAddons([
      line('a.addon.efi', '\\loader\\addons\\a.addon.efi'),
      'BdsDxe: starting Boot0002 "UEFI Misc Device"',
      line('b.addon.efi', '\\EFI\\BOOT\\BOOTX64.EFI.extra.d\\b.addon.efi'),
    ]),
    [
      { path: 'loader/addons/a.addon.efi', why: 'Access denied' },
      { path: 'EFI/BOOT/BOOTX64.EFI.extra.d/b.addon.efi', why: 'Access denied' },
    ],
  )
  t.same(refusedAddons(['attestbed-initrd: 9.64 start']), [])
})

const service = (name: string) => `attestbed-credential@${name}.service`
const notStarted = (name: string, words: string) => [
  `[   21.509215] (how-credential)[184]: ${service(name)}: ${words}`,
  `[   21.672497] (how-credential)[184]: ${service(name)}: Failed at step CREDENTIALS spawning /usr/lib/attestbed/show-credential: Object is remote`,
  `${service(name)}: Main process exited, code=exited, status=243/CREDENTIALS`,
]
const DIGEST = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'

t.test(
  'what became of each service is told by the words about it, in whatever order they come',
  async (t) => {
    const lines = [
      ...notStarted('local', 'Decryption failed (incorrect key?): No OpenSSL errors.'),
      ...notStarted('global', 'TPM key integrity check failed. Key most likely does not belong to this TPM.'),
      ...notStarted(
        'third',
        'Credential uses null key, but systemd.credentials_boot_policy=relaxed refuses it here (TPM2=yes, SecureBoot=yes, first boot=no).',
      ),
      `attestbed-initrd: 15.08 credential name=fourth sha256=${DIGEST}`,
    ]
    const expected = {
      ...{ fourth: `got ${DIGEST}`, global: 'foreign-tpm', local: 'altered', third: 'null-key' },
    }
    t.same(credentialOutcomes(lines), expected)
    t.same(credentialOutcomes(lines.toReversed()), expected)
  },
)

t.test(
  'a service that was not started for no known reason, or that failed by itself, is not taken for another',
  async (t) => {
    t.same(credentialOutcomes(notStarted('local', 'No space left on device')), { local: 'unknown' })
    t.same(
      credentialOutcomes([`${service('local')}: Main process exited, code=exited, status=1/FAILURE`]),
      {},
    )
    t.same(
      credentialOutcomes([`attestbed-initrd: 15.08 credential name=fourth sha256=${DIGEST.slice(1)}`]),
      {},
    )
  },
)
