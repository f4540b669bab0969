/** The machine that the figures belong to. */
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import type { HostReport } from '../../harness/probe/facts.ts'

export interface MachineState {
  /** That this process may use. */
  readonly cores: number
  readonly processor: string
  readonly memoryMiB: number
  /** Of the last 1, 5 and 15 minutes, before the first measurement. */
  readonly load: readonly number[]
  /** What runs the measured guests: a platform's id. */
  readonly accelerator: string
  /** The others, and why not. */
  readonly accelerators: string
  /** Why these figures are worse than the program; absent on a quiet machine. */
  readonly busy?: string
}

/** Share of a core that a machine at rest uses. */
const QUIET_LOAD = 0.3

export function machineState(report: HostReport, accelerator: string): MachineState {
  const load = loadavg().map((value) => Math.round(value * 100) / 100)
  const [lastMinute = 0] = load
  const cores = availableParallelism()
  return {
    cores,
    processor: cpus()[0]?.model ?? 'unknown processor',
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    load,
    accelerator,
    accelerators: describe(report),
    ...(lastMinute > QUIET_LOAD * cores && {
      busy: `load average ${lastMinute}: other programs run here; trust ratios, not seconds`,
    }),
  }
}

function describe({ platforms }: HostReport): string {
  const kvm = platforms['kvm']
  if (kvm?.usable) return 'kvm would be usable too'
  return `kvm: ${kvm?.reason ?? 'unknown'}`
}
