/** What a bundle may have at most. A stranger's may be made to fill a disk or a memory. */

const MIB = 2 ** 20

/** Of the file, compressed. */
export const MOST_FILE_BYTES = 1024 * MIB
export const MOST_MEMBERS = 4096
/** Of one member, and of all of them. */
export const MOST_MEMBER_BYTES = 1024 * MIB
export const MOST_TOTAL_BYTES = 2048 * MIB
export const MOST_MANIFEST_BYTES = 4 * MIB
/** How many times its compressed size a bundle may take: an honest one with empty variable stores stays below 40. */
export const MOST_RATIO = 200
/** Below it the ratio says nothing: a few zeros pack into almost nothing. */
export const RATIO_FROM_BYTES = 16 * MIB
/** zstd allocates as much when it unpacks (RFC 8878, 3.1.1.1.2: Window_Descriptor). */
export const WINDOW_LOG = 23

const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._+@,=-]*$/
const LONGEST_PATH = 180
const DEEPEST = 8

/**
 * Whether a member may be called so: relative, `/` between segments of plain letters, none of which begins with a dot. So
 * there is no `..`, nothing absolute, nothing hidden, and nothing that a shell or a terminal takes for something else.
 */
export function isMemberPath(path: string): boolean {
  if (path.length > LONGEST_PATH) return false
  const segments = path.split('/')
  return segments.length <= DEEPEST && segments.every((segment) => SEGMENT.test(segment))
}
