/** Processes of this machine, read from /proc. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** Names one process for ever: pids are used again, this is not. */
export interface ProcessIdentity {
  readonly pid: number
  /** Clock ticks from boot to its start, as the kernel writes it. */
  readonly startTime: string
  readonly bootId: string
  /** Pids of another container say nothing here. */
  readonly pidNamespace: string
}

export function ownIdentity(): ProcessIdentity {
  const startTime = startTimeOf(process.pid)
  if (startTime === undefined) throw new Error('cannot read /proc/self/stat: is /proc mounted?')
  return { pid: process.pid, startTime, bootId: bootId(), pidNamespace: pidNamespace() }
}

/** A process of another PID namespace cannot be seen: it counts as alive until the machine has booted anew. */
export function isAlive(identity: ProcessIdentity): boolean {
  if (identity.bootId !== bootId()) return false
  return identity.pidNamespace !== pidNamespace() || startTimeOf(identity.pid) === identity.startTime
}

/**
 * The pid of the program that runs in the sandbox started as `pid`; undefined when there is none (yet or any more).
 * bwrap is its own init inside: a child with the same command line as its parent is one level of it.
 */
export function programIn(pid: number): number | undefined {
  const [child] = childrenOf(pid)
  if (child === undefined) return undefined
  return commandLine(child) === commandLine(pid) ? programIn(child) : child
}

/** Pids in the order of their creation. */
export function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[1-9][0-9]*$/.test(name) && statField(Number(name), PARENT_FIELD) === String(pid))
    .map(Number)
    .sort((a, b) => Number(startTimeOf(a) ?? 0) - Number(startTimeOf(b) ?? 0))
}

/** NUL-separated arguments; empty for a zombie or a process that is gone. */
export function commandLine(pid: number): string {
  return readProc(`${pid}/cmdline`) ?? ''
}

/** Positions in /proc/PID/stat, counted from the field after the command's name. */
const STATE_FIELD = 0
const PARENT_FIELD = 1
const START_TIME_FIELD = 19

/** Undefined for a process that is gone or only waits to be reaped. */
function startTimeOf(pid: number): string | undefined {
  const state = statField(pid, STATE_FIELD)
  return state === undefined || state === 'Z' || state === 'X' ? undefined : statField(pid, START_TIME_FIELD)
}

/** The command's name may hold blanks and parentheses: fields count from the last `)`. */
function statField(pid: number, index: number): string | undefined {
  const stat = readProc(`${pid}/stat`)
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[index]
}

function bootId(): string {
  return readProc('sys/kernel/random/boot_id')?.trim() ?? 'unknown'
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')
  } catch {
    return 'unknown'
  }
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, 'utf8')
  } catch {
    return undefined
  }
}
