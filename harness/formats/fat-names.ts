/** Names of FAT directory entries: 8.3, and long ones in pieces before it. */

const CHARACTERS_PER_PIECE = 13
/** Offsets of the characters in a piece. */
const CHARACTERS_AT = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30]
const LAST_PIECE = 0x40
const MOST_PIECES = 20
/** First byte of a short name that really begins with 0xE5, which would mark it as deleted. */
const KANJI_E5 = 0x05
/** Windows NT's DIR_NTRes: name or extension are shown in lower case. */
const LOWER_NAME = 0x08
const LOWER_EXTENSION = 0x10
/** Where text from a disk would look like another path, or vanish. */
const IN_PATHS = /[/\\\0]/g

/**
 * Puts the pieces of a long name together, which come last piece first, and checks that they belong to their entry.
 * Fatgen103, "FAT Long Directory Entries": 13 characters of 16 bits a piece. Never throws: pieces that are out of order
 * leave the short name.
 */
export class FatNames {
  #characters: number[] = []
  #checksum = 0
  /** Number that the next piece must have; 0: the name is whole or there is none. */
  #next = -1

  forget(): void {
    this.#next = -1
  }

  addPiece(raw: Uint8Array): void {
    const order = raw[0] ?? 0
    const number = order & 0x3f
    if ((order & LAST_PIECE) !== 0 && number >= 1 && number <= MOST_PIECES) {
      this.#characters = new Array<number>(number * CHARACTERS_PER_PIECE).fill(0)
      this.#checksum = raw[13] ?? 0
      this.#next = number
    }
    const follows = number === this.#next && number !== 0 && raw[13] === this.#checksum
    this.#next = follows ? number - 1 : -1
    if (!follows) return
    for (const [index, at] of CHARACTERS_AT.entries())
      this.#characters[(number - 1) * CHARACTERS_PER_PIECE + index] =
        (raw[at] ?? 0) | ((raw[at + 1] ?? 0) << 8)
  }

  /** The long name that the pieces before this entry make, or its short one where they are not whole or not its own. */
  nameOf(raw: Uint8Array): string {
    const whole = this.#next === 0 && this.#checksum === shortNameChecksum(raw.subarray(0, 11))
    this.forget()
    return (whole ? this.#longName() : shortName(raw)).replace(IN_PATHS, '\ufffd')
  }

  #longName(): string {
    const end = this.#characters.indexOf(0)
    const used = end < 0 ? this.#characters : this.#characters.slice(0, end)
    return Buffer.from(Uint16Array.from(used).buffer).toString('utf16le')
  }
}

/** ChkSum of fatgen103. "FAT Long Directory Entries": one byte over the 11 of a short name. Never throws. */
export function shortNameChecksum(name: Uint8Array): number {
  return name.reduce((sum, byte) => (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff, 0)
}

/** Bytes above ASCII are in a code page that the volume does not name: they are shown as Latin-1. */
function shortName(raw: Uint8Array): string {
  const bytes = Buffer.from(raw.subarray(0, 11))
  if (bytes[0] === KANJI_E5) bytes[0] = 0xe5
  const flags = raw[12] ?? 0
  const part = (from: number, to: number, lower: number) => {
    const text = bytes.toString('latin1', from, to).trimEnd()
    return (flags & lower) === 0 ? text : text.toLowerCase()
  }
  const extension = part(8, 11, LOWER_EXTENSION)
  return part(0, 8, LOWER_NAME) + (extension === '' ? '' : `.${extension}`)
}
