import { readFileSync } from 'node:fs'
import type { SupervisedProcess } from '../../harness/system/process.ts'
import { programIn } from '../../harness/system/process-table.ts'

/** Clock ticks a second in /proc: USER_HZ, the same on every x86-64 Linux. */
const TICKS = 100
/** Positions in /proc/PID/stat (proc(5), fields 14 and 15), counted from the field after the program's name. */
const USER_FIELD = 11
const SYSTEM_FIELD = 12

/** Seconds of CPU that the program in a sandbox has used so far: what a busy machine does not make longer. */
export function cpuSecondsOf(process: SupervisedProcess): number {
  const pid = programIn(process.pid)
  if (pid === undefined) throw new Error(`${process.name} is gone`)
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[USER_FIELD]) + Number(fields[SYSTEM_FIELD])) / TICKS
}
