import { GuestError, TimeoutError } from '../../base/errors.ts'
import { escapeControls, truncateToWidth } from '../../base/text.ts'
import type { Console } from '../console/engine.ts'
import { OUTPUT_LINE } from './agent.ts'
import { Exchange } from './exchange.ts'
import { newFraming, type Output, type OutputSummary } from './frames.ts'
import { execScript } from './quote.ts'
import { begin, execute, fetch, giveInput, protocolError, start } from './requests.ts'

const DEFAULT_TIMEOUT_MS = 60_000
const DEFAULT_OUTPUT_LIMIT = 16 * 1024 * 1024
/** Pause between attempts of waitUntilSucceeds. */
const RETRY_PAUSE_MS = 250
/** Keys that end a program, in the order in which they are tried: Ctrl-C, Ctrl-\, Ctrl-C. */
const INTERRUPTS = ['\x03', '\x1c', '\x03']
const BYTES_A_LINE = (OUTPUT_LINE / 4) * 3

export interface RunOptions {
  /** How long the command may run, default 60 s; uploads and downloads come on top. */
  readonly timeoutMs?: number
  /** The command's standard input; default: empty. */
  readonly input?: Uint8Array | string
  /** The input is a secret: of what is typed for it, the transcript keeps the number of bytes only. */
  readonly secret?: boolean
}

export interface GuestResult {
  /** As the shell reports it: 127 for a missing program, 128 + n for a death by signal n. */
  readonly exitCode: number
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/**
 * Runs programs in a guest over its console, whatever else the console carries (see agent.ts for how). Commands run
 * one after the other. Errors: GuestError for a guest that panicked, went away ('console-closed') or does not keep
 * to the protocol ('protocol'), TimeoutError 'command'.
 *
 * Trust: an answer proves that somebody read what was typed and computed on it. Programs that can only print to the
 * console cannot forge one; a guest whose shell is itself hostile can say what it likes.
 */
export class Guest {
  readonly console: Console
  readonly #outputLimit: number
  #last: Promise<unknown> = Promise.resolve()
  #stuckIn: string | undefined

  /** The agent must be running, see startAgent and login. `outputLimit`: bytes of each output, default 16 MiB. */
  constructor(console: Console, options: { readonly outputLimit?: number } = {}) {
    this.console = console
    this.#outputLimit = options.outputLimit ?? DEFAULT_OUTPUT_LIMIT
  }

  /** Runs a program with these arguments exactly; no shell looks at them. Any exit code is a result. */
  run(argv: readonly string[], options: RunOptions = {}): Promise<GuestResult> {
    const script = execScript(argv)
    return this.#inTurn(() => this.#run(script, { ...options, name: describe(argv) }))
  }

  /** As `run`; GuestError 'command-failed' unless the exit code is 0. */
  async succeed(argv: readonly string[], options: RunOptions = {}): Promise<GuestResult> {
    const result = await this.run(argv, options)
    if (result.exitCode === 0) return result
    const said = truncateToWidth(escapeControls(result.stderr.subarray(-1000).toString().trim()), 400)
    throw new GuestError(
      `the guest command ${describe(argv)} ended with exit code ${result.exitCode}, expected 0${said && `: ${said}`}`,
      { code: 'command-failed' },
    )
  }

  /** As `run`; GuestError 'command-failed' where the exit code is 0. */
  async fail(argv: readonly string[], options: RunOptions = {}): Promise<GuestResult> {
    const result = await this.run(argv, options)
    if (result.exitCode !== 0) return result
    throw new GuestError(`the guest command ${describe(argv)} ended with exit code 0, expected a failure`, {
      code: 'command-failed',
    })
  }

  /** Runs a script with `sh -c`. */
  shell(script: string, options: RunOptions = {}): Promise<GuestResult> {
    return this.run(['sh', '-c', script], options)
  }

  /** Runs the command again and again until its exit code is 0; TimeoutError 'command' with the last failure. */
  async waitUntilSucceeds(
    argv: readonly string[],
    options: { readonly deadlineMs: number },
  ): Promise<GuestResult> {
    const deadline = performance.now() + options.deadlineMs
    for (;;) {
      const timeoutMs = Math.max(1, deadline - performance.now())
      const result = await this.run(argv, { timeoutMs })
      if (result.exitCode === 0) return result
      if (performance.now() + RETRY_PAUSE_MS >= deadline) {
        const said = escapeControls(result.stderr.subarray(-400))
        throw this.#timeout(describe(argv), options.deadlineMs, `last exit code ${result.exitCode}: ${said}`)
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS))
    }
  }

  async readFile(path: string): Promise<Buffer> {
    return (await this.succeed(['cat', '--', path])).stdout
  }

  /** Creates or replaces a file; `secret`: the transcript is not to have its content. */
  async writeFile(
    path: string,
    bytes: Uint8Array | string,
    { secret = false }: { readonly secret?: boolean } = {},
  ): Promise<void> {
    await this.succeed(['sh', '-c', 'cat >"$1"', 'sh', path], { input: bytes, secret })
  }

  /**
   * Starts a command and does not wait for its end: for one that takes the guest with it, such as `reboot`. Nothing
   * can be run afterwards until somebody has logged in again. `signal`: types nothing more, and throws its reason.
   */
  begin(argv: readonly string[], options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const script = execScript(argv)
    return this.#inTurn(async () => {
      options.signal?.throwIfAborted()
      await this.#requireFree()
      using exchange = new Exchange(this.console, newFraming(), options)
      await begin(exchange)
      for (let attempt = 0; attempt < 3; attempt++) {
        if ((await start(exchange, script)) !== 'refused') return
      }
      throw protocolError('a command does not arrive as it was sent')
    })
  }

  #inTurn<Result>(action: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(action, action)
    this.#last = turn.catch(() => {})
    return turn
  }

  async #run(script: string, options: RunOptions & { readonly name: string }): Promise<GuestResult> {
    await this.#requireFree()
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS
    const exchange = new Exchange(this.console, newFraming())
    try {
      await begin(exchange)
      if (options.input !== undefined)
        await giveInput(exchange, Buffer.from(options.input as Uint8Array), {
          secret: options.secret ?? false,
        })
      const status = await execute(exchange, script, timeoutMs)
      if (status) {
        const stdout = await this.#fetch(exchange, 'o', status.o, options.name)
        const stderr = await this.#fetch(exchange, 'e', status.e, options.name)
        return { exitCode: status.exitCode, stdout, stderr }
      }
    } finally {
      exchange[Symbol.dispose]()
    }
    const error = this.#timeout(options.name, timeoutMs, 'it was interrupted')
    await this.#interrupt(options.name)
    throw error
  }

  async #requireFree(): Promise<void> {
    if (this.#stuckIn !== undefined) await this.#interrupt(this.#stuckIn)
    if (this.#stuckIn !== undefined) {
      throw protocolError(`the command ${this.#stuckIn} cannot be interrupted and still holds the console`)
    }
  }

  #fetch(exchange: Exchange, output: Output, summary: OutputSummary, name: string): Promise<Buffer> {
    // The last line may be short, so the size is known only to within one line.
    const least = Math.max(0, summary.lines - 1) * BYTES_A_LINE
    if (least <= this.#outputLimit) return fetch(exchange, output, summary)
    const stream = output === 'o' ? 'standard output' : 'standard error'
    throw new GuestError(
      `${stream} of the guest command ${name} has ${least} bytes or more, the limit is ${this.#outputLimit}`,
      { code: 'output-too-large', hint: 'Let the guest filter or compress it, or copy it in parts.' },
    )
  }

  /** Frees the console from a program that does not end. */
  async #interrupt(name: string): Promise<void> {
    this.#stuckIn = name
    for (const key of INTERRUPTS) {
      using exchange = new Exchange(this.console, newFraming())
      await this.console.send(key)
      // An empty line first: what the program left unread of its own input would run into the request.
      await exchange.send('', `k ${exchange.framing.nonce}`)
      let frame = await exchange.next(2000)
      while (frame && frame.kind !== 'begun') frame = await exchange.next(1000)
      if (!frame) continue
      this.#stuckIn = undefined
      return
    }
  }

  #timeout(name: string, ms: number, detail: string): TimeoutError {
    const tail = this.console.lastLines().join('\n')
    return new TimeoutError(
      `the guest command ${name} did not succeed within ${ms / 1000} s; ${detail}\n${tail}`,
      {
        code: 'command',
        consoleTail: tail,
      },
    )
  }
}

function describe(argv: readonly string[]): string {
  return truncateToWidth(escapeControls(JSON.stringify(argv.join(' '))), 120)
}
