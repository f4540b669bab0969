/** What only the real QEMU and the real packages can say; skipped by name where set-up has not run. */

import { readFile } from 'node:fs/promises'
import t from 'tap'
import { HostError } from '../base/errors.ts'
import { qemuArguments } from '../machine/argv.ts'
import type { MachineDescription } from '../machine/description.ts'
import { recognizeQemuError } from '../machine/qemu-errors.ts'
import type { HostParameters } from '../probe/facts.ts'
import { resolvePaths } from '../system/paths.ts'
import { openTools, type Tools } from '../system/tools.ts'
import { diagnoseHost } from './diagnose.ts'
import { readFirmwareManifest } from './firmware.ts'
import type { LaunchOptions } from './launch-options.ts'
import type { PlatformId } from './platform-id.ts'
import { isPlatformId, PLATFORMS, platform } from './platforms.ts'

const paths = resolvePaths()
const builds = await readFirmwareManifest(paths.checkout)
const tools: Tools | Error = await openTools().catch((error: Error) => error)
const withoutTools = { skip: tools instanceof Error && `without tools: ${tools.message}` }

const HOST: HostParameters = {
  cbitPosition: 0,
  quoteSocket: { type: 'unix', path: '/var/run/tdx-qgs/qgs.socket' },
  qemuVersion: [11, 1],
}

/** Guest features apart, for which this QEMU has no properties (see the refusals). */
const EVERY_OPTION: LaunchOptions = {
  ...{ cpu: 'host', policy: [], hostData: Buffer.alloc(32), mrConfigId: Buffer.alloc(48) },
  idBlock: { block: Buffer.alloc(96), authentication: Buffer.alloc(4096), authorKey: true },
  ...{ mrOwner: Buffer.alloc(48), mrOwnerConfig: Buffer.alloc(48), tdAttributes: ['sept-ve-disable'] },
}

const DESCRIPTION: MachineDescription = {
  name: 'vm1',
  accelerator: 'tcg',
  machineOptions: {},
  cpu: 'qemu64',
  vcpus: 1,
  memoryMiB: 256,
  firmware: { kind: 'bios', file: '/OVMF.fd' },
  drives: [],
  objects: [],
  smbiosStrings: [],
  ports: [],
  watchdog: false,
  virtioOptions: {},
  onReset: 'reset',
  qmpSocket: '/tmp/q',
  serialPipe: '/tmp/s',
}

t.test('the real QEMU has every object, option, CPU and device property', withoutTools, async (t) => {
  if (tools instanceof Error) return
  const measured = { ...DESCRIPTION, directBoot: { kernel: '/uki.efi' } }
  const described = PLATFORMS.map(({ id, apply, launchOptions }) => {
    const options = Object.fromEntries(launchOptions.map((name) => [name, EVERY_OPTION[name]]))
    return { id, description: apply(measured, HOST, options) }
  })
  const types = described.flatMap(({ description }) =>
    description.objects.map((object) => object['qom-type']),
  )
  const names = await ask(tools, {
    machine: ['qom-list-properties', { typename: await q35(tools) }],
    // -machine passes its kernel-irqchip on to the accelerator.
    accelerator: ['qom-list-properties', { typename: 'kvm-accel' }],
    cpus: ['query-cpu-definitions', {}],
    device: ['device-list-properties', { typename: 'virtio-blk-pci' }],
    ...Object.fromEntries(
      types.map((typename) => [typename, ['qom-list-properties', { typename }] as const]),
    ),
  })
  const has = (list: string, name: string, id: string) =>
    t.ok(names[list]?.includes(name), `${id}: ${list} ${name}`)
  const machine = [...(names['machine'] ?? []), ...(names['accelerator'] ?? [])]
  for (const { id, description } of described) {
    for (const name of Object.keys(description.machineOptions))
      t.ok(machine.includes(name), `${id}: -machine ${name}`)
    for (const name of Object.keys(description.virtioOptions)) has('device', name, id)
    has('cpus', description.cpu.split(',')[0] ?? '', id)
    for (const { 'qom-type': type, id: _, ...properties } of description.objects) {
      for (const name of Object.keys(properties)) has(type, name, id)
    }
  }
})

t.test(
  'where the hardware is missing, the real QEMU refuses each confidential guest',
  withoutTools,
  async (t) => {
    if (tools instanceof Error) return
    const { report } = await diagnoseHost({ paths, tools })
    const kvmOpens = report.facts.find(({ id }) => id === 'kvm-device')?.status === 'yes'
    // As seen on a host without SEV and TDX.
    const words: Partial<Record<PlatformId, RegExp>> = {
      'sev-snp': /vm-type SEV-SNP not supported by KVM/,
      tdx: /vm-type TDX not supported by KVM/,
      'sev-es':
        /does not support requested KVM_X86_SEV_ES_VM VM type|Could not open '\/dev\/sev'|vm-type \S+ not supported/,
      sev: /does not support requested KVM_X86_SEV_VM VM type|Could not open '\/dev\/sev'|vm-type \S+ not supported/,
    }
    for (const [id, expected] of Object.entries(words)) {
      if (!isPlatformId(id)) continue
      const skip = report.platforms[id]?.usable === true && `this host runs ${id}`
      await t.test(id, { skip }, async (t) => {
        const stderr = await refusal(tools, platform(id).apply(bootable(tools, id), HOST))
        t.match(stderr, kvmOpens ? expected : /Could not access KVM kernel module/)
        t.notMatch(
          stderr,
          /Property|Invalid parameter|unexpected|deprecated/i,
          'the command line itself is right',
        )
        const known = recognizeQemuError(stderr)
        t.ok(known instanceof HostError && known.code === 'platform-unusable', 'and is known')
      })
    }
  },
)

t.test('what QEMU itself says of a wrong request is one clear error', withoutTools, async (t) => {
  if (tools instanceof Error) return
  const snp = (options: LaunchOptions): MachineDescription =>
    platform('sev-snp').apply(bootable(tools, 'sev-snp'), HOST, options)
  const object = (property: string) => ({ ...snp({}), objects: [{ 'qom-type': property, id: 'x' }] })
  const requests: readonly (readonly [words: string, request: MachineDescription, code: string])[] = [
    ['has no property debug-swap', snp({ guestFeatures: ['debug-swap'] }), 'program-too-old'],
    ['has no some-future-guest', object('some-future-guest'), 'program-too-old'],
    ['sev-snp-guest needs KVM', { ...snp({}), accelerator: 'tcg' }, 'platform-unusable'],
    [
      'cannot be used as firmware',
      { ...DESCRIPTION, firmware: { kind: 'bios', file: '/nowhere.fd' } },
      'missing',
    ],
    ['without the accelerator hvf', { ...DESCRIPTION, accelerator: 'hvf' as 'kvm' }, 'platform-unusable'],
    [
      '/dev/kvm cannot be opened',
      { ...DESCRIPTION, accelerator: 'kvm', kvmDevice: '/nowhere' },
      'platform-unusable',
    ],
  ]
  for (const [words, request, code] of requests) {
    const known = recognizeQemuError(await refusal(tools, request))
    t.match(known, { code, message: words }, words)
  }
})

t.test("the manifest says what the package's own descriptors say", withoutTools, async (t) => {
  if (tools instanceof Error) return
  const names: Record<string, string> = {
    ...{ 'secure-boot': 'secure-boot', 'requires-smm': 'smm', 'amd-sev': 'sev', 'amd-sev-es': 'sev-es' },
    ...{ 'amd-sev-snp': 'sev-snp', 'intel-tdx': 'tdx' },
  }
  for (const file of DESCRIPTORS) {
    const { mapping, features } = JSON.parse(
      await readFile(tools.path(`usr/share/qemu/firmware/${file}.json`), 'utf8'),
    ) as PackageDescriptor
    const code = (mapping.executable?.filename ?? mapping.filename ?? '').replace('.ms.fd', '.secboot.fd')
    const variables = mapping['nvram-template']?.filename
    const build = builds.find(
      ({ path, variables: template }) =>
        (`/${path}` === code || `/${path}` === mapping.filename) &&
        (template === undefined ? variables === undefined : `/${template}` === variables),
    )
    const expected = features.flatMap((feature) => names[feature] ?? []).sort()
    t.strictSame(
      build?.features.filter((feature) => !NOT_IN_DESCRIPTORS.has(feature)).toSorted(),
      expected,
      file,
    )
    t.equal(build?.keys !== 'none', features.includes('enrolled-keys'), `${file}: keys`)
    t.equal(
      build?.features.includes('persistent-variables'),
      mapping.device === 'flash',
      `${file}: variables`,
    )
  }
})

/** One is the device of the mapping, of the other they say nothing. */
const NOT_IN_DESCRIPTORS: ReadonlySet<string> = new Set([
  'persistent-variables',
  'measures-into-tpm',
  'tdvf',
  'stand-in',
])
const DESCRIPTORS = [
  '40-edk2-x86_64-secure-enrolled',
  '50-edk2-x86_64-secure',
  '60-edk2-x86_64-amdsev',
  '60-edk2-x86_64-inteltdx',
  '60-edk2-x86_64',
]

/** docs/interop/firmware.json of QEMU, as far as it is compared. */
interface PackageDescriptor {
  readonly mapping: {
    readonly device: 'flash' | 'memory'
    readonly filename?: string
    readonly executable?: { readonly filename: string }
    readonly 'nvram-template'?: { readonly filename: string }
  }
  readonly features: readonly string[]
}

/** With the firmware that the platform would get, and little memory. */
function bootable(from: Tools, id: PlatformId): MachineDescription {
  const build = builds.find(({ load, features }) => load === 'bios' && features.includes(id as 'tdx'))
  return {
    ...DESCRIPTION,
    firmware: { kind: 'bios', file: from.path(build?.path ?? '') },
  }
}

/** What QEMU says when it refuses to start; its sockets are left out. */
async function refusal(from: Tools, description: MachineDescription): Promise<string> {
  const argv = qemuArguments(description)
  const frame = argv.filter(
    (word, index) => !/^(-chardev|-qmp)$/.test(word) && !/^(-chardev|-qmp)$/.test(argv[index - 1] ?? ''),
  )
  const silent = frame.filter(
    (word, index) => !/serial0/.test(word) && !/serial0/.test(frame[index + 1] ?? ''),
  )
  const run = from.run('qemu-system-x86_64', [...silent, '-S'], { timeoutMs: 10_000 })
  return run.then(
    () => 'QEMU did not refuse',
    (error: Error) => error.message,
  )
}

type Question = readonly [command: string, options: Readonly<Record<string, string>>]

/** The names in each answer of a QEMU without a machine; no names where it answered with an error. */
async function ask(
  from: Tools,
  questions: Readonly<Record<string, Question>>,
): Promise<Readonly<Record<string, readonly string[]>>> {
  const asked = Object.entries(questions).map(([id, [execute, options]]) => ({
    execute,
    arguments: options,
    id,
  }))
  const lines = [{ execute: 'qmp_capabilities' }, ...asked, { execute: 'quit' }].map((line) =>
    JSON.stringify(line),
  )
  const argv = ['-M', 'none', '-nodefaults', '-display', 'none', '-accel', 'tcg', '-qmp', 'stdio']
  const { stdout } = await from.run('qemu-system-x86_64', argv, { input: `${lines.join('\n')}\n` })
  const answers: readonly Answer[] = stdout
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const named = answers.filter(({ id }) => id !== undefined)
  return Object.fromEntries(named.map(({ id, return: list }) => [id, (list ?? []).map(({ name }) => name)]))
}

interface Answer {
  readonly id?: string
  readonly return?: readonly { readonly name: string }[]
}

/** The type behind `-machine q35`: the newest version of it. */
async function q35(from: Tools): Promise<string> {
  const { machines = [] } = await ask(from, { machines: ['qom-list-types', { implements: 'machine' }] })
  const versions = machines.filter((name) => /^pc-q35-[0-9.]+-machine$/.test(name))
  const [newest] = versions.toSorted((left, right) => right.localeCompare(left, 'en', { numeric: true }))
  return newest ?? 'no q35 machine'
}
