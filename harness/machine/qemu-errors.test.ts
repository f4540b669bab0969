import t from 'tap'
import { GuestError, HostError, LaunchError, MaterialError } from '../base/errors.ts'
import type { GuestEndKind } from './end.ts'
import { endError } from './end-error.ts'
import { recognizeQemuError } from './qemu-errors.ts'

t.test('an end becomes the error of its kind', async (t) => {
  const error = (kind: GuestEndKind, words = '') =>
    endError('vm1', { kind, reason: 'why', at: 0, consoleTail: 'tail' }, words)
  for (const kind of ['shut-down', 'reset', 'panic', 'firmware-refused', 'hang'] as const)
    t.match(error(kind), {
      constructor: GuestError,
      code: kind,
      consoleTail: 'tail',
      message: `vm1 ended (${kind}): why`,
    })
  t.match(error('vtpm-died'), { constructor: LaunchError, code: 'swtpm-died' })
  t.match(error('kvm-internal-error'), { constructor: LaunchError, code: 'kvm-internal-error', hint: /tcg/ })
  t.match(error('io-error'), { constructor: HostError, code: 'disk-full' })
  t.match(error('qemu-crashed'), { constructor: LaunchError, code: 'qemu-crashed' })
  t.match(error('qemu-crashed', 'x: cannot set up guest memory'), { code: 'qemu-crashed', hint: /--jobs/ })
})

t.test("QEMU's words become the error that they stand for", async (t) => {
  // Each as seen on a real host, but for the prefix.
  const words: readonly (readonly [string, unknown, string])[] = [
    ['vm-type SEV-SNP not supported by KVM', HostError, 'platform-unusable'],
    ['vm-type TDX not supported by KVM', HostError, 'platform-unusable'],
    [
      "SEV: host kernel does not support requested KVM_X86_SEV_ES_VM VM type. To allow use of the legacy KVM_X86_DEFAULT_VM VM type, the 'legacy-vm-type' argument must be set to 'on' or 'auto' for the sev-guest object.\nvm-type (null) not supported by KVM",
      HostError,
      'platform-unusable',
    ],
    ["-accel kvm: Could not open '/dev/sev': No such file or directory", HostError, 'platform-unusable'],
    ['accelerator does not support confidential guest sev-guest', HostError, 'platform-unusable'],
    ['-accel kvm: invalid accelerator kvm', HostError, 'platform-unusable'],
    ["unable to find CPU model 'EPYC-Venice'", HostError, 'program-too-old'],
    ["Parameter 'debug-swap' is unexpected", HostError, 'program-too-old'],
    ["Invalid parameter 'debug-swap'", HostError, 'program-too-old'],
    ["-object x: Parameter 'qom-type' does not accept value 'igvm-cfg'", HostError, 'program-too-old'],
    [
      'Some QEMU unsupported TD attribute bits being requested: 0x1 (QEMU supported: 0x8000000050000000)',
      HostError,
      'program-too-old',
    ],
    [
      "sev_snp_launch_finish: SNP_LAUNCH_FINISH ret=-5 fw_error=11 'Bad measurement'",
      LaunchError,
      'qemu-start',
    ],
    ['TDX ioctl KVM_TDX_INIT_VM failed, hw_errors: 0xc000010000000000', LaunchError, 'qemu-start'],
    ['invalid kernel header', MaterialError, 'bad-format'],
    ["sev_common_kvm_init: cbitpos check failed, host '0' requested '51'", HostError, 'platform-unusable'],
    ['cannot set up private guest memory for sev-snp-guest: KVM required', HostError, 'platform-unusable'],
    ['Could not access KVM kernel module: No such file or directory', HostError, 'platform-unusable'],
    ['Could not access KVM kernel module: Permission denied', HostError, 'platform-unusable'],
    ['failed to initialize kvm: Device or resource busy', HostError, 'platform-unusable'],
    ['KVM_SET_USER_MEMORY_REGION2 failed, slot=3: Invalid argument', LaunchError, 'qemu-start'],
    ['KVM internal error. Suberror: 1', LaunchError, 'kvm-internal-error'],
    ["cannot set up guest memory 'pc.ram': Cannot allocate memory", HostError, 'not-enough-memory'],
    ['Failed to get "write" lock', MaterialError, 'in-use'],
    ["Could not open '/vm/disk.qcow2': No such file or directory", MaterialError, 'missing'],
    ["qemu: could not load PC BIOS '/fw/x.fd'", MaterialError, 'missing'],
    ['Image is not in qcow2 format', MaterialError, 'bad-format'],
    ['device requires 540672 bytes, block backend provides 1000 bytes', MaterialError, 'truncated'],
    ['system firmware block device  has invalid size 1024', MaterialError, 'truncated'],
    ['snp_populate_metadata_pages: Failed to get HVA for GPA 0x0 sz 0x0', MaterialError, 'bad-format'],
    ['tpm-emulator: TPM result for CMD_INIT: 0x101 operation failed', LaunchError, 'swtpm-start'],
    ['write failed: No space left on device', HostError, 'disk-full'],
  ]
  for (const [line, kind, code] of words)
    t.match(
      recognizeQemuError(`warning: x\nqemu-system-x86_64: ${line}\n`),
      { constructor: kind, code },
      line,
    )
  t.match(recognizeQemuError('Could not access KVM kernel module: Permission denied')?.hint, /usermod/)
  t.match(recognizeQemuError("fw_error=11 'Bad measurement'")?.hint, /ID block names another launch digest/)
  t.equal(
    recognizeQemuError('warning: memory-encryption is deprecated, use confidential-guest-support instead'),
    undefined,
    'a warning is no refusal',
  )
  t.equal(recognizeQemuError('qemu-system-x86_64: warning: TCG does not support x'), undefined)
})
