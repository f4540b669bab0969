import { escapeControls } from '../../base/text.ts'
import type { Console } from './engine.ts'
import { SizeFollower } from './size-follower.ts'

/** Ctrl-], as in telnet and virsh. */
export const DEFAULT_ESCAPE_KEY = '\x1d'

/**
 * Undoes what the guest may have left the terminal in: attributes, hidden cursor, alternate screen, application
 * keys, bracketed paste, mouse reports, scroll region, character set. Resetting the scroll region moves the cursor
 * to the top, so it is put back.
 */
const RESET_TERMINAL =
  '\x1b[!p\x1b[?1049l\x1b[?25h\x1b[?1l\x1b>\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b7\x1b[r\x1b8\x1b(B\x1b[0m\r\n'

/** The keyboard: process.stdin, where it is a terminal. */
export interface TerminalInput {
  setRawMode(raw: boolean): unknown
  on(event: 'data', listener: (bytes: Buffer) => void): unknown
  off(event: 'data', listener: (bytes: Buffer) => void): unknown
  resume(): unknown
  pause(): unknown
}

/** The screen: process.stdout, where it is a terminal. */
export interface TerminalOutput {
  readonly columns: number
  readonly rows: number
  write(data: string | Uint8Array): unknown
  on(event: 'resize', listener: () => void): unknown
  off(event: 'resize', listener: () => void): unknown
}

export interface AttachOptions {
  readonly input: TerminalInput
  readonly output: TerminalOutput
  /** One control character; default Ctrl-]. */
  readonly escapeKey?: string
  /**
   * The guest's shell prompt at the end of a line. With it, the guest is told the window's size, at first and at
   * every change, by typing `stty rows R cols C`, but only at an untouched prompt: a serial line has no other way.
   * Without it nothing is typed.
   */
  readonly shellPrompt?: RegExp
}

/** Puts the terminal into raw mode until the returned function is called, or the process ends in any way but SIGKILL. */
export function rawTerminal(input: TerminalInput): () => void {
  let raw = true
  const restore = (): void => {
    process.off('exit', restore)
    if (!raw) return
    raw = false
    input.setRawMode(false)
  }
  process.on('exit', restore)
  input.setRawMode(true)
  return restore
}

/**
 * Hands the console to a person until they press the escape key ('left') or the guest goes away ('closed'). This is the
 * only place where what a guest prints reaches a terminal as it is, and where its answers to the guest's queries
 * reach the guest. What is typed counts as sent, and nothing of it is written down.
 */
export async function attach(console: Console, options: AttachOptions): Promise<'left' | 'closed'> {
  const { input, output } = options
  const escapeKey = Buffer.from(options.escapeKey ?? DEFAULT_ESCAPE_KEY)
  const follower = options.shellPrompt && new SizeFollower(console, options.shellPrompt)
  const restore = rawTerminal(input)
  const detach = console.onData((bytes) => output.write(bytes))
  const onResize = (): void => follower?.resized({ rows: output.rows, columns: output.columns })
  let onData: (bytes: Buffer) => void = () => {}
  const left = new Promise<'left'>((resolve) => {
    onData = (bytes) => {
      const end = bytes.indexOf(escapeKey)
      const typed = end < 0 ? bytes : bytes.subarray(0, end)
      follower?.typed()
      if (typed.length > 0) console.sendSecret(typed).catch(() => {})
      if (end >= 0) resolve('left')
    }
  })
  try {
    output.write(`${banner(console.name, escapeKey)}\r\n`)
    input.on('data', onData)
    output.on('resize', onResize)
    onResize()
    input.resume()
    return await Promise.race([left, console.closed.then(() => 'closed' as const)])
  } finally {
    detach()
    input.off('data', onData)
    output.off('resize', onResize)
    follower?.stop()
    input.pause()
    output.write(RESET_TERMINAL)
    restore()
  }
}

/** `Ctrl-]` for `\x1d`. */
export function keyName(key: string): string {
  const code = key.charCodeAt(0)
  return code < 0x20 ? `Ctrl-${String.fromCharCode(code + 0x40)}` : key
}

function banner(name: string, escapeKey: Buffer): string {
  return `[attestbed] console of ${escapeControls(name)}: ${keyName(escapeKey.toString('latin1'))} leaves it`
}
