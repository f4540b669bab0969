/** Another kernel under an image that is otherwise the same. */
import { open } from 'node:fs/promises'
import { MaterialError } from '../base/errors.ts'
import { sha256File } from '../system/files.ts'
import type { Initrd } from './initrd.ts'
import type { Kernel } from './kernel.ts'

export type KernelSwap =
  /** Debian code name: the package of the image's recipe, from there, with its modules. */
  | { readonly suite: string }
  /** A bzImage, and the initrd that goes with it; without one, the image's own modules must fit. Absolute paths. */
  | { readonly image: string; readonly initrd?: string }

/** Throws MaterialError `bad-format` where the file is no bzImage. */
export async function withKernelFile<Image extends { readonly kernel: Kernel; readonly initrd: Initrd }>(
  image: Image,
  swap: { readonly image: string; readonly initrd?: string },
): Promise<Image> {
  const [digest, release] = await Promise.all([sha256File(swap.image), releaseOf(swap.image)])
  const initrd =
    swap.initrd === undefined
      ? image.initrd
      : { ...image.initrd, file: swap.initrd, sha256: await sha256File(swap.initrd) }
  return { ...image, kernel: { ...image.kernel, image: swap.image, digest, release }, initrd }
}

/** Linux x86 boot protocol, "The Real-Mode Kernel Header": `HdrS` at 0x202, `kernel_version` at 0x20e. */
const HEADER = { magicAt: 0x202, versionAt: 0x20e, base: 0x200, bytes: 0x8000 }
const LONGEST_RELEASE = 128

async function releaseOf(file: string): Promise<string> {
  const start = Buffer.alloc(HEADER.bytes)
  const handle = await open(file)
  const { bytesRead } = await handle.read(start, 0, start.length, 0).finally(() => handle.close())
  const magic = start.toString('latin1', HEADER.magicAt, HEADER.magicAt + 4)
  const at = HEADER.base + start.readUInt16LE(HEADER.versionAt)
  const [release] = start.toString('latin1', at, Math.min(at + LONGEST_RELEASE, bytesRead)).split(/[\0 ]/, 1)
  if (magic === 'HdrS' && release && /^[\w.+~-]+$/.test(release)) return release
  throw new MaterialError(`cannot use ${file} as a kernel: it is no bzImage that names its release`, {
    code: 'bad-format',
  })
}
