/** A root that its guest encrypts itself, as a host reads it. Pure. */
import { sha256Hex } from '../../base/digest.ts'
import { MaterialError } from '../../base/errors.ts'
import { PLAIN_MARKER } from '../../materials/plain-disk.ts'

/** What a host has of a root: both partitions, byte for byte. */
export interface KeptRoot {
  /** Partition `luks-header`. */
  readonly header: Uint8Array
  /** Partition `root`. */
  readonly root: Uint8Array
}

/** As the UKI of such a root names it: SHA-256 of the whole partition, hex. */
export function rootDigest({ root }: KeptRoot): string {
  return sha256Hex(root)
}

/** As the proof names it. */
export function headerDigest({ header }: KeptRoot): string {
  return sha256Hex(header)
}

/** How often the marker of the image's data is there in clear. */
export function markersIn({ header, root }: KeptRoot): number {
  return [header, root].reduce((sum, bytes) => sum + occurrences(Buffer.from(bytes), PLAIN_MARKER), 0)
}

/** One byte in the last marker that is in clear is another: still a file system, with another word in one file. */
export function alterRoot(kept: KeptRoot): KeptRoot {
  const root = Buffer.from(kept.root)
  const at = root.lastIndexOf(PLAIN_MARKER)
  if (at < 0)
    throw new MaterialError('cannot change a word of the root: none of its data is in clear', {
      code: 'missing',
    })
  root[at] = root[at] === 0x2d ? 0x2b : 0x2d
  return { ...kept, root }
}

function occurrences(bytes: Buffer, text: string): number {
  let count = 0
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + text.length)) count += 1
  return count
}
