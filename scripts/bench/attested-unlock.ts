/**
 * What it costs a guest to have its root's key from the broker, beside the same image whose vTPM gives it: CPU time of
 * QEMU, so that a wait or a busy machine does not count. Both guests are of an emulated TEE, one after the other.
 */
import { ownersPolicy, type ScenarioVm } from '../../harness/run/index.ts'
import { Scope } from '../../harness/system/scope.ts'
import { cpuSecondsOf } from './cpu-time.ts'
import type { Measure } from './figure.ts'
import { opensslVerifications, REFERENCE_VERIFICATIONS } from './openssl-speed.ts'
import { type BenchLab, driveGuest, openWorkbench, type Workbench } from './workbench.ts'

const REPEAT = 3
const MOST_SECONDS = 3
const TEE = 'sev-snp'
/** What the initrd begins each of its lines with. */
const INITRD = 'attestbed-initrd: '

export const attestedUnlock: Measure = {
  id: 'attested-unlock',
  title: 'CPU time of an attested unlock, beside one by the vTPM',
  run: async ({ repeat = REPEAT, signal, tell }) => {
    await using scope = new Scope('attested-unlock')
    const bench = await openWorkbench(scope, signal)
    const pairs: Pair[] = []
    const speed = () => opensslVerifications({ seconds: 2, signal })
    for (let i = 1; i <= repeat; i++) {
      tell(`attested unlock: ${i} of ${repeat}`)
      const before = await speed()
      const attested = await take(bench, { name: `attested-${i}`, by: 'broker' })
      const sealed = await take(bench, { name: `sealed-${i}`, by: 'tpm' })
      const machine = (before + (await speed())) / 2 / REFERENCE_VERIFICATIONS
      pairs.push({ attested, sealed, machine })
    }
    const more = ({ attested, sealed }: Pair) => initrd(attested) - initrd(sealed)
    const initrd = ({ initrdAt, unlockedAt }: UnlockCost) => unlockedAt - initrdAt
    return {
      figures: [
        {
          ...{ name: 'attested, more than by the vTPM', unit: 's', limit: { atMost: MOST_SECONDS } },
          samples: pairs.map(more),
        },
        {
          name: `likewise, at ${REFERENCE_VERIFICATIONS} verifications a core`,
          ...{ unit: 's', limit: { atMost: MOST_SECONDS } },
          samples: pairs.map((pair) => more(pair) * pair.machine),
        },
        {
          name: 'of the whole boot by the vTPM',
          ...{ unit: 'ratio', samples: pairs.map((pair) => more(pair) / pair.sealed.unlockedAt) },
        },
        {
          name: 'initrd to the open root, attested',
          ...{ unit: 's', samples: pairs.map(({ attested }) => initrd(attested)) },
        },
        {
          name: 'initrd to the open root, by the vTPM',
          ...{ unit: 's', samples: pairs.map(({ sealed }) => initrd(sealed)) },
        },
        {
          name: 'the whole boot, more than by the vTPM',
          ...{ unit: 's', samples: pairs.map((each) => each.attested.unlockedAt - each.sealed.unlockedAt) },
        },
        {
          name: 'the whole boot, attested',
          ...{ unit: 's', samples: pairs.map(({ attested }) => attested.unlockedAt) },
        },
      ],
      notes: [
        'CPU time of QEMU from the first line of the initrd to the open root: what lies before is the same for both, and noise',
      ],
    }
  },
}

/** Seconds of QEMU's CPU time since its start. */
interface UnlockCost {
  readonly initrdAt: number
  readonly unlockedAt: number
}

interface Pair {
  /** Of the machine that the figures are of: how fast a core was, before and after. */
  readonly machine: number
  readonly attested: UnlockCost
  readonly sealed: UnlockCost
}

interface Guest {
  readonly name: string
  readonly by: 'broker' | 'tpm'
}

async function take(bench: Workbench, { name, by }: Guest): Promise<UnlockCost> {
  const costs: UnlockCost[] = []
  await driveGuest(bench, {
    ...{ name, image: 'attester', vtpm: 'stateful', tee: TEE },
    drive: async (lab) => {
      costs.push(await costOf(lab, by))
    },
  })
  const [cost] = costs
  if (cost === undefined) throw new Error(`${name}: nothing was measured`)
  return cost
}

async function costOf(lab: BenchLab, by: Guest['by']): Promise<UnlockCost> {
  const broker = await lab.broker()
  const words = by === 'tpm' ? ' attestbed.unlock=tpm2' : ''
  const vm: ScenarioVm = await lab.vm('guest', {
    ...{ kernel: 'direct', network: broker.network },
    ...(by === 'tpm' ? { seal: 'offline' } : { recoveryKey: 'enrolled' }),
    uki: { extraCommandLine: `${broker.commandLine}${words} attestbed.after=shell` },
  })
  if (by === 'broker') {
    const policy = await ownersPolicy(vm, {
      ...{ vtpm: 'required', log: 'this-boot', delivery: 'activate-credential' },
    })
    await broker.serve({ ...policy, secret: vm.recoveryKey })
  }
  const boot = await vm.boot()
  const cpu = () => cpuSecondsOf(boot.machine.process)
  let initrdAt: number | undefined
  boot.machine.console.tap({
    needles: [INITRD],
    onLine: () => {
      initrdAt ??= cpu()
    },
  })
  const { result } = await boot.unlock()
  const unlockedAt = cpu()
  const expected = by === 'broker' ? 'unlocked-by-broker' : 'unlocked-by-tpm'
  if (result !== expected) throw new Error(`the root did not open by the ${by}: ${result}`)
  if (initrdAt === undefined) throw new Error('the initrd did not say that it began')
  await boot.cut()
  return { initrdAt, unlockedAt }
}
