/**
 * How the SNP firmware measures pages: SEV Secure Nested Paging Firmware ABI specification (56860), 8.17.2. The digest
 * starts as zeros; each page makes it the SHA-384 of PAGE_INFO, which holds the digest so far.
 */
import { hash } from 'node:crypto'
import { DIGEST_LENGTHS } from '../../base/digest.ts'
import { FormatError } from '../../base/errors.ts'

/** PAGE_TYPE, table 71 of the specification. */
export const PAGE_TYPES = { normal: 1, vmsa: 2, zero: 3, unmeasured: 4, secrets: 5, cpuid: 6 } as const

export type PageType = keyof typeof PAGE_TYPES

export interface Region {
  readonly gpa: number
  /** Bytes: whole pages. */
  readonly size: number
  readonly type: PageType
  /** `size` bytes for normal pages and VMSAs; the others are measured by place and type alone. */
  readonly contents?: Uint8Array
}

/** The GPA under which the kernel has VMSAs measured: all bits of a page number that the RMP keeps. */
export const VMSA_GPA = 0xffff_ffff_f000

const PAGE_BYTES = 0x1000
const PAGE_INFO_BYTES = 0x70
const CONTENTS_AT = DIGEST_LENGTHS.sha384
const LENGTH_AT = 0x60
const TYPE_AT = 0x62
const GPA_AT = 0x68
/** `hash` gives digests as strings of one character a byte: a third faster than as buffers. */
const ENCODING = 'binary'

/** Measures regions one after the other. Start from another one's digest to share a beginning. */
export class LaunchDigest {
  readonly #info = Buffer.alloc(PAGE_INFO_BYTES)

  /** Throws FormatError where `start` is not 48 bytes. */
  constructor(start: Uint8Array = new Uint8Array(DIGEST_LENGTHS.sha384)) {
    if (start.length !== DIGEST_LENGTHS.sha384)
      throw new FormatError(
        `cannot continue a launch digest of ${start.length} bytes, it must have ${DIGEST_LENGTHS.sha384}`,
        { code: 'bad-value', field: 'launch digest', offset: 0 },
      )
    this.#info.set(start)
    this.#info.writeUInt16LE(PAGE_INFO_BYTES, LENGTH_AT)
  }

  /** Throws FormatError for parts of pages, and for contents that are not as long as the region. */
  add(region: Region): this {
    checkRegion(region)
    const { gpa, size, type, contents } = region
    this.#info[TYPE_AT] = PAGE_TYPES[type]
    if (contents === undefined) {
      this.#info.fill(0, CONTENTS_AT, LENGTH_AT)
      for (let offset = 0; offset < size; offset += PAGE_BYTES) this.#extend(gpa + offset)
    } else this.#addContents(gpa, contents)
    return this
  }

  /** A copy, 48 bytes. */
  digest(): Buffer {
    return Buffer.from(this.#info.subarray(0, DIGEST_LENGTHS.sha384))
  }

  /** Most of a flash image is erased: a page that equals the one before it is not hashed again. */
  #addContents(gpa: number, contents: Uint8Array): void {
    const bytes = Buffer.from(contents.buffer, contents.byteOffset, contents.length)
    for (let offset = 0; offset < bytes.length; offset += PAGE_BYTES) {
      const end = offset + PAGE_BYTES
      const repeats = offset > 0 && bytes.compare(bytes, offset - PAGE_BYTES, offset, offset, end) === 0
      if (!repeats)
        this.#info.write(hash('sha384', bytes.subarray(offset, end), ENCODING), CONTENTS_AT, ENCODING)
      this.#extend(gpa + offset)
    }
  }

  #extend(gpa: number): void {
    this.#info.writeUIntLE(gpa, GPA_AT, 6)
    this.#info.write(hash('sha384', this.#info, ENCODING), 0, ENCODING)
  }
}

function checkRegion({ gpa, size, type, contents }: Region): void {
  const problem =
    gpa < 0 || gpa % PAGE_BYTES !== 0 || gpa + size > 2 ** 48
      ? `lies at 0x${gpa.toString(16)}, not page-aligned and below 2^48`
      : size <= 0 || size % PAGE_BYTES !== 0
        ? `has ${size} bytes, not whole pages`
        : (type === 'normal' || type === 'vmsa') !== (contents !== undefined)
          ? `of type ${type} must ${contents === undefined ? '' : 'not '}have contents`
          : contents !== undefined && contents.length !== size
            ? `has ${contents.length} bytes of contents for ${size}`
            : undefined
  if (problem === undefined) return
  throw new FormatError(`cannot measure a region: it ${problem}`, {
    code: 'bad-value',
    field: 'region',
    offset: gpa,
  })
}
