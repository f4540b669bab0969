/** The tools' answers, asked for in the sandbox and remembered for as long as nothing they depend on changes. */

import { stat } from 'node:fs/promises'
import type { Tools } from '../system/tools.ts'
import { type AnswerCache, fileCache } from './answer-cache.ts'
import { probeKvmBoot } from './boot-probe.ts'
import type { FirmwareBuild } from './firmware.ts'
import type { HostTree } from './host-tree.ts'
import type { BootKind, BootOutcome, Programs } from './programs.ts'
import { askQemu } from './qemu-answers.ts'

export interface RealProgramsSpec {
  readonly tools: Tools
  readonly host: HostTree
  readonly firmware: readonly FirmwareBuild[]
  readonly cacheDirectory: string
  /** Repeats what was remembered. */
  readonly fresh: boolean
}

/**
 * A probe that heard nothing may have met a busy machine, and a QEMU that ended one without memory or disk: that
 * counts for a while, not until the next boot. What KVM and the firmware themselves said stays.
 */
const DOUBT_HOLDS_MS = 10 * 60 * 1000

export async function realPrograms(spec: RealProgramsSpec): Promise<Programs> {
  const { tools, host } = spec
  const kvm = await host.tryOpen('/dev/kvm')
  const cache = fileCache({
    directory: spec.cacheDirectory,
    dependsOn: [tools.digest, tools.root, ...qemuOf(tools), kvm, ...(await hostState(host))],
    fresh: spec.fresh,
  })
  const boots = new Map<BootKind, Promise<BootOutcome>>()
  const boot = (kind: BootKind): Promise<BootOutcome> => {
    const known = boots.get(kind) ?? bootOnce(spec, cache, kind, kind === 'smm' ? boot('plain') : undefined)
    boots.set(kind, known)
    return known
  }
  return {
    qemu: () => cache.remember('qemu', () => askQemu(tools, { accelerator: kvm === 'ok' ? 'kvm' : 'tcg' })),
    swtpm: () => cache.remember('swtpm', () => swtpmVersion(tools)),
    bootKvm: boot,
    async file(relative) {
      const path = tools.path(relative)
      const found = await stat(path).catch(() => undefined)
      return found?.isFile() ? { path, size: found.size } : undefined
    },
  }
}

/** Absent for the one of the tools, whose digest has it. */
function qemuOf({ qemu }: Tools): readonly string[] {
  return qemu ? [qemu.file, qemu.sha256] : []
}

/** What QEMU's answers depend on beside the tools: this boot, this user, the devices, how KVM was loaded. */
async function hostState(host: HostTree): Promise<string[]> {
  const parameters = ['kvm_amd', 'kvm_intel', 'kvm_pvm'].flatMap((module) =>
    ['sev', 'sev_es', 'sev_snp', 'tdx', 'nested'].map((name) => `/sys/module/${module}/parameters/${name}`),
  )
  const files = ['/proc/sys/kernel/random/boot_id', '/proc/sys/kernel/osrelease', ...parameters]
  const read = async (path: string) => (await host.readText(path).catch(() => undefined)) ?? ''
  return [String(host.user.uid), await host.tryOpen('/dev/sev'), ...(await Promise.all(files.map(read)))]
}

async function bootOnce(
  spec: RealProgramsSpec,
  cache: AnswerCache,
  kind: BootKind,
  first: Promise<BootOutcome> | undefined,
): Promise<BootOutcome> {
  // Where a plain boot fails, SMM cannot do better: no second QEMU for the same answer.
  const plain = await first
  if (plain && plain.kind !== 'booted')
    return { kind: 'not-tried', detail: 'the firmware without SMM does not boot' }
  const build = spec.firmware.find((candidate) => isOfKind(candidate, kind))
  if (!build) throw new Error(`ovmf/manifest.yaml has no firmware for the ${kind} boot probe`)
  return cache.remember(
    `kvm-boot-${kind}`,
    () =>
      probeKvmBoot(spec.tools, {
        machineArguments: machineArguments(spec.tools, build),
      }),
    ({ kind }) =>
      kind === 'booted' || kind === 'internal-error' ? Number.POSITIVE_INFINITY : DOUBT_HOLDS_MS,
  )
}

function isOfKind(build: FirmwareBuild, kind: BootKind): boolean {
  return build.load === 'pflash' && build.features.includes('smm') === (kind === 'smm')
}

/** The template itself is never written: `snapshot` puts the guest's writes into a temporary file. */
function machineArguments(tools: Tools, build: FirmwareBuild): string[] {
  const smm = build.features.includes('smm')
  const flash = (unit: number, file: string, mode: string) =>
    `if=pflash,format=raw,unit=${unit},${mode},file=${tools.path(file).replaceAll(',', ',,')}`
  return [
    ...['-machine', `q35,smm=${smm ? 'on' : 'off'}`],
    ...(smm ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
    ...['-drive', flash(0, build.path, 'readonly=on')],
    ...(build.variables === undefined ? [] : ['-drive', flash(1, build.variables, 'snapshot=on')]),
  ]
}

async function swtpmVersion(tools: Tools): Promise<string> {
  const { stdout } = await tools.run('swtpm', ['--version'], { timeoutMs: 10_000 })
  return /^[^\n,]+/.exec(stdout.toString('utf8'))?.[0] ?? 'no output'
}
