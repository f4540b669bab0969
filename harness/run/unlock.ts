/** What became of the encrypted root, as the console tells it. */
import { GuestError } from '../base/errors.ts'
import { reasonIn, type UnlockWhy } from './unlock-reasons.ts'

export type UnlockResult =
  /** The root opened and nothing had been typed. */
  | 'unlocked-by-tpm'
  /** The root opened with what the attester brought from the broker. */
  | 'unlocked-by-broker'
  /** The root opened after a key was typed. */
  | 'unlocked-by-key'
  /** The initrd ran, and the root stayed closed. */
  | 'not-unlocked'
  /** The firmware started nothing. */
  | 'firmware-refused'

export const UNLOCKED_BY_TPM: UnlockResult = 'unlocked-by-tpm'
export const REFUSED_BY_TPM: UnlockResult = 'not-unlocked'

export const UNLOCKED_BY_BROKER: UnlockResult = 'unlocked-by-broker'

/** How the wait for the root ended. */
export type UnlockSignal = 'unlocked' | 'unlocked-by-broker' | 'asks-for-key' | 'gave-up' | 'nothing-bootable'

/** PCR values and command line as an initrd of ours reports them before it tries to unlock. */
const PCR_LINE = /attestbed-initrd: \S+ pcr-sha256 (.*)$/
const COMMAND_LINE = /attestbed-initrd: \S+ command-line (.*)$/

export class Unlock {
  readonly result: UnlockResult
  readonly why: UnlockWhy
  /** The line of the console that says why; empty where the root opened. */
  readonly message: string
  /** The initrd asks for a passphrase or recovery key. */
  readonly asksForKey: boolean
  readonly #commandLine: string | undefined
  readonly #pcrs: ReadonlyMap<number, string>

  /** `lines`: the console's lines since power-on, oldest first. */
  constructor(signal: UnlockSignal, lines: readonly string[], typedBytes: number) {
    this.result = resultOf(signal, typedBytes)
    this.asksForKey = signal === 'asks-for-key'
    const reason =
      signal === 'unlocked' || signal === 'unlocked-by-broker'
        ? { why: 'opened' as const, message: '' }
        : reasonIn(lines)
    this.why = reason.why
    this.message = reason.message
    this.#commandLine = lastCapture(lines, COMMAND_LINE)
    this.#pcrs = parsePcrs(lastCapture(lines, PCR_LINE) ?? '')
  }

  /** Kernel command line as the initrd saw it. GuestError `protocol` where it did not say. */
  get commandLine(): string {
    return this.#commandLine ?? unreported('kernel command line', 'nothing of the kind')
  }

  /**
   * SHA-256 value of a PCR in lower-case hex, before unlocking. GuestError `protocol` where the initrd did not report
   * it whole: two values that nobody has seen would be equal.
   */
  pcr(index: number): string {
    const reported = [...this.#pcrs.keys()].join(', ') || 'none'
    return this.#pcrs.get(index) ?? unreported(`PCR ${index}`, `PCRs: ${reported}`)
  }

  pcrs(indices: readonly number[]): Readonly<Record<string, string>> {
    return Object.fromEntries(indices.map((index) => [String(index), this.pcr(index)]))
  }

  /** For claims about the whole. */
  get summary(): { readonly result: UnlockResult; readonly why: UnlockWhy; readonly asksForKey: boolean } {
    return { result: this.result, why: this.why, asksForKey: this.asksForKey }
  }
}

function unreported(required: string, current: string): never {
  throw new GuestError(`the initrd has to report its ${required} on the console; it reported ${current}`, {
    code: 'protocol',
  })
}

function resultOf(signal: UnlockSignal, typedBytes: number): UnlockResult {
  const opened = signal === 'unlocked' || signal === 'unlocked-by-broker'
  if (opened && typedBytes > 0) return 'unlocked-by-key'
  if (opened) return signal === 'unlocked' ? 'unlocked-by-tpm' : 'unlocked-by-broker'
  return signal === 'nothing-bootable' ? 'firmware-refused' : 'not-unlocked'
}

function lastCapture(lines: readonly string[], pattern: RegExp): string | undefined {
  return lines.map((line) => pattern.exec(line)?.[1]).findLast((capture) => capture !== undefined)
}

/** `4=AB… 7=CD…` as the initrd prints what sysfs says. */
function parsePcrs(text: string): ReadonlyMap<number, string> {
  const values = [...text.matchAll(/\b(\d{1,2})=([0-9A-Fa-f]{64})\b/g)]
  return new Map(values.map(([, index = '', value = '']) => [Number(index), value.toLowerCase()]))
}
