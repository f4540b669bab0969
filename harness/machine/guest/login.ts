import { GuestError, TimeoutError } from '../../base/errors.ts'
import type { Console, ConsoleMatch, Mark } from '../console/engine.ts'
import { Guest } from './run.ts'
import { startAgent } from './start-agent.ts'

/** How to get to a shell on a guest's console. */
export interface LoginDescription {
  /** `prompt`: a shell is there by itself, or after a user name; `password`: after a user name and a password. */
  readonly kind: 'prompt' | 'password'
  /** Each sees one line and should end in `$`; defaults below. */
  readonly prompts?: {
    readonly login?: RegExp
    readonly password?: RegExp
    readonly shell?: RegExp
  }
  /** Default: root. */
  readonly user?: string
  readonly password?: string
}

const LOGIN_PROMPT = /(?<!Last )login: ?$/
const PASSWORD_PROMPT = /[Pp]assword(?: for \S+)?: ?$/
const SHELL_PROMPT = /[#$>] ?$/
const REFUSED = /Login incorrect|Authentication failure|Permission denied/
/** Signs that something beyond the firmware reads the console, so that Enter cannot change the boot. */
const USER_SPACE = /login:|[Pp]assword:|Welcome to|systemd\[1\]: |as init process|built-in shell/

/** After so long without a byte, a prompt may stand hidden in front of a kernel message: Enter shows it again. */
const NUDGE_AFTER_MS = 5000
const MOST_LOGINS = 5

const SHELL = 0
const LOGIN = 1
const PASSWORD = 2

class Login {
  readonly #console: Console
  readonly #description: LoginDescription
  readonly #deadlineMs: number
  readonly #nudgeAfterMs: number
  readonly #deadline: number
  readonly #watch = new AbortController()
  #userSpace = false
  #logins = 0
  #askedForPassword = false
  #nudgedPassword = false

  constructor(console: Console, description: LoginDescription, options: LoginOptions) {
    this.#console = console
    this.#description = description
    this.#deadlineMs = options.deadlineMs
    this.#nudgeAfterMs = options.nudgeAfterMs ?? NUDGE_AFTER_MS
    this.#deadline = performance.now() + options.deadlineMs
    const watching = { deadlineMs: options.deadlineMs, expectFailures: [], signal: this.#watch.signal }
    const since = options.since === undefined ? {} : { since: options.since }
    console.expect(USER_SPACE, { ...watching, ...since }).then(
      () => {
        this.#userSpace = true
      },
      () => {},
    )
  }

  get remainingMs(): number {
    return Math.max(1, this.#deadline - performance.now())
  }

  /** Answers prompts until a shell's is there. */
  async toShell(since: Mark | undefined): Promise<void> {
    let from = since
    try {
      for (;;) {
        const found = await this.#next(from)
        from = found?.end ?? from
        if (found?.index === SHELL) return
        if (found) await this.#answer(found)
        else await this.#nudge()
      }
    } finally {
      this.#watch.abort(new Error('the login is over'))
    }
  }

  /** The next prompt; undefined where it is time to press Enter. */
  async #next(since: Mark | undefined): Promise<ConsoleMatch | undefined> {
    const {
      login = LOGIN_PROMPT,
      password = PASSWORD_PROMPT,
      shell = SHELL_PROMPT,
    } = this.#description.prompts ?? {}
    const deadlineMs = Math.min(this.remainingMs, this.#nudgeAfterMs)
    try {
      return await this.#console.expect([shell, login, password, REFUSED], {
        deadlineMs,
        ...(since !== undefined && { since }),
      })
    } catch (error) {
      if (!(error instanceof TimeoutError) || error.code !== 'expect') throw error
      if (performance.now() < this.#deadline) return undefined
      throw new TimeoutError(
        `nobody could log in on the console of ${this.#console.name} within ${this.#deadlineMs / 1000} s: ${error.message}`,
        { code: 'boot', cause: error, consoleTail: error.consoleTail ?? '' },
      )
    }
  }

  async #answer(found: ConsoleMatch): Promise<void> {
    if (found.index === LOGIN) return this.#answerLogin()
    if (found.index === PASSWORD) return this.#answerPassword()
    if (!this.#nudgedPassword) throw this.#failed(`the guest said ${JSON.stringify(String(found.match))}`)
    // The empty password was ours, typed to bring a hidden prompt back.
    this.#nudgedPassword = false
  }

  async #answerLogin(): Promise<void> {
    this.#logins += 1
    this.#askedForPassword = false
    if (this.#logins > MOST_LOGINS) throw this.#failed(`it asked for a user ${this.#logins} times`)
    await this.#console.send(`${this.#description.user ?? 'root'}\n`)
  }

  async #answerPassword(): Promise<void> {
    const { password } = this.#description
    if (password === undefined) throw this.#failed('it asks for a password, the description has none')
    this.#askedForPassword = true
    await this.#console.sendSecret(`${password}\n`)
  }

  async #nudge(): Promise<void> {
    if (!this.#userSpace || this.#console.quietMs < this.#nudgeAfterMs) return
    this.#nudgedPassword =
      this.#logins > 0 && !this.#askedForPassword && this.#description.kind === 'password'
    await this.#console.send('\n')
  }

  #failed(reason: string): GuestError {
    const user = this.#description.user ?? 'root'
    const tail = this.#console.lastLines().join('\n')
    return new GuestError(`cannot log in to ${this.#console.name} as ${user}: ${reason}\n${tail}`, {
      code: 'login-failed',
      consoleTail: tail,
    })
  }
}

export interface LoginOptions {
  readonly deadlineMs: number
  /** Where on the console to begin; default: after the last match. */
  readonly since?: Mark
  /** Default 5 s without a byte. */
  readonly nudgeAfterMs?: number
}

/**
 * Waits for the guest to come up, logs in and starts the agent. Nothing is typed before a prompt was seen or user
 * space has shown itself. GuestError 'login-failed' for refused credentials, TimeoutError 'boot' at the deadline, and
 * what ends a wait on the console.
 */
export async function login(
  console: Console,
  description: LoginDescription,
  options: LoginOptions,
): Promise<Guest> {
  const login = new Login(console, description, options)
  await login.toShell(options.since)
  await startAgent(console, { deadlineMs: login.remainingMs })
  return new Guest(console)
}
