/**
 * How long a log takes from its bytes to what it says: parsed, replayed, compared with registers, and read. By CPU time:
 * on a busy machine the clock on the wall tells of the others.
 */

import { readEventLog } from '../../harness/evidence/event-log/read.ts'
import { verifyEventLog } from '../../harness/evidence/event-log/verify.ts'
import { ukiBoot } from '../../harness/evidence/testing/measured-boot.ts'
import { EV } from '../../harness/formats/event-log/event-types.ts'
import { parseEventLog } from '../../harness/formats/event-log/parse.ts'
import { replayEventLog } from '../../harness/formats/event-log/replay.ts'
import { syntheticLog } from '../../harness/formats/event-log/testing/synthetic-log.ts'
import type { Measure } from './figure.ts'

const REPEAT = 50
/** Logs in one sample: the system counts CPU time in steps of up to 4 ms. */
const LOGS_A_SAMPLE = 10
/** V8 has compiled by then what a verifier that lives for some seconds has compiled. */
const WARM_UP = 100
const LOG_BYTES = 64 * 1024
const LIMIT = { atMost: 5 }
/** What GRUB measures, line by line: many small events are the worst case. */
const GRUB_LINE =
  'grub_cmd: setparams Debian GNU/Linux, with Linux 6.12.57+deb13-cloud-amd64 and a line as long as usual'

export const eventLog: Measure = {
  id: 'evidence-event-log',
  title: 'event log of 64 KiB, three banks: parsed, replayed, verified and read',
  run: async ({ repeat = REPEAT, tell }) => {
    tell(`event log: ${repeat} times`)
    const bytes = logOf(LOG_BYTES)
    const bank = 'sha256'
    const values = replayEventLog(parseEventLog(bytes), bank)
    const read = () =>
      readEventLog(verifyEventLog({ log: parseEventLog(bytes), registers: 'pcr', bank, values }))
    for (let round = 0; round < WARM_UP; round++) read()
    const samples = Array.from({ length: repeat }, () => milliseconds(read))
    const parsing = Array.from({ length: repeat }, () => milliseconds(() => parseEventLog(bytes)))
    const replaying = Array.from({ length: repeat }, () =>
      milliseconds(() => replayEventLog(parseEventLog(bytes), bank)),
    )
    return {
      figures: [
        { name: 'from bytes to what it says', unit: 'ms', samples, limit: LIMIT },
        { name: 'parsed and replayed in one bank', unit: 'ms', samples: replaying },
        { name: 'parsed', unit: 'ms', samples: parsing },
      ],
      notes: [
        `${bytes.length} bytes, ${parseEventLog(bytes).events.length} events; in CPU time, after ${WARM_UP} rounds to warm up`,
      ],
    }
  },
}

/** A UKI's boot, then a boot loader's script until the log has its length. */
function logOf(length: number): Buffer {
  const banks = ['sha1', 'sha256', 'sha384'] as const
  const grub = {
    register: 8,
    type: EV.IPL,
    data: `${GRUB_LINE}\0`,
    measured: GRUB_LINE.slice('grub_cmd: '.length),
  }
  const boot = ukiBoot('pcr')
  const one = syntheticLog([grub], { banks }).length - syntheticLog([], { banks }).length
  const lines = Math.floor((length - syntheticLog(boot, { banks }).length) / one)
  return syntheticLog([...boot, ...Array.from({ length: lines }, () => grub)], { banks })
}

function milliseconds(work: () => unknown): number {
  const before = process.cpuUsage()
  for (let log = 0; log < LOGS_A_SAMPLE; log++) work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / LOGS_A_SAMPLE
}
