/** An image as a scenario's VM needs it: a description, and a disk for one VM. */

import { imageMaterials, imagePackages, type MaterialInput, type PackageEntry } from '../materials/bill.ts'
import { type EspFiles, FALLBACK_BOOT_PATH, replaceEsp } from '../materials/boot-disk.ts'
import type { BroughtImage } from '../materials/brought-image.ts'
import type { MaterialContext } from '../materials/context.ts'
import type { BaseDisk } from '../materials/disk.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import {
  type BuiltImage,
  ensureImage,
  ensureImageUki,
  type ImageOptions,
  type ImageUkiOptions,
} from '../materials/images.ts'
import type { SigningKeys } from '../materials/keys.ts'
import type { TpmEnrolment } from '../materials/luks.ts'
import { prepareDisk } from '../materials/vm-disk.ts'
import { sha256File } from '../system/files.ts'

export interface DiskRequest {
  readonly context: MaterialContext
  readonly keys: SigningKeys
  /** Private directory of the VM. */
  readonly directory: string
  readonly recoveryKey?: string | undefined
  readonly tpm2?: TpmEnrolment | undefined
  /** Another UKI than the image's own, or another place for it. */
  readonly uki?: FirstUki | undefined
  /** `plain`: the image's disk with a root in clear, which its UKI knows by a digest. */
  readonly root?: 'plain' | undefined
}

export interface FirstUki {
  /** On the ESP. */
  readonly path: string
  readonly change: Omit<ImageUkiOptions, 'keys'>
  /** What lies on the ESP beside it, as long as the VM lives. */
  readonly beside?: EspFiles
  /** The file of `beside` that boots it. */
  readonly shim?: string
  readonly systemdBoot?: SystemdBootFiles
}

/** systemd-boot where the firmware looks, and its configuration. */
export interface SystemdBootFiles {
  readonly file: string
  readonly configuration: string
}

/** The UKI on a VM's ESP, where it is one that we can build. */
export interface PreparedUki {
  /** On the ESP. */
  readonly path: string
  /** The UKI that lies on the ESP now. */
  readonly current: () => { readonly file: string; readonly sha256: string }
  readonly build: (change: Omit<ImageUkiOptions, 'keys'>) => Promise<string>
  /** Makes the ESP anew with the UKI and `beside`. */
  readonly replace: (file: string, beside?: EspFiles) => Promise<void>
}

export interface PreparedDisk {
  readonly file: string
  readonly format: 'qcow2'
  /** What it is an overlay of; absent for somebody's own. */
  readonly base?: BaseDisk
  readonly uki?: PreparedUki
  /** Boot program that the firmware finds in place of the UKI; absent: the firmware boots the UKI. */
  readonly shim?: string
  readonly systemdBoot?: SystemdBootFiles
  /** Of a root in clear, as it was handed out: SHA-256 of its partition, hex. */
  readonly plainRoot?: string
}

export interface BootableImage {
  readonly description: ImageDescription
  /** What a launch of it depends on, beside the VM's own files. */
  readonly materials: readonly MaterialInput[]
  readonly packages: readonly PackageEntry[]
  readonly prepareDisk: (request: DiskRequest) => Promise<PreparedDisk>
  /** Path of its UKI, for a direct boot; absent where the disk is somebody else's. */
  readonly uki?: (keys: SigningKeys) => Promise<string>
}

/** Somebody's own disk, looked at before anything boots from it. */
export async function broughtImage(context: MaterialContext, image: BroughtImage): Promise<BootableImage> {
  // Most runs have no such disk.
  const { inspectBroughtDisk, prepareBroughtDisk } = await import('../materials/brought-disk.ts')
  await inspectBroughtDisk(context, image)
  const { description } = image
  return {
    description,
    materials: [{ role: 'disk', path: image.disk.path, sha256: 'skip' }],
    packages: [],
    prepareDisk: ({ directory }) => prepareBroughtDisk(context, { image, directory }),
  }
}

/** An image of this project, built where the cache does not have it. */
export async function builtImage(
  context: MaterialContext,
  id: string,
  options: ImageOptions = {},
): Promise<BootableImage> {
  const image = await ensureImage(context, id, options)
  return {
    description: image.description,
    materials: imageMaterials(image),
    packages: imagePackages(image),
    prepareDisk: (request) => prepareBuilt(image, request),
    uki: async (keys) => (await ensureImageUki(context, image, { keys })).file,
  }
}

async function prepareBuilt(image: BuiltImage, request: DiskRequest): Promise<PreparedDisk> {
  const { context, keys, directory, recoveryKey, tpm2 } = request
  const path = request.uki?.path ?? FALLBACK_BOOT_PATH
  const always = request.uki?.beside ?? {}
  const plain = request.root && (await image.plainDisk())
  const base = plain ?? image.disk
  const build = (change: Omit<ImageUkiOptions, 'keys'>) =>
    ensureImageUki(context, image, { ...namingRoot(change, plain?.rootSha256), keys })
  const uki = await build(request.uki?.change ?? {})
  let current: { readonly file: string; readonly sha256: string } = uki
  const enrol = { ...(tpm2 && { tpm2 }), ...(recoveryKey !== undefined && { recoveryKey }) }
  const disk = await prepareDisk(context, {
    ...{ base, directory, files: { ...always, [path]: uki } },
    ...((tpm2 || recoveryKey !== undefined) && { enrol }),
  })
  return {
    file: disk.file,
    ...{ format: disk.format, base },
    ...(request.uki?.shim !== undefined && { shim: request.uki.shim }),
    ...(request.uki?.systemdBoot && { systemdBoot: request.uki.systemdBoot }),
    ...(plain && { plainRoot: plain.rootSha256 }),
    uki: {
      path,
      current: () => current,
      build: async (change) => (await build(change)).file,
      replace: async (file, beside = {}) => {
        const replacement = { file, sha256: await sha256File(file) }
        const files = { ...always, ...beside, [path]: replacement }
        await replaceEsp(context.tools, { disk: disk.file, base, files, directory })
        current = replacement
      },
    },
  }
}

const ROOT_WORD = 'attestbed.image='

/** A UKI that belongs to a root in clear says which, unless the change says another. */
function namingRoot(
  change: Omit<ImageUkiOptions, 'keys'>,
  rootSha256: string | undefined,
): Omit<ImageUkiOptions, 'keys'> {
  const { extraCommandLine = '' } = change
  if (rootSha256 === undefined || extraCommandLine.includes(ROOT_WORD)) return change
  return { ...change, extraCommandLine: `${extraCommandLine} ${ROOT_WORD}sha256:${rootSha256}`.trim() }
}
