/**
 * The hashes table: QEMU puts the SHA-256 of kernel, initrd and command line into measured memory, and OVMF refuses
 * what does not match. docs/system/i386/amd-memory-encryption.rst and target/i386/sev.c of QEMU.
 */
import { ByteWriter } from '../../base/bytes.ts'
import { DIGEST_LENGTHS, digest } from '../../base/digest.ts'
import { UsageError } from '../../base/errors.ts'
import { GUID_BYTES, guidBytes } from '../../formats/guid.ts'

const TABLE_GUID = '9438d606-4f22-4cc9-b479-a793d411fd21'
const ENTRY_GUIDS = {
  cmdline: '97d02dd8-bd20-4c94-aa78-e7714d36ab2a',
  initrd: '44baf731-3a2f-4bd7-9af1-41e29169781d',
  kernel: '4de79437-abd2-427f-b835-d5b172d2045b',
} as const

const ENTRY_BYTES = GUID_BYTES + 2 + DIGEST_LENGTHS.sha256
const TABLE_BYTES = GUID_BYTES + 2 + 3 * ENTRY_BYTES
/** QEMU pads it, since memory is encrypted in blocks of 16 bytes. */
const ALIGNMENT = 16
export const HASHES_TABLE_BYTES = Math.ceil(TABLE_BYTES / ALIGNMENT) * ALIGNMENT

/** SHA-256 of each, 32 bytes. */
export interface KernelHashes {
  readonly kernel: Uint8Array
  /** Of nothing, where there is none. */
  readonly initrd: Uint8Array
  /** Of the text and its NUL; of a NUL alone, where there is none. */
  readonly cmdline: Uint8Array
}

/**
 * Hashes of what `-kernel`, `-initrd` and `-append` are given. QEMU hashes a confidential guest's kernel as the file
 * is. Throws UsageError for a command line with a NUL in it: no argument can carry it.
 */
export function kernelHashes({
  kernel,
  initrd = new Uint8Array(),
  append = '',
}: {
  readonly kernel: Uint8Array
  readonly initrd?: Uint8Array | undefined
  readonly append?: string | undefined
}): KernelHashes {
  if (append.includes('\0'))
    throw new UsageError('cannot hash the kernel command line: it has a NUL in it', { code: 'bad-value' })
  return {
    kernel: digest('sha256', kernel),
    initrd: digest('sha256', initrd),
    cmdline: digest('sha256', append, '\0'),
  }
}

/** The table as QEMU writes it, HASHES_TABLE_BYTES long. Throws FormatError for a hash that is not 32 bytes. */
export function encodeHashesTable(hashes: KernelHashes): Buffer {
  const writer = new ByteWriter({ what: 'SEV hashes table' })
  writer.bytes(guidBytes(TABLE_GUID), 'GUID').u16le(TABLE_BYTES, 'length')
  for (const name of ['cmdline', 'initrd', 'kernel'] as const)
    writer
      .bytes(guidBytes(ENTRY_GUIDS[name]), `${name} GUID`)
      .u16le(ENTRY_BYTES, `${name} length`)
      .bytes(hashes[name], `${name} hash`, DIGEST_LENGTHS.sha256)
  return writer.align(ALIGNMENT).finish()
}
