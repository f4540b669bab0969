/** What a tools tree is made of, and the record of it that lies in the tree. */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const TOOLS_SUITE = 'forky'

/** Raise it when the fix-ups after extraction change, so that existing trees are made anew. */
const LAYOUT_VERSION = 1

/** Extraction runs no maintainer scripts and brings no Essential packages: those that programs need are named. */
export const TOOLS_PACKAGES: readonly string[] = [
  // the machine
  ...['qemu-system-x86', 'qemu-utils', 'ovmf', 'ovmf-amdsev', 'ovmf-inteltdx', 'swtpm', 'swtpm-tools'],
  ...['vhost-device-vsock'],
  // keys, UKIs, sealing
  ...['systemd', 'systemd-cryptsetup', 'systemd-repart', 'systemd-ukify', 'systemd-tpm', 'systemd-boot-efi'],
  ...['systemd-boot-tools', 'sbsigntool', 'python3-virt-firmware', 'python3-pefile', 'openssl', 'efibootmgr'],
  ...['tpm2-tools', 'libtss2-tcti-swtpm0t64', 'libtss2-tcti-device0t64'],
  // disks
  ...['cryptsetup-bin', 'mtools', 'dosfstools', 'e2fsprogs', 'erofs-utils', 'squashfs-tools', 'fdisk'],
  // initrds
  ...['busybox-static', 'cpio', 'kmod', 'zstd'],
  // the userland under all that
  ...[
    'base-files',
    'base-passwd',
    'passwd',
    'libc-bin',
    'bubblewrap',
    'util-linux',
    'coreutils',
    'bash',
    'dash',
  ],
  ...['sed', 'grep', 'gawk', 'findutils', 'tar', 'gzip', 'xz-utils'],
]

export interface InstalledPackage {
  readonly name: string
  readonly version: string
  readonly architecture: string
  /** Of the .deb; lower-case hex. */
  readonly sha256: string
}

export interface ToolsManifest {
  readonly suite: string
  /** ISO 8601, UTC: when the tree was made. */
  readonly date: string
  readonly packages: readonly InstalledPackage[]
}

/** Name of the directory under `<cache>/tools`: what the tree was asked to contain. */
export function toolsKey(): string {
  const recipe = JSON.stringify([LAYOUT_VERSION, TOOLS_SUITE, [...TOOLS_PACKAGES].sort()])
  return createHash('sha256').update(recipe).digest('hex').slice(0, 16)
}

/** Identifies the versions of all tools, whenever and wherever they were installed. */
export function toolsDigest(packages: readonly InstalledPackage[]): string {
  const lines = packages.map((p) => `${p.name} ${p.version} ${p.architecture} ${p.sha256}`).sort()
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}

/** Throws what reading or parsing the file throws. */
export function readManifest(tree: string): ToolsManifest {
  return JSON.parse(readFileSync(join(tree, 'manifest.json'), 'utf8')) as ToolsManifest
}
