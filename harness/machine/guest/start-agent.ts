import { randomInt } from 'node:crypto'
import { sha256Hex } from '../../base/digest.ts'
import { TimeoutError } from '../../base/errors.ts'
import type { Console } from '../console/engine.ts'
import { AGENT_SCRIPT } from './agent.ts'
import { Exchange } from './exchange.ts'
import { newFraming } from './frames.ts'
import { begin } from './requests.ts'

const PIECE = 600
const STEP_MS = 10_000

/** A shell command that prints a number which was not typed, thrice in case one is hit, and what it prints. */
function proof(): { readonly command: string; readonly printed: string } {
  const [left, right] = [randomInt(2 ** 30, 2 ** 31), randomInt(2 ** 30, 2 ** 31)]
  return {
    command: `for i in 1 2 3; do echo at$((${left}*${right})); done`,
    printed: `at${BigInt(left) * BigInt(right)}`,
  }
}

/** Types one command line and waits until a shell has run it to its end. */
async function step(console: Console, command: string, ms: number): Promise<void> {
  const { command: print, printed } = proof()
  const since = console.mark()
  // The space keeps it out of the shell's history.
  await console.send(` ${command}; ${print}\n`)
  await console.expect(printed, {
    since,
    deadlineMs: Math.min(ms, STEP_MS),
    awaited: 'the proof that a shell reads the console',
    timeoutCode: 'command',
  })
}

async function attempt(console: Console, remaining: () => number): Promise<void> {
  const base64 = Buffer.from(AGENT_SCRIPT).toString('base64')
  await step(console, 'stty -echo 2>/dev/null; TERM=dumb; export TERM; p=', remaining())
  for (let at = 0; at < base64.length; at += PIECE) {
    await step(console, `p=\${p}${base64.slice(at, at + PIECE)}`, remaining())
  }
  using exchange = new Exchange(console, newFraming())
  const session = exchange.framing.nonce.slice(0, 16)
  const check = `[ "$(printf %s $p | sha256sum)" = "${sha256Hex(base64)}  -" ]`
  await console.send(` ${check} && exec sh -c "$(printf %s $p | base64 -d)" sh ${session}\n`)
  await begin(exchange, { attempts: 2 })
}

/**
 * Replaces the POSIX shell that reads the console by the agent of agent.ts: echo off, TERM=dumb, no prompt. That it
 * answers proves that a real shell was there, with base64, sed and sha256sum. GuestError 'protocol' or TimeoutError 'command' after `deadlineMs`.
 */
export async function startAgent(console: Console, options: { readonly deadlineMs: number }): Promise<void> {
  const deadline = performance.now() + options.deadlineMs
  const remaining = (): number => Math.max(1, deadline - performance.now())
  for (;;) {
    try {
      return await attempt(console, remaining)
    } catch (error) {
      const lost = error instanceof TimeoutError || (error as { code?: string }).code === 'protocol'
      if (!lost || performance.now() >= deadline) throw error
      // Whatever was typed in part is given up.
      await console.send('\x03\n')
    }
  }
}
