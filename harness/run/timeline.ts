/**
 * What a VM's boots were, one after the other: which entry the firmware started, which it refused, which slot ran, and
 * why the boot ended. Panics, watchdog resets, resets and power-offs are QEMU's words; the rest is the guest's console,
 * which is as honest as the guest.
 */
import { escapeControls } from '../base/text.ts'
import type { Console } from '../machine/console/engine.ts'
import type { GuestEnd } from '../machine/end.ts'
import type { QmpClient } from '../machine/qmp/client.ts'
import { reasonIn, type UnlockWhy } from './unlock-reasons.ts'

export type BootEnding =
  | 'running'
  | 'reset'
  | 'power-off'
  /** QEMU got the event from the guest's pvpanic device. */
  | 'panic'
  /** QEMU's watchdog device fired. */
  | 'watchdog'
  /** The initrd said that it cannot go on, and the guest reset. */
  | 'gave-up'
  /** The update's own health check failed, and the guest reset. */
  | 'unhealthy'
  | 'nothing-bootable'
  /** By the harness, or by what broke it. */
  | 'cut'

export interface Refusal {
  /** As the firmware names it: `Boot0003 "slot b"`. */
  readonly entry: string
  /** `Access Denied`, or what else it says. */
  readonly why: string
}

export interface BootRecord {
  /** From 1, over the life of the VM. */
  readonly number: number
  /** QEMU process, from 1: a higher one is a relaunch. */
  readonly process: number
  /** The slot whose initrd ran (`attestbed.slot=` of its command line); `none` where none did. */
  readonly slot: string
  /** Entry that the firmware started last: `Boot0003 "slot b"`. */
  readonly entry: string
  readonly refused: readonly Refusal[]
  readonly ending: BootEnding
  readonly unlocked: boolean
  /** PCRs before the root was opened, by number: lower-case hex. */
  readonly pcrs: Readonly<Record<string, string>>
  /** Why the root stayed closed, by the words of the program that refused. */
  readonly why: UnlockWhy
  /** The line that says why it ended as it did, safe to print; empty where there is none. */
  readonly words: string
}

/** What of a machine is watched. */
export interface WatchedMachine {
  readonly console: Pick<Console, 'tap'>
  readonly qmp: Pick<QmpClient, 'onEvent'>
  readonly ended: Promise<Pick<GuestEnd, 'kind'>>
}

type Draft = { -readonly [Key in keyof BootRecord]: BootRecord[Key] }

/** Lines of one boot that are kept to find out why the root stayed closed. */
const MOST_LINES = 500

/** More of a line than any of these words needs; a guest can print lines without end. */
const LONGEST_LINE = 1000
const NEEDLES = [
  'attestbed-initrd:',
  'attestbed-guest:',
  'BdsDxe:',
  'Kernel panic',
  'Error loading',
  'Failed to',
  'Esys_',
  'TPM',
  'PCR',
]
const STARTING = /BdsDxe: starting (Boot[0-9A-F]{4} "[^"]*")/
/** `Access Denied -- rejected probably by Secure Boot`: what edk2 adds is its guess. */
const REFUSED =
  /BdsDxe: failed to (?:load|start) (Boot[0-9A-F]{4} "[^"]*").*: ([A-Z][A-Za-z ]+?)(?: -- [^:]*)?\s*$/
/** systemd-boot's words for an entry that the firmware does not let it start. */
const LOADER_REFUSED =
  /(?:Error loading|Failed to (?:load|start|execute)) (?:EFI binary )?(\S+?)(?:,[^:]*)?: (.+?)\s*$/
const SLOT = /attestbed-initrd: \S+ command-line .*\battestbed\.slot=(\w+)/
const PCRS = /attestbed-initrd: \S+ pcr-sha256 (.*)$/
const SIGNS: readonly { readonly pattern: RegExp; readonly ending: BootEnding }[] = [
  { pattern: /attestbed-initrd: \S+ failed /, ending: 'gave-up' },
  { pattern: /attestbed-guest: \S+ unhealthy /, ending: 'unhealthy' },
  { pattern: /BdsDxe: No bootable option or device was found/, ending: 'nothing-bootable' },
]

export class BootTimeline {
  readonly #onEnd: (boot: BootRecord, line: string) => void
  readonly #boots: Draft[] = []
  #processes = 0
  #current: Draft | undefined
  #lines: string[] = []
  /** What the current boot would end as if it ended now. */
  #suspected: BootEnding = 'reset'

  /** `onEnd` hears of each boot when it is over, with a line for people. */
  constructor(onEnd: (boot: BootRecord, line: string) => void = () => {}) {
    this.#onEnd = onEnd
  }

  /** Oldest first; the last one may still run. */
  get boots(): readonly BootRecord[] {
    return this.#boots
  }

  /** One line a boot, for notes: `3 slot=a entry=Boot0001 "slot a" ended=running unlocked`. */
  get lines(): readonly string[] {
    return this.#boots.map(lineOf)
  }

  /** Follows a QEMU process from before its first instruction. */
  watch(machine: WatchedMachine): void {
    this.#processes += 1
    this.#begin()
    const stop = machine.console.tap({ needles: NEEDLES, onLine: (line) => this.#read(line) })
    machine.qmp.onEvent(({ name, data }) => {
      if (name === 'GUEST_PANICKED') this.#suspected = 'panic'
      else if (name === 'WATCHDOG') this.#suspected = 'watchdog'
      // What the guest printed before may still be in the socket: it is read first.
      else if (name === 'RESET') setImmediate(() => this.#next())
      else if (name === 'SHUTDOWN' && data['reason'] === 'guest-shutdown') this.#suspected = 'power-off'
    })
    machine.ended.then(({ kind }) => {
      const byHarness = kind !== 'reset' && kind !== 'shut-down' && this.#suspected === 'reset'
      this.#end(byHarness ? 'cut' : this.#suspected)
      stop()
    })
  }

  #begin(): void {
    const number = this.#boots.length + 1
    this.#current = {
      ...{ number, process: this.#processes, slot: 'none', entry: '', refused: [] },
      ...{ ending: 'running', unlocked: false, pcrs: {}, words: '' },
      why: 'unknown',
    }
    this.#lines = []
    this.#suspected = 'reset'
    this.#boots.push(this.#current)
  }

  #next(): void {
    if (!this.#current) return
    this.#end(this.#suspected)
    this.#begin()
  }

  #end(ending: BootEnding): void {
    if (!this.#current) return
    this.#current.ending = ending
    this.#current.why = this.#current.unlocked ? 'opened' : reasonIn(this.#lines).why
    const ended = { ...this.#current }
    this.#current = undefined
    this.#onEnd(ended, lineOf(ended))
  }

  #read(latin1: string): void {
    const boot = this.#current
    if (!boot) return
    const line = escapeControls(Buffer.from(latin1.trim().slice(0, LONGEST_LINE), 'latin1'))
    if (this.#lines.length < MOST_LINES) this.#lines.push(line)
    boot.entry = STARTING.exec(line)?.[1] ?? boot.entry
    const [, entry, why] = REFUSED.exec(line) ?? LOADER_REFUSED.exec(line) ?? []
    if (entry !== undefined && why !== undefined) boot.refused = [...boot.refused, { entry, why }]
    boot.slot = SLOT.exec(line)?.[1] ?? boot.slot
    const registers = PCRS.exec(line)?.[1]
    if (registers !== undefined) boot.pcrs = parseRegisters(registers)
    if (/attestbed-initrd: \S+ unlocked /.test(line)) boot.unlocked = true
    const sign = SIGNS.find(({ pattern }) => pattern.test(line))
    if (sign && this.#suspected === 'reset') this.#suspected = sign.ending
    if (sign || /Kernel panic - not syncing/.test(line)) boot.words = line
  }
}

function parseRegisters(text: string): Readonly<Record<string, string>> {
  const found = [...text.matchAll(/\b(\d{1,2})=([0-9A-Fa-f]{64})\b/g)]
  return Object.fromEntries(found.map(([, index = '', value = '']) => [index, value.toLowerCase()]))
}

/** Of a digest in a line for people; the result has all of it. */
const DIGITS_SHOWN = 8

function lineOf(boot: BootRecord): string {
  const { number, process, slot, entry, refused, ending, unlocked, words, pcrs } = boot
  const refusals = refused.map((each) => `, refused ${each.entry}: ${each.why}`).join('')
  const open = unlocked ? 'unlocked' : 'closed'
  const end = `${ending}${words && ` (${words})`}`
  const registers = Object.entries(pcrs).map(([index, value]) => `${index}=${value.slice(0, DIGITS_SHOWN)}`)
  const measured = registers.length > 0 ? `; PCRs ${registers.join(' ')}` : ''
  return `boot ${number} (QEMU ${process}): ${entry || 'nothing'}${refusals}; slot ${slot}, ${open}, ${end}${measured}`
}
