/** Where things lie on this machine. Pure but for one look at $XDG_RUNTIME_DIR; creates nothing. */

import { existsSync, statSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'

export interface Paths {
  /** The checkout (or the installed package): the directory with package.json. */
  readonly checkout: string
  /** $ATTESTBED_CACHE, else attestbed under $XDG_CACHE_HOME: the tools tree and everything content-addressed. */
  readonly cache: string
  readonly state: string
  /** Secure Boot and policy keys, made per checkout. */
  readonly keys: string
  /** Run directories. */
  readonly runs: string
  /** Short private directory for unix sockets; made and verified by `openSocketDirectory`. */
  readonly sockets: string
}

export function resolvePaths(environment: NodeJS.ProcessEnv = process.env): Paths {
  const checkout = findCheckout(import.meta.dirname)
  const home = environment['HOME'] || homedir()
  const state = join(absolute(environment['XDG_STATE_HOME']) ?? join(home, '.local/state'), 'attestbed')
  return {
    checkout,
    cache:
      absolute(environment['ATTESTBED_CACHE']) ??
      join(absolute(environment['XDG_CACHE_HOME']) ?? join(home, '.cache'), 'attestbed'),
    state,
    keys: join(checkout, '.attestbed/keys'),
    runs: join(state, 'runs'),
    sockets: socketsPath(environment),
  }
}

/** The XDG base directory specification: relative values are invalid and to be ignored. */
function absolute(value: string | undefined): string | undefined {
  return value !== undefined && isAbsolute(value) ? value : undefined
}

function findCheckout(from: string): string {
  for (let directory = from; ; directory = dirname(directory)) {
    if (existsSync(join(directory, 'package.json'))) return directory
    if (directory === dirname(directory)) throw new Error(`no package.json in or above ${from}`)
  }
}

/** `su` and `sudo` leave the other user's XDG_RUNTIME_DIR behind: it counts only when it is our own. */
function socketsPath(environment: NodeJS.ProcessEnv): string {
  const uid = process.getuid?.() ?? 0
  const runtime = absolute(environment['XDG_RUNTIME_DIR'])
  if (runtime && statSync(runtime, { throwIfNoEntry: false })?.uid === uid) return join(runtime, 'attestbed')
  return join(absolute(environment['TMPDIR']) ?? tmpdir(), `attestbed-${uid}`)
}
