/** Facts of the programs that make a guest: QEMU and its objects, swtpm, the firmware builds. */

import { type FactProbe, type Finding, no, unknown, yes } from './finding.ts'
import { type FirmwareBuild, firmwareFact } from './firmware.ts'
import type { Sources } from './sources.ts'

/** Properties that the launches and their evidence need, by confidential-guest object. */
const OBJECTS = [
  {
    id: 'qemu-sev',
    object: 'sev-guest',
    properties: ['cbitpos', 'reduced-phys-bits', 'policy', 'kernel-hashes'],
  },
  {
    id: 'qemu-sev-snp',
    object: 'sev-snp-guest',
    properties: [
      'cbitpos',
      'reduced-phys-bits',
      'policy',
      'kernel-hashes',
      'host-data',
      'id-block',
      'id-auth',
    ],
  },
  {
    id: 'qemu-tdx',
    object: 'tdx-guest',
    properties: ['quote-generation-socket', 'mrconfigid', 'mrowner', 'mrownerconfig', 'attributes'],
  },
] as const

const SINCE = 'sev-snp-guest came with QEMU 9.1, tdx-guest with 10.1'

export const toolProbes: readonly FactProbe[] = [
  { id: 'qemu', look: lookAtQemu },
  { id: 'qemu-tcg', look: (sources) => lookAtAccelerator(sources, 'tcg') },
  { id: 'qemu-kvm', look: (sources) => lookAtAccelerator(sources, 'kvm') },
  ...OBJECTS.map((object) => ({ id: object.id, look: (sources: Sources) => lookAtObject(sources, object) })),
  { id: 'swtpm', look: async (sources) => yes(`swtpm --version: ${await sources.programs.swtpm()}`) },
]

/** One fact a build of the manifest, named `firmware-` and the build's id. */
export function firmwareProbes(builds: readonly FirmwareBuild[]): readonly FactProbe[] {
  return builds.map((build) => ({
    id: firmwareFact(build),
    look: (sources) => lookAtFirmware(sources, build),
  }))
}

async function lookAtQemu(sources: Sources): Promise<Finding> {
  const { version, packageVersion } = await sources.qemu()
  return yes(`QMP greeting: QEMU ${version.join('.')}${packageVersion ? ` (${packageVersion})` : ''}`)
}

async function lookAtAccelerator(sources: Sources, name: string): Promise<Finding> {
  const { accelerators } = await sources.qemu()
  const proof = `QMP qom-list-types accel: ${accelerators.join(', ') || 'none'}`
  return accelerators.includes(name)
    ? yes(proof)
    : no(proof, `Install a QEMU built with ${name.toUpperCase()}`)
}

async function lookAtObject(sources: Sources, wanted: (typeof OBJECTS)[number]): Promise<Finding> {
  const { objects, version } = await sources.qemu()
  const properties = objects[wanted.object]
  if (!properties) {
    return no(
      `QMP qom-list-types: QEMU ${version.join('.')} has no ${wanted.object}`,
      `Use a newer QEMU: ${SINCE}`,
    )
  }
  const missing = wanted.properties.filter((property) => !properties.includes(property))
  if (missing.length > 0) {
    return no(`QMP qom-list-properties ${wanted.object}: no ${missing.join(', ')}`, 'Use a newer QEMU')
  }
  return yes(`QMP qom-list-properties ${wanted.object}: ${wanted.properties.join(', ')}`)
}

async function lookAtFirmware(sources: Sources, build: FirmwareBuild): Promise<Finding> {
  const missing: string[] = []
  let proof = ''
  for (const path of build.variables === undefined ? [build.path] : [build.path, build.variables]) {
    const file = await sources.programs.file(path)
    if (!file) missing.push(path)
    else proof ||= `${file.path}, ${file.size} bytes`
  }
  if (missing.length === 0) return yes(`${build.features.join(', ') || 'no features'}; ${proof}`)
  return no(
    `${missing.join(' and ')} does not exist in the tools`,
    `It is part of the package ${build.package}`,
  )
}

/** What proves that the sandbox works: a program ran in it. */
export async function lookAtSandbox(sources: Sources): Promise<Finding> {
  const { version } = await sources.qemu()
  return version[0] > 0 ? yes('a sandboxed QEMU answered') : unknown('a sandboxed program gave no answer')
}
