import t from 'tap'
import { GuestError } from '../base/errors.ts'
import { phaseOf } from './phases.ts'
import { Unlock } from './unlock.ts'
import { reasonIn } from './unlock-reasons.ts'
import { unsealsPerStartup } from './unseals.ts'

// What systemd 262 and edk2 2026.08 printed in runs of these very cases.
const SAID = {
  'foreign-tpm': [
    'WARNING:esys:src/tss2-esys/api/Esys_Import.c:339:Esys_Import_Finish() Received TPM Error',
    'ERROR:esys:src/tss2-esys/api/Esys_Import.c:109:Esys_Import() Esys Finish ErrorCode (0x0000018b) ',
    'Failed to unseal secret using TPM2: State not recoverable',
  ],
  'policy-mismatch': [
    'TPM policy does not match current system state. Either system has been tampered with or policy out-of-date.',
  ],
  'no-pcr-signature': ['No signature for current PCR policy in TPM2 signature JSON'],
  'pcr-signature-missing': ['Failed to load PCR signature: No such file or directory'],
  'access-denied': [
    'BdsDxe: failed to load Boot0002 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x1,0x0): Access Denied',
    'BdsDxe: No bootable option or device was found.',
  ],
  'nothing-sealed': ['attestbed-initrd: 24.01 enrolled tpm2=0 recovery=1'],
  'altered-image': ['attestbed-initrd: 23.08 failed image why=altered digest=00'],
  'not-attested': ['attestbed-initrd: 29.37 attest refused why=http-403'],
  'nothing-bootable': ['BdsDxe: No bootable option or device was found.'],
} as const

t.test('each refusal has its own reason, and no other one', async (t) => {
  for (const [why, lines] of Object.entries(SAID)) t.equal(reasonIn(lines).why, why)
})

t.test('a TPM error of another kind is not taken for a foreign TPM', async (t) => {
  const busy = 'ERROR:esys:src/tss2-esys/api/Esys_Load.c:100:Esys_Load() Esys Finish ErrorCode (0x00000922)'
  t.equal(reasonIn([busy]).why, 'unknown')
  t.equal(reasonIn(['attestbed-initrd: 24.01 enrolled tpm2=1 recovery=1']).why, 'unknown')
  t.equal(
    reasonIn([
      'TPM key integrity check failed. Key enrolled in superblock most likely does not belong to this TPM.',
    ]).why,
    'foreign-tpm',
  )
})

t.test('a console that says nothing of the kind gives no reason', async (t) => {
  t.equal(
    reasonIn(['attestbed-initrd: 12.1 unlocking device=/dev/vda3', 'Please enter passphrase:']).why,
    'unknown',
  )
})

t.test('that the root opened counts for the TPM only if nothing was typed', async (t) => {
  t.equal(new Unlock('unlocked', [], 0).result, 'unlocked-by-tpm')
  t.equal(new Unlock('unlocked', [], 1).result, 'unlocked-by-key')
  t.equal(new Unlock('asks-for-key', [], 0).result, 'not-unlocked')
  t.equal(new Unlock('gave-up', [], 0).result, 'not-unlocked')
  t.equal(new Unlock('nothing-bootable', [], 0).result, 'firmware-refused')
})

t.test('that the broker opened the root is neither the TPM nor a key that was typed', async (t) => {
  const unlock = new Unlock('unlocked-by-broker', SAID['not-attested'], 0)
  t.same(unlock.summary, { result: 'unlocked-by-broker', why: 'opened', asksForKey: false })
  t.equal(new Unlock('unlocked-by-broker', [], 1).result, 'unlocked-by-key')
})

t.test('an open root has no reason to be closed, whatever else the console said', async (t) => {
  const unlock = new Unlock('unlocked', SAID['policy-mismatch'], 0)
  t.same(unlock.summary, { result: 'unlocked-by-tpm', why: 'opened', asksForKey: false })
  t.equal(unlock.message, '')
})

t.test('PCRs and command line are those of the last report, in lower case', async (t) => {
  const lines = [
    `attestbed-initrd: 3.1 pcr-sha256 7=${'00'.repeat(32)} 11=${'11'.repeat(32)}`,
    `attestbed-initrd: 4.2 pcr-sha256 7=${'AB'.repeat(32)} 12=${'CD'.repeat(31)}`,
    'attestbed-initrd: 4.3 command-line console=ttyS0 attestbed.injected=1',
  ]
  const unlock = new Unlock('asks-for-key', lines, 0)
  t.equal(unlock.pcr(7), 'ab'.repeat(32))
  t.same(unlock.pcrs([7]), { 7: 'ab'.repeat(32) })
  t.equal(unlock.commandLine, 'console=ttyS0 attestbed.injected=1')
  for (const index of [11, 12])
    t.throws(() => unlock.pcrs([7, index]), { code: 'protocol', message: /its PCR 1[12].* PCRs: 7$/ })
})

t.test('what was not reported equals nothing: no claim can be decided by it', async (t) => {
  const silent = new Unlock('unlocked', [], 0)
  t.throws(() => silent.pcr(7), { constructor: GuestError, code: 'protocol', message: /reported PCRs: none/ })
  t.throws(() => silent.commandLine, { constructor: GuestError, code: 'protocol' })
})

t.test('the vTPM releases what succeeded between two of its starts', async (t) => {
  const command = (name: string, responseCode: number | undefined) => ({
    ...{ commandCode: 0, name, responseCode, commandBytes: 10, responseBytes: 10 },
  })
  const commands = [
    ...[command('TPM2_Startup', 0), command('TPM2_Unseal', 0x99d), command('TPM2_Unseal', undefined)],
    ...[command('TPM2_Startup', 0x100), command('TPM2_Startup', 0), command('TPM2_Unseal', 0)],
  ]
  t.same(unsealsPerStartup(commands), [0, 1])
  t.same(unsealsPerStartup([]), [])
})

t.test('phases follow the programs that speak', async (t) => {
  t.equal(phaseOf('BdsDxe: starting Boot0002 "UEFI Misc Device"'), 'stub')
  t.equal(phaseOf('EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path'), 'kernel')
  t.equal(phaseOf('attestbed-initrd: 20.79 start'), 'initrd')
  t.equal(phaseOf('attestbed-initrd: 22.1 switch-root'), 'userspace')
  t.equal(phaseOf('Welcome to Debian GNU/Linux forky (initramfs)!'), undefined)
  t.equal(phaseOf('anything else'), undefined)
})
