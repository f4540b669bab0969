/** Writes cpio archives in the "newc" format, as the kernel reads them: Documentation/driver-api/early-userspace. */

const MAGIC = '070701'
const TRAILER = 'TRAILER!!!'
const TYPE_DIRECTORY = 0o040000
const TYPE_FILE = 0o100000
const TYPE_LINK = 0o120000

/**
 * An entry of an archive: the Linux kernel's buffer-format ("newc"). `path` without a leading slash; `mode` the
 * permission bits alone.
 */
export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'file'; readonly path: string; readonly mode?: number; readonly content: Uint8Array }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }

/**
 * Equal entries give equal bytes: sorted by path, owner root, time 0, inodes numbered in order. Missing parent
 * directories are added; of two entries with the same path the later one counts. Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst. Never throws.
 */
export function encodeCpio(entries: readonly CpioEntry[]): Buffer {
  const byPath = new Map<string, CpioEntry>()
  for (const entry of entries) byPath.set(entry.path, entry)
  for (const path of [...byPath.keys()]) addParents(byPath, path)
  const sorted = [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
  const chunks = sorted.flatMap((entry, index) => encodeEntry(entry, index + 1))
  chunks.push(...encodeRecord({ path: TRAILER, inode: 0, mode: 0, content: Buffer.alloc(0) }))
  return Buffer.concat(chunks)
}

function addParents(byPath: Map<string, CpioEntry>, path: string): void {
  const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')))
  if (parent === '' || byPath.has(parent)) return
  byPath.set(parent, { kind: 'directory', path: parent })
  addParents(byPath, parent)
}

function encodeEntry(entry: CpioEntry, inode: number): Buffer[] {
  const { path } = entry
  if (entry.kind === 'directory')
    return encodeRecord({
      path,
      inode,
      mode: TYPE_DIRECTORY | (entry.mode ?? 0o755),
      content: Buffer.alloc(0),
    })
  if (entry.kind === 'link')
    return encodeRecord({ path, inode, mode: TYPE_LINK | 0o777, content: Buffer.from(entry.target) })
  return encodeRecord({ path, inode, mode: TYPE_FILE | (entry.mode ?? 0o644), content: entry.content })
}

function encodeRecord(record: { path: string; inode: number; mode: number; content: Uint8Array }): Buffer[] {
  const name = Buffer.from(`${record.path}\0`)
  const fields = [
    record.inode,
    record.mode,
    0, // uid
    0, // gid
    record.mode >> 12 === TYPE_DIRECTORY >> 12 ? 2 : 1, // nlink
    0, // mtime
    record.content.length,
    ...[0, 0, 0, 0], // device and rdevice numbers
    name.length,
    0, // checksum: none in this format
  ]
  const header = Buffer.from(
    MAGIC + fields.map((field) => field.toString(16).padStart(8, '0').toUpperCase()).join(''),
  )
  return [
    header,
    name,
    padding(header.length + name.length),
    Buffer.from(record.content),
    padding(record.content.length),
  ]
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4)
}
