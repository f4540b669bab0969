/** What QEMU says on stderr when it cannot start or go on, and what a person can do about it. */
import { type AttestbedError, HostError, LaunchError, MaterialError } from '../base/errors.ts'

interface KnownError {
  /** One line of stderr. */
  readonly pattern: RegExp
  readonly make: (match: RegExpExecArray) => AttestbedError
}

const ASK_DOCTOR = 'attestbed doctor shows what this host can run'
const SEV_GUIDE =
  'Enable SEV-SNP in the firmware setup and in kvm_amd; attestbed doctor shows what is missing'

const KNOWN_ERRORS: readonly KnownError[] = [
  {
    pattern: /vm-type (\S+) not supported by KVM/,
    make: ([, type]) => unusable(`this host's KVM cannot run ${type} guests`, ASK_DOCTOR),
  },
  {
    pattern: /cbitpos check failed, host '(\d+)' requested '(\d+)'/,
    make: ([, host, requested]) =>
      unusable(
        `the C-bit is at position ${host} on this host (0: no SEV), ${requested} was requested`,
        SEV_GUIDE,
      ),
  },
  {
    pattern: /host kernel does not support requested (KVM_X86_\w+) VM type/,
    make: ([, type]) =>
      unusable(
        `this host's KVM has no VMs of type ${type}`,
        'Needs Linux 6.10 or newer with SEV-ES on in kvm_amd',
      ),
  },
  {
    pattern: /Could not open '(\/dev\/sev\S*)': (.+)/,
    make: ([, device, reason]) =>
      unusable(`the security processor cannot be used: opening ${device}: ${reason}`, ASK_DOCTOR),
  },
  {
    pattern: /accelerator does not support confidential guest (\S+)/,
    make: ([, object]) => unusable(`${object} needs KVM, the guest was started without`, ASK_DOCTOR),
  },
  {
    pattern: /invalid accelerator (\S+)/,
    make: ([, name]) => unusable(`this QEMU is built without the accelerator ${name}`, ASK_DOCTOR),
  },
  {
    pattern: /Parameter 'qom-type' does not accept value '(\S+)'/,
    make: ([, type]) => tooOld(`this QEMU has no ${type}`),
  },
  {
    pattern: /Parameter '(\S+)' is unexpected|Invalid parameter '(\S+)'|Property '\S+[.](\S+)' not found/,
    make: ([, first, second, third]) => tooOld(`this QEMU has no property ${first ?? second ?? third}`),
  },
  {
    pattern: /unable to find CPU model '([^']*)'/,
    make: ([, model]) => tooOld(`this QEMU has no CPU model ${model}`),
  },
  {
    pattern: /unsupported TD attribute bits being requested: (0x[0-9a-f]+) \(QEMU supported: (0x[0-9a-f]+)\)/,
    make: ([, bits, supported]) =>
      tooOld(`this QEMU gives no trust domain the attributes ${bits}, only those in ${supported}`),
  },
  {
    pattern: /fw_error=(-?\d+) '([^']*)'/,
    make: ([, code, words]) => firmwareError(Number(code), words ?? ''),
  },
  {
    pattern: /TDX ioctl (\S+) failed, hw_errors: (0x[0-9a-f]+)/,
    make: ([, command, error]) =>
      new LaunchError(`the TDX module refused ${command}: error ${error}`, {
        code: 'qemu-start',
        hint: ASK_DOCTOR,
      }),
  },
  {
    pattern: /invalid kernel header/,
    make: () => material('bad-format', 'the kernel is neither a PE image nor a Linux kernel'),
  },
  {
    pattern: /cannot set up private guest memory for (\S+): KVM required/,
    make: ([, object]) => unusable(`${object} needs KVM, the guest was started without`, ASK_DOCTOR),
  },
  {
    pattern: /Could not access KVM kernel module: Permission denied/,
    make: () =>
      unusable('/dev/kvm may not be opened by this user', 'Join the group kvm: sudo usermod -aG kvm "$USER"'),
  },
  {
    pattern: /Could not access KVM kernel module: (.+)/,
    make: ([, reason]) =>
      unusable(`/dev/kvm cannot be opened: ${reason}`, 'Load kvm_amd or kvm_intel, or use --platform tcg'),
  },
  {
    pattern: /failed to initialize kvm: (.+)/i,
    make: ([, reason]) => unusable(`KVM cannot be started: ${reason}`, ASK_DOCTOR),
  },
  {
    pattern: /KVM_SET_USER_MEMORY_REGION2.*Invalid argument/,
    make: () =>
      new LaunchError('KVM refused the firmware as flash memory of a confidential guest', {
        code: 'qemu-start',
        hint: 'Host kernels from 6.11 on need a combined firmware file with -bios (firmware load `bios`)',
      }),
  },
  {
    pattern: /KVM internal error\. Suberror: (\d+)/,
    make: ([, suberror]) =>
      new LaunchError(`KVM could not execute the guest: internal error, suberror ${suberror}`, {
        code: 'kvm-internal-error',
        hint: "This host's KVM opens but cannot run the firmware (often a nested one): use --platform tcg",
      }),
  },
  {
    pattern: /cannot set up guest memory|Cannot allocate memory/,
    make: () =>
      new HostError("there is not enough memory for the guest's", {
        code: 'not-enough-memory',
        hint: 'Run fewer VMs at once (--jobs), or give the scenario less memory',
      }),
  },
  {
    pattern: /No space left on device/,
    make: () =>
      new HostError('the disk is full', { code: 'disk-full', hint: 'Free space for the run directory' }),
  },
  {
    pattern: /Failed to get (?:"write"|shared "write") lock/,
    make: () => material('in-use', 'a disk or variable store of the guest is in use by another QEMU'),
  },
  {
    pattern: /Could not open '(.+)': No such file or directory|could not load PC BIOS '(.+)'/,
    make: ([, file, bios]) => material('missing', `${file ?? bios} is missing or cannot be used as firmware`),
  },
  {
    pattern: /Image is not in (\S+) format/,
    make: ([, format]) => material('bad-format', `a disk of the guest is not in ${format} format`),
  },
  {
    pattern: /firmware block device .*has invalid size (\d+)/,
    make: ([, size]) =>
      material('truncated', `a firmware volume has ${size} bytes, whole pages of 4096 are required`),
  },
  {
    pattern: /device requires (\d+) bytes, block backend provides (\d+) bytes/,
    make: ([, required, current]) =>
      material('truncated', `a firmware volume has ${current} bytes, ${required} are required`),
  },
  {
    pattern: /snp_populate_metadata_pages: Failed to get HVA for GPA (0x[0-9a-f]+) sz (0x[0-9a-f]+)/,
    make: ([, gpa, size]) =>
      material(
        'bad-format',
        `an SEV section of the firmware, ${size} bytes at ${gpa}, is no memory of the guest; this build is not for SEV-SNP`,
      ),
  },
  {
    pattern: /tpm-emulator: (.+)/,
    make: ([, reason]) => new LaunchError(`QEMU cannot use its vTPM: ${reason}`, { code: 'swtpm-start' }),
  },
]

/**
 * The error that QEMU's words stand for: HostError where this host lacks something, MaterialError where an input is
 * broken, LaunchError otherwise; undefined for words that are not known. The first known line decides.
 */
export function recognizeQemuError(words: string): AttestbedError | undefined {
  for (const line of words.split('\n'))
    for (const { pattern, make } of KNOWN_ERRORS) {
      const match = pattern.exec(line)
      if (match) return make(match)
    }
  return undefined
}

function unusable(reason: string, hint: string): HostError {
  return new HostError(`cannot start the guest: ${reason}`, { code: 'platform-unusable', hint })
}

function tooOld(reason: string): HostError {
  return new HostError(`cannot start the guest: ${reason}`, {
    code: 'program-too-old',
    hint: 'A newer QEMU may have it; scripts/setup --tools=tree brings the newest',
  })
}

/** SEV-SNP firmware ABI, table "Status codes"; the same number for SEV. */
const BAD_MEASUREMENT = 11

function firmwareError(code: number, words: string): LaunchError {
  const hint =
    code === BAD_MEASUREMENT
      ? 'The ID block names another launch digest: attestbed rehearse shows what this QEMU measures, page by page'
      : 'The codes are those of the SEV-SNP firmware ABI; attestbed doctor shows what this host can run'
  return new LaunchError(`the security processor refused the launch: ${words} (fw_error ${code})`, {
    ...{ code: 'qemu-start', hint },
  })
}

function material(code: MaterialError['code'], reason: string): MaterialError {
  return new MaterialError(`cannot start the guest: ${reason}`, { code })
}
