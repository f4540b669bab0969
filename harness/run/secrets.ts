/** Throw-away secrets that a scenario plants in a guest. */
import { randomBytes } from 'node:crypto'

/** A random text that occurs nowhere else, to be searched for where it must not be. */
export interface Canary {
  /** 64 hexadecimal digits. */
  readonly text: string
  /** The text again and again, 64 KiB: several whole blocks of any file system hold it. */
  readonly repeated: Buffer
}

const REPEATED_BYTES = 64 * 1024

export function freshCanary(): Canary {
  const text = randomBytes(32).toString('hex')
  return { text, repeated: Buffer.alloc(REPEATED_BYTES, text) }
}

/** Letters of systemd's recovery keys: the same place on every keyboard layout. */
const MODHEX = 'cbdefghijklnrtuv'

/** A recovery key in systemd's form: eight groups of eight modhex letters, 256 bits. */
export function freshRecoveryKey(): string {
  const letters = [...randomBytes(32).toString('hex')].map((digit) => MODHEX[Number.parseInt(digit, 16)])
  return (letters.join('').match(/.{8}/g) ?? []).join('-')
}
