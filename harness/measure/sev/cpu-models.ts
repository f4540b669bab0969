/**
 * CPUID signatures (Fn0000_0001 EAX) of QEMU's CPU models: a virtual processor starts with it in RDX, so it is in every
 * VMSA. Names and numbers as `query-cpu-model-expansion` of QEMU 11.1 gives them; real-qemu.test.ts compares.
 */
import { UsageError } from '../../base/errors.ts'

export interface CpuSignature {
  /** 0 to 0x10e: base family plus extended family. */
  readonly family: number
  /** 0 to 0xff. */
  readonly model: number
  /** 0 to 0xf. */
  readonly stepping: number
}

/**
 * Name without its version; family, model and stepping; the versions they hold for (`-v1` to `-vN`), and aliases. An
 * unversioned name is version 1, except where a machine type says otherwise: none of QEMU's own does.
 */
type Model = readonly [
  name: string,
  signature: readonly [family: number, model: number, stepping: number],
  versions: number,
  aliases?: readonly string[],
]

const AMD: readonly Model[] = [
  ['EPYC', [23, 1, 2], 5, ['EPYC-IBPB']],
  ['EPYC-Rome', [23, 49, 0], 5],
  ['EPYC-Milan', [25, 1, 1], 4],
  ['EPYC-Genoa', [25, 17, 0], 3],
  ['EPYC-Turin', [26, 0, 0], 2],
  ['Dhyana', [24, 0, 1], 2],
  ['Opteron_G1', [15, 6, 1], 1],
  ['Opteron_G2', [15, 6, 1], 1],
  ['Opteron_G3', [16, 2, 3], 1],
  ['Opteron_G4', [21, 1, 2], 1],
  ['Opteron_G5', [21, 2, 0], 1],
  ['athlon', [6, 2, 3], 1],
  ['phenom', [16, 2, 3], 1],
]

const OTHERS: readonly Model[] = [
  ['486', [4, 8, 0], 1],
  ['Broadwell', [6, 61, 2], 4, ['Broadwell-noTSX', 'Broadwell-IBRS', 'Broadwell-noTSX-IBRS']],
  ['Cascadelake-Server', [6, 85, 6], 7, ['Cascadelake-Server-noTSX']],
  ['ClearwaterForest', [6, 221, 0], 4],
  ['Conroe', [6, 15, 3], 1],
  ['Cooperlake', [6, 85, 10], 2],
  ['Denverton', [6, 95, 1], 3],
  ['DiamondRapids', [19, 1, 0], 2],
  ['GraniteRapids', [6, 173, 0], 1],
  ['Haswell', [6, 60, 4], 1, ['Haswell-v3', 'Haswell-IBRS']],
  ['Icelake-Server', [6, 134, 0], 3, ['Icelake-Server-noTSX']],
  ['IvyBridge', [6, 58, 9], 2, ['IvyBridge-IBRS']],
  ['KnightsMill', [6, 133, 0], 1],
  ['Nehalem', [6, 26, 3], 2, ['Nehalem-IBRS']],
  ['Penryn', [6, 23, 3], 1],
  ['SandyBridge', [6, 42, 1], 2, ['SandyBridge-IBRS']],
  ['SapphireRapids', [6, 143, 4], 8],
  ['SierraForest', [6, 175, 0], 1],
  ['Skylake-Client', [6, 94, 3], 4, ['Skylake-Client-IBRS', 'Skylake-Client-noTSX-IBRS']],
  ['Skylake-Server', [6, 85, 4], 6, ['Skylake-Server-IBRS', 'Skylake-Server-noTSX-IBRS']],
  ['Snowridge', [6, 134, 1], 4],
  ['Westmere', [6, 44, 1], 2, ['Westmere-IBRS']],
  ['YongFeng', [7, 11, 3], 1],
  ['core2duo', [6, 15, 11], 1],
  ['coreduo', [6, 14, 8], 1],
  ['kvm32', [15, 6, 1], 1],
  ['kvm64', [15, 6, 1], 1],
  ['n270', [6, 28, 2], 1],
  ['pentium', [5, 4, 3], 1],
  ['pentium2', [6, 5, 2], 1],
  ['pentium3', [6, 7, 3], 1],
  ['qemu32', [6, 6, 3], 1],
  ['qemu64', [15, 107, 1], 1],
]

/** Versions whose signature is not that of version 1. */
const CHANGED: readonly (readonly [Model[1], readonly string[]])[] = [
  [[6, 173, 1], versions('GraniteRapids', 2, 7)],
  [
    [6, 60, 1],
    ['Haswell-v2', 'Haswell-v4', 'Haswell-noTSX', 'Haswell-noTSX-IBRS'],
  ],
  [[6, 106, 0], versions('Icelake-Server', 4, 9)],
  [[6, 175, 3], versions('SierraForest', 2, 6)],
  [[7, 91, 3], versions('YongFeng', 2, 3)],
]

const SIGNATURES: ReadonlyMap<string, CpuSignature> = new Map(
  [
    ...[...AMD, ...OTHERS].map(
      ([name, signature, count, aliases = []]) =>
        [signature, [name, ...versions(name, 1, count), ...aliases]] as const,
    ),
    ...CHANGED,
  ].flatMap(([[family, model, stepping], names]) =>
    names.map((name) => [name, { family, model, stepping }] as const),
  ),
)

function versions(name: string, first: number, last: number): readonly string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${name}-v${first + index}`)
}

/** Every name that `cpuSignature` knows, as QEMU spells it. */
export const CPU_MODEL_NAMES: readonly string[] = [...SIGNATURES.keys()]

/** `25/1/1`: for a processor that has no name in QEMU, or for `-cpu host`. */
const BY_NUMBERS = /^(\d{1,3})\/(\d{1,3})\/(\d{1,2})$/

/**
 * Signature of a CPU model by QEMU's name, or by `family/model/stepping` in decimals. Throws UsageError `bad-value`
 * for a name that QEMU 11.1 does not have, and for `host` and `max`: their signature is the host's.
 */
export function cpuSignature(name: string): CpuSignature {
  const known = SIGNATURES.get(name) ?? byNumbers(name)
  if (known !== undefined) return known
  const dependsOnHost = name === 'host' || name === 'max'
  throw new UsageError(
    `cannot take CPU model "${name}": ${dependsOnHost ? "its signature is the host's" : 'QEMU has none of that name'}`,
    {
      code: 'bad-value',
      hint: dependsOnHost
        ? "give the host's family/model/stepping in decimals: 25/1/1"
        : `for SEV guests there are ${AMD.slice(0, 5)
            .map(([model, , count]) => `${model} (-v1 to -v${count})`)
            .join(', ')}; or family/model/stepping in decimals: 25/1/1`,
    },
  )
}

function byNumbers(text: string): CpuSignature | undefined {
  const [, family, model, stepping] = (BY_NUMBERS.exec(text) ?? []).map(Number)
  if (family === undefined || model === undefined || stepping === undefined) return undefined
  return family <= 0x10e && model <= 0xff && stepping <= 0xf ? { family, model, stepping } : undefined
}

/** EAX of CPUID Fn0000_0001: AMD64 Architecture Programmer's Manual, volume 3, appendix E.3.2. */
export function cpuidSignature({ family, model, stepping }: CpuSignature): number {
  const baseFamily = Math.min(family, 0xf)
  const extendedFamily = family - baseFamily
  return (extendedFamily << 20) | ((model >> 4) << 16) | (baseFamily << 8) | ((model & 0xf) << 4) | stepping
}
