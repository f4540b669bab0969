/**
 * Whether a file is one zstd frame and nothing else (RFC 8878, 3.1.1). zlib reads the first frame and is silent about what
 * follows, so that two readers could see two different bundles in one file.
 */
import type { FileHandle } from 'node:fs/promises'
import { FormatError } from '../base/errors.ts'
import { WINDOW_LOG } from './limits.ts'

const MAGIC = 0xfd2fb528
const MAGIC_BYTES = 4
const BLOCK_HEADER_BYTES = 3
const CHECKSUM_BYTES = 4
const RLE_BLOCK = 1
const RESERVED_BLOCK = 3
/** By Frame_Content_Size_flag; one byte more where it is 0 and the frame is a single segment. */
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const

/** Throws as `firstFrameBytes`, and FormatError `trailing-bytes`. */
export async function requireOneFrame(handle: FileHandle, fileBytes: number): Promise<void> {
  const end = await firstFrameBytes(handle, fileBytes)
  if (end < fileBytes)
    throw refused('trailing-bytes', end, `${fileBytes - end} bytes follow its only zstd frame`)
}

/** Where the first frame ends. Throws FormatError `bad-magic`, `truncated`, `too-large` (its window), `bad-value`. */
export async function firstFrameBytes(handle: FileHandle, fileBytes: number): Promise<number> {
  const read = async (offset: number, bytes: number): Promise<Buffer> => {
    const buffer = Buffer.alloc(bytes)
    const { bytesRead } = await handle.read(buffer, 0, bytes, offset)
    if (bytesRead < bytes) throw refused('truncated', fileBytes, 'it is cut off')
    return buffer
  }
  const start = await read(0, MAGIC_BYTES).catch(() => Buffer.alloc(MAGIC_BYTES))
  if (start.readUInt32LE(0) !== MAGIC)
    throw refused('bad-magic', 0, `it begins with ${start.toString('hex')}, which no zstd frame does`)
  const [descriptor = 0, window = 0] = await read(MAGIC_BYTES, 2)
  const isSingle = (descriptor & 0x20) !== 0
  // A single segment has its content as its window; that is limited by what is unpacked.
  if (!isSingle && 10 + (window >> 3) > WINDOW_LOG)
    throw refused(
      'too-large',
      MAGIC_BYTES + 1,
      `its window has 2^${10 + (window >> 3)} bytes, at most 2^${WINDOW_LOG} are possible`,
    )
  if ((descriptor & 0x08) !== 0)
    throw refused('bad-value', MAGIC_BYTES, 'a reserved bit of its descriptor is set')
  const contentSize = CONTENT_SIZE_BYTES[(descriptor >> 6) as 0 | 1 | 2 | 3] || (isSingle ? 1 : 0)
  const dictionary = DICTIONARY_ID_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3]
  let offset = MAGIC_BYTES + 1 + (isSingle ? 0 : 1) + dictionary + contentSize
  for (let isLast = false; !isLast; ) {
    const header = (await read(offset, BLOCK_HEADER_BYTES)).readUIntLE(0, BLOCK_HEADER_BYTES)
    const type = (header >> 1) & 3
    if (type === RESERVED_BLOCK) throw refused('bad-value', offset, 'a block is of the reserved type')
    isLast = (header & 1) !== 0
    offset += BLOCK_HEADER_BYTES + (type === RLE_BLOCK ? 1 : header >> 3)
    if (offset > fileBytes) throw refused('truncated', fileBytes, 'it is cut off')
  }
  offset += (descriptor & 0x04) === 0 ? 0 : CHECKSUM_BYTES
  if (offset > fileBytes) throw refused('truncated', fileBytes, 'it is cut off')
  return offset
}

function refused(
  code: 'bad-magic' | 'truncated' | 'trailing-bytes' | 'too-large' | 'bad-value',
  offset: number,
  reason: string,
) {
  return new FormatError(`cannot read the bundle: ${reason}`, { code, field: 'zstd frame', offset })
}
