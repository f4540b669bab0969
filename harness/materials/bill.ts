/** The bill of materials: every input of a launch, with what it takes to know it again. */
import { stat } from 'node:fs/promises'
import { sha256File } from '../system/files.ts'
import type { Tools } from '../system/tools.ts'
import type { BuiltImage } from './images.ts'

export type MaterialRole =
  | 'firmware'
  | 'variables'
  | 'uki'
  | 'shim'
  | 'loader'
  | 'disk'
  | 'kernel'
  | 'initrd'
  | 'vtpm-state'
  | 'argv'
  | 'qemu'

export interface Material {
  readonly role: MaterialRole
  /** Absolute path. */
  readonly path: string
  readonly bytes: number
  /** Hex. Of a disk that somebody brought, absent: it may be large, and `modified` stands for it. */
  readonly sha256?: string
  /** Time of the last change, ISO 8601. */
  readonly modified: string
}

export interface PackageEntry {
  readonly name: string
  readonly version: string
}

export interface BillOfMaterials {
  readonly tools: { readonly kind: Tools['kind']; readonly digest: string }
  readonly materials: readonly Material[]
  /** Debian packages inside the guest, sorted by name; empty for a brought disk. */
  readonly packages: readonly PackageEntry[]
}

export interface MaterialInput {
  readonly role: MaterialRole
  readonly path: string
  /** Known already, as for everything in the store; `skip`: too large to read. */
  readonly sha256?: string | 'skip'
}

/** A material that what starts next will change, as it is now. Throws what reading it throws. */
export async function asItIs(input: MaterialInput): Promise<MaterialInput> {
  return { ...input, sha256: await sha256File(input.path) }
}

/** Throws what reading a material throws. */
export async function billOf(
  tools: Tools,
  {
    materials,
    packages = [],
  }: { readonly materials: readonly MaterialInput[]; readonly packages?: readonly PackageEntry[] },
): Promise<BillOfMaterials> {
  return {
    tools: { kind: tools.kind, digest: tools.digest },
    materials: await Promise.all([...materials, ...qemuOf(tools)].map(describe)),
    packages: packages
      .map(({ name, version }) => ({ name, version }))
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)),
  }
}

/** A QEMU that is not of the tools is not in their digest. */
function qemuOf({ qemu }: Tools): readonly MaterialInput[] {
  return qemu ? [{ role: 'qemu', path: qemu.file, sha256: qemu.sha256 }] : []
}

/** What a built image brings to a launch, but for the UKI and the VM's own overlay. */
export function imageMaterials({ kernel, initrd, disk }: BuiltImage): readonly MaterialInput[] {
  return [
    { role: 'kernel', path: kernel.image },
    { role: 'initrd', path: initrd.file, sha256: initrd.sha256 },
    { role: 'disk', path: disk.file, sha256: disk.sha256 },
  ]
}

/** All packages of a built image: its own and its kernel's. */
export function imagePackages({ packages, kernel }: BuiltImage): readonly PackageEntry[] {
  return [...packages, ...kernel.packages.filter(({ name }) => name.startsWith('linux-'))]
}

async function describe({ role, path, sha256 }: MaterialInput): Promise<Material> {
  const { size, mtime, mtimeMs } = await stat(path)
  const digest = sha256 === 'skip' ? undefined : (sha256 ?? (await digestOf(path, `${size} ${mtimeMs}`)))
  return {
    role,
    path,
    bytes: size,
    ...(digest !== undefined && { sha256: digest }),
    modified: mtime.toISOString(),
  }
}

const digests = new Map<string, Promise<string>>()

/** Firmware and kernel are the same for every boot of a run: they are read once. */
function digestOf(path: string, version: string): Promise<string> {
  const key = `${version} ${path}`
  const digest = digests.get(key) ?? sha256File(path)
  digests.set(key, digest)
  return digest
}
