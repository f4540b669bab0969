/** The programs that the harness runs, how each tells its version, and the oldest that will do on a host. */

export interface ToolProgram {
  /** Name, or absolute path of one that is not on the PATH. */
  readonly program: string
  /** Arguments that make it print its version (or its help, where it has none) and exit with 0. */
  readonly versionArgs: readonly string[]
  /** Debian package; Fedora's where the name differs. */
  readonly debian: string
  readonly fedora?: string
  /** Oldest usable version, compared number by number; absent: any. */
  readonly minimum?: string
}

const VERSION = ['--version']

export const TOOL_PROGRAMS: readonly ToolProgram[] = [
  {
    program: 'qemu-system-x86_64',
    versionArgs: VERSION,
    debian: 'qemu-system-x86',
    fedora: 'qemu-system-x86-core',
    // The first with sev-snp-guest.
    minimum: '9.1',
  },
  { program: 'qemu-img', versionArgs: VERSION, debian: 'qemu-utils', fedora: 'qemu-img', minimum: '9.1' },
  { program: 'qemu-io', versionArgs: VERSION, debian: 'qemu-utils', fedora: 'qemu-img', minimum: '9.1' },
  { program: 'swtpm', versionArgs: VERSION, debian: 'swtpm', minimum: '0.7' },
  { program: 'swtpm_setup', versionArgs: VERSION, debian: 'swtpm-tools', minimum: '0.7' },
  { program: 'ukify', versionArgs: VERSION, debian: 'systemd-ukify', minimum: '256' },
  {
    program: 'systemd-cryptenroll',
    versionArgs: VERSION,
    debian: 'systemd-cryptsetup',
    fedora: 'systemd-udev',
    minimum: '256',
  },
  {
    program: '/usr/lib/systemd/systemd-measure',
    versionArgs: VERSION,
    debian: 'systemd-tpm',
    fedora: 'systemd-udev',
    minimum: '256',
  },
  {
    program: 'cryptsetup',
    versionArgs: VERSION,
    debian: 'cryptsetup-bin',
    fedora: 'cryptsetup',
    minimum: '2.6',
  },
  { program: 'sbsign', versionArgs: VERSION, debian: 'sbsigntool', fedora: 'sbsigntools' },
  { program: 'virt-fw-vars', versionArgs: ['--help'], debian: 'python3-virt-firmware' },
  { program: 'openssl', versionArgs: ['version'], debian: 'openssl', minimum: '3.0' },
  { program: 'tpm2_createprimary', versionArgs: VERSION, debian: 'tpm2-tools', minimum: '5.4' },
  { program: 'mkfs.ext4', versionArgs: ['-V'], debian: 'e2fsprogs' },
  { program: 'mkfs.vfat', versionArgs: ['--help'], debian: 'dosfstools' },
  { program: 'mcopy', versionArgs: VERSION, debian: 'mtools' },
  { program: 'sfdisk', versionArgs: VERSION, debian: 'fdisk', fedora: 'util-linux', minimum: '2.36' },
  { program: 'cpio', versionArgs: VERSION, debian: 'cpio' },
  { program: 'zstd', versionArgs: VERSION, debian: 'zstd' },
  { program: 'depmod', versionArgs: VERSION, debian: 'kmod' },
  { program: 'busybox', versionArgs: ['true'], debian: 'busybox-static', fedora: 'busybox' },
]

/** The first dotted number, or plain one, that a program prints: `11.1.2`; undefined when there is none. */
export function parseVersion(output: string): string | undefined {
  return /\d+(?:\.\d+)+/.exec(output)?.[0] ?? /\d+/.exec(output)?.[0]
}

/** `10.0` is newer than `9.1`; missing parts count as 0. */
export function isAtLeast(version: string, minimum: string): boolean {
  const [have, need] = [version, minimum].map((text) => text.split('.').map(Number))
  for (let i = 0; i < (need?.length ?? 0); i++) {
    const difference = (have?.[i] ?? 0) - (need?.[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return true
}
