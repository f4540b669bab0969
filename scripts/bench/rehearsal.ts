/**
 * A rehearsed launch: in this process, from the request to the digest, and as a command. The sandbox, QEMU's start, the
 * recording and its hashing are all in it; the recorder is compiled before.
 */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { PlatformId } from '../../harness/platforms/platform-id.ts'
import { platform } from '../../harness/platforms/platforms.ts'
import { rehearseLaunch } from '../../harness/platforms/rehearsed-launch.ts'
import { ensureRecorder } from '../../harness/rehearsal/recorder.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Figure, Limit, Measure, MeasureOptions } from './figure.ts'
import { openWorkbench, type Workbench } from './workbench.ts'

const REPEAT = 10
const LIMIT: Limit = { atMost: 1000 }
const LAUNCHER = join(import.meta.dirname, '../attestbed')

interface Case {
  readonly platform: PlatformId
  readonly firmware: string
  readonly vcpus: number
}

const CASES: readonly Case[] = [
  { platform: 'sev-snp', firmware: 'usr/share/ovmf/OVMF.amdsev.fd', vcpus: 4 },
  { platform: 'sev-snp', firmware: 'usr/share/ovmf/OVMF.amdsev.fd', vcpus: 64 },
  { platform: 'sev-es', firmware: 'usr/share/ovmf/OVMF.amdsev.fd', vcpus: 4 },
  { platform: 'sev', firmware: 'usr/share/ovmf/OVMF.amdsev.fd', vcpus: 4 },
  { platform: 'tdx', firmware: 'usr/share/ovmf/OVMF.inteltdx.ms.fd', vcpus: 4 },
]

export const rehearsal: Measure = {
  id: 'rehearsal',
  title: "rehearsed launches: QEMU's own, recorded and hashed",
  run: async (options) => {
    await using scope = new Scope('rehearsal')
    const bench = await openWorkbench(scope, options.signal)
    const figures: Figure[] = []
    for (const each of CASES) figures.push(await inProcess(bench, each, options))
    figures.push(await asCommand(options))
    return { figures }
  },
}

async function inProcess(bench: Workbench, { platform: id, firmware, vcpus }: Case, options: MeasureOptions) {
  const { context, host, paths, directory } = bench
  const rehearsing = { ...context, checkout: paths.checkout, host: host.parameters }
  await ensureRecorder(rehearsing)
  const request = { platform: platform(id), firmware: context.tools.path(firmware), vcpus }
  await mkdir(directory, { recursive: true })
  const name = `${id}, ${vcpus} vCPUs`
  const samples: number[] = []
  // The first loads what the others find loaded.
  for (let i = 0; i <= (options.repeat ?? REPEAT); i++) {
    options.tell(`rehearsal, ${name}: ${i}`)
    const file = join(directory, `${id}-${vcpus}-${i}`)
    const milliseconds = await timed(() => rehearseLaunch(rehearsing, request, file))
    await rm(file)
    if (i > 0) samples.push(milliseconds)
  }
  return { name, unit: 'ms', samples, limit: LIMIT } satisfies Figure
}

async function asCommand(options: MeasureOptions): Promise<Figure> {
  const samples: number[] = []
  for (let i = 0; i < (options.repeat ?? REPEAT); i++) {
    options.tell(`attestbed rehearse: ${i + 1}`)
    const run = () => promisify(execFile)(LAUNCHER, ['rehearse', 'sev-snp', '--vcpus', '4', '--json'])
    samples.push(await timed(run))
  }
  return { name: 'attestbed rehearse sev-snp --vcpus 4', unit: 'ms', samples, limit: LIMIT }
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await action()
  return performance.now() - start
}
