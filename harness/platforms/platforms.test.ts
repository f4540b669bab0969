import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { HostError, UsageError } from '../base/errors.ts'
import { qemuArguments } from '../machine/argv.ts'
import type { MachineDescription, QemuObject } from '../machine/description.ts'
import type { Fact } from '../probe/facts.ts'
import { firmwareFact } from '../probe/firmware.ts'
import { readAnswers } from '../probe/qemu-answers.ts'
import { resolvePaths } from '../system/paths.ts'
import type { HostParameters, PlatformDescriptor } from './descriptor.ts'
import { emulatedPlatform } from './emulated/emulated-platform.ts'
import { type FirmwareRequest, firmwareFor, readFirmwareManifest } from './firmware.ts'
import type { PlatformId } from './platform-id.ts'
import { isPlatformId, PLATFORMS, platform } from './platforms.ts'

const builds = await readFirmwareManifest(resolvePaths().checkout)

const QUOTES = { type: 'unix', path: '/var/run/tdx-qgs/qgs.socket' } as const
const HOST: HostParameters = { cbitPosition: 51, quoteSocket: QUOTES, qemuVersion: [11, 1] }

const DESCRIPTION: MachineDescription = {
  name: 'vm1',
  accelerator: 'tcg',
  machineOptions: {},
  cpu: 'qemu64',
  vcpus: 1,
  memoryMiB: 2048,
  firmware: { kind: 'bios', file: '/OVMF.fd' },
  drives: [{ id: 'root', file: '/disk.raw', format: 'raw', bootIndex: 0 }],
  objects: [],
  smbiosStrings: [],
  ports: [],
  watchdog: false,
  virtioOptions: {},
  onReset: 'reset',
  qmpSocket: '/tmp/q',
  serialPipe: '/tmp/s',
}

const directBoot: MachineDescription = { ...DESCRIPTION, directBoot: { kernel: '/uki.efi' } }

/** The value after a flag; of several, the first. */
function option(id: PlatformId, flag: string): string | undefined {
  const argv = qemuArguments(platform(id).apply(DESCRIPTION, HOST))
  return argv[argv.indexOf(flag) + 1]
}

t.test('command lines have the forms that work on real hosts', async (t) => {
  t.equal(option('tcg', '-accel'), 'tcg')
  t.equal(option('kvm', '-accel'), 'kvm')
  t.equal(option('kvm', '-cpu'), 'host')

  t.equal(option('sev-snp', '-cpu'), 'EPYC-v4')
  t.match(option('sev-snp', '-machine'), 'confidential-guest-support=sev0,memory-backend=ram1')
  t.strictSame(platform('sev-snp').apply(DESCRIPTION, HOST).objects, [
    {
      'qom-type': 'memory-backend-memfd',
      id: 'ram1',
      size: 2048 * 1024 * 1024,
      share: true,
      prealloc: false,
    },
    { 'qom-type': 'sev-snp-guest', id: 'sev0', cbitpos: 51, 'reduced-phys-bits': 1, policy: 0x30000 },
  ])
  t.strictSame(platform('sev').apply(DESCRIPTION, HOST).objects, [
    { 'qom-type': 'sev-guest', id: 'sev0', cbitpos: 51, 'reduced-phys-bits': 1, policy: 0x1 },
  ])
  t.match(platform('sev-es').apply(DESCRIPTION, HOST).objects, [{ policy: 0x5 }])

  t.equal(option('tdx', '-cpu'), 'host')
  t.match(option('tdx', '-machine'), 'kernel-irqchip=split,confidential-guest-support=tdx0,hpet=off')
  t.strictSame(platform('tdx').apply(DESCRIPTION, HOST).objects, [
    { 'qom-type': 'tdx-guest', id: 'tdx0', 'quote-generation-socket': QUOTES },
  ])
  for (const id of ['sev-snp', 'tdx', 'sev-es', 'sev'] as const) {
    const argv = qemuArguments(platform(id).apply(DESCRIPTION, HOST)).join(' ')
    t.match(argv, /virtio-blk-pci,[^ ]*disable-legacy=on,iommu_platform=true/, id)
  }
})

t.test('a kernel that QEMU brings is measured on AMD', async (t) => {
  for (const id of ['sev-snp', 'sev-es', 'sev'] as const) {
    t.equal(platform(id).apply(directBoot, HOST).objects.at(-1)?.['kernel-hashes'], true, id)
    t.notOk('kernel-hashes' in (platform(id).apply(DESCRIPTION, HOST).objects.at(-1) ?? {}), id)
  }
})

t.test('a descriptor is pure and keeps what is not its own', async (t) => {
  const own: QemuObject = { 'qom-type': 'secret', id: 'mine' }
  const given = { ...DESCRIPTION, objects: [own], machineOptions: { 'dump-guest-core': 'off' } }
  const before = structuredClone(given)
  for (const { id, apply } of PLATFORMS) {
    const first = apply(given, HOST)
    t.strictSame(apply(given, HOST), first, `${id}: equal input, equal output`)
    t.strictSame(given, before, `${id}: the input is as it was`)
    t.match(first, {
      name: 'vm1',
      memoryMiB: 2048,
      objects: [own],
      machineOptions: { 'dump-guest-core': 'off' },
    })
  }
})

t.test('the C-bit comes from the host, and without it nothing is launched', async (t) => {
  for (const id of ['sev-snp', 'sev-es', 'sev'] as const) {
    t.match(platform(id).apply(DESCRIPTION, { cbitPosition: 47 }).objects.at(-1), { cbitpos: 47 })
    const blind = caught(() => platform(id).apply(DESCRIPTION, {}))
    t.ok(blind instanceof HostError && blind.code === 'platform-unusable', id)
  }
})

t.test('confidential platforms refuse firmware that they cannot load', async (t) => {
  const flash = { kind: 'pflash', code: '/c.fd', variables: '/v.fd', secure: false } as const
  for (const { id, firmwareLoads, apply } of PLATFORMS) {
    const refused = caught(() => apply({ ...DESCRIPTION, firmware: flash }, HOST))
    if (firmwareLoads.includes('pflash')) t.equal(refused, undefined, id)
    else t.ok(refused instanceof UsageError && refused.code === 'bad-value', id)
  }
})

t.test('where QEMU cannot reset a guest, a reboot ends it and is a relaunch', async (t) => {
  for (const id of ['sev-snp', 'tdx', 'sev-es'] as const) {
    const old: HostParameters = { ...HOST, qemuVersion: [10, 2] }
    t.equal(platform(id).reboot(old), 'relaunch', id)
    t.equal(platform(id).apply(DESCRIPTION, old).onReset, 'exit', id)
    t.equal(platform(id).reboot(HOST), 'reset', id)
    t.equal(platform(id).apply(DESCRIPTION, HOST).onReset, 'reset', id)
    t.equal(platform(id).reboot({}), 'relaunch', `${id}: an unknown QEMU is not trusted to reset`)
  }
})

t.test('the quote service is reached where the host has it: a unix socket, or vsock', async (t) => {
  const vsock = { type: 'vsock', cid: '2', port: '4050' } as const
  for (const quoteSocket of [QUOTES, vsock]) {
    const { objects } = platform('tdx').apply(DESCRIPTION, { quoteSocket })
    t.match(objects, [{ 'quote-generation-socket': quoteSocket }], quoteSocket.type)
    const argv = qemuArguments({ ...DESCRIPTION, objects }).join(' ')
    t.ok(argv.includes(JSON.stringify(quoteSocket)), 'as JSON, the one form that QEMU takes for it')
  }
})

t.test('without a quote service a trust domain has no quote socket', async (t) => {
  t.strictSame(platform('tdx').apply(DESCRIPTION, {}).objects, [{ 'qom-type': 'tdx-guest', id: 'tdx0' }])
})

t.test('only hardware gives the basis hardware', async (t) => {
  const basis = Object.fromEntries(PLATFORMS.map((descriptor) => [descriptor.id, descriptor.basis]))
  t.strictSame(basis, {
    ...{ tcg: 'emulated', kvm: 'emulated' },
    ...{ sev: 'hardware', 'sev-es': 'hardware', 'sev-snp': 'hardware', tdx: 'hardware' },
  })
  t.ok(isPlatformId('sev-es'))
  t.notOk(isPlatformId('snp'))
})

for (const version of ['10.0.13', '11.1.2'])
  t.test(`every property that is set is one that QEMU ${version} has`, async (t) => {
    const recorded = join(import.meta.dirname, `../probe/fixtures/qemu-${version}.qmp`)
    const { objects } = readAnswers(await readFile(recorded, 'utf8'))
    const [major = 0, minor = 0] = version.split('.').map(Number)
    const host: HostParameters = { ...HOST, qemuVersion: [major, minor] }
    for (const { id, qemuSince = [0, 0], apply } of PLATFORMS) {
      if (major < qemuSince[0] || (major === qemuSince[0] && minor < qemuSince[1])) {
        const refused = caught(() => apply(directBoot, host))
        t.ok(refused instanceof HostError && refused.code === 'program-too-old', `${id} is refused`)
        t.notOk(objects[`${id}-guest`], `${id}: and this QEMU has no such object`)
        continue
      }
      for (const { 'qom-type': type, id: _, ...properties } of apply(directBoot, host).objects) {
        if (type === 'memory-backend-memfd') continue
        for (const name of Object.keys(properties))
          t.ok(objects[type]?.includes(name), `${id}: ${type}.${name}`)
      }
    }
  })

t.test('firmware for a platform and a request', async (t) => {
  const present = facts(builds.map(firmwareFact), ['kvm-firmware-smm'])
  const choose = (id: PlatformId, secureBoot: boolean, known = present, persistentVariables = false) => {
    const choice = firmwareFor(platform(id), { secureBoot, persistentVariables }, { builds, facts: known })
    return choice.kind === 'found' ? choice.build.id : choice.reason
  }
  t.equal(choose('tcg', true), 'ovmf-secboot')
  t.equal(choose('tcg', false), 'ovmf')
  t.equal(choose('kvm', true), 'ovmf-secboot')
  t.equal(choose('kvm', false), 'ovmf')
  t.equal(choose('tdx', true), 'ovmf-inteltdx')
  t.equal(choose('tdx', false), 'ovmf-inteltdx')
  t.equal(choose('sev-snp', false), 'ovmf-amdsev')
  t.equal(choose('sev-es', false), 'ovmf-amdsev')
  t.equal(choose('sev', false), 'ovmf-amdsev')
  t.equal(choose('sev', true), 'ovmf-secboot')

  t.match(
    choose('sev-snp', true),
    /no firmware for sev-snp with .*secure-boot.*: ovmf-amdsev does not enforce Secure Boot/,
  )
  t.match(choose('tdx', true, present, true), 'ovmf-inteltdx keeps no variables over a reset')

  const noSmm = facts(builds.map(firmwareFact))
  t.equal(choose('kvm', true, noSmm), 'ovmf-inteltdx', 'Secure Boot without SMM')
  t.equal(choose('tcg', true, noSmm), 'ovmf-secboot', 'TCG always has SMM')
  t.match(choose('kvm', true, noSmm, true), 'needs SMM, which does not work here (kvm-firmware-smm)')
  t.match(choose('tcg', true, []), 'ovmf-secboot is not among the tools')

  const byBios = (id: PlatformId, secureBoot: boolean) => {
    const choice = firmwareFor(platform(id), { secureBoot, load: 'bios' }, { builds, facts: present })
    return choice.kind === 'found' ? choice.build.id : choice.reason
  }
  t.equal(byBios('tcg', false), 'ovmf-amdsev')
  t.equal(byBios('tcg', true), 'ovmf-inteltdx')
  t.equal(byBios('sev-snp', false), 'ovmf-amdsev')
})

t.test(
  'no TEE has firmware with Secure Boot that measures into a TPM, and an emulated one has a stand-in',
  async (t) => {
    const present = facts(builds.map(firmwareFact))
    const both = { secureBoot: true, measuresIntoTpm: true }
    const choose = (of: PlatformDescriptor | undefined, request: FirmwareRequest, known = present) => {
      if (of === undefined) return 'no platform'
      const choice = firmwareFor(of, request, { builds, facts: known })
      return choice.kind === 'found' ? choice.build.id : choice.reason
    }
    for (const id of ['sev-snp', 'tdx'] as const) {
      t.match(choose(platform(id), both), `no firmware for ${id} with`, `${id} itself`)
      const emulated = emulatedPlatform(platform(id), platform('tcg'))
      t.equal(choose(emulated, both), 'ovmf-secboot', `${id}, emulated`)
      t.equal(
        choose(emulated, { secureBoot: false, measuresIntoTpm: true }),
        id === 'tdx' ? 'ovmf-combined' : 'ovmf-amdsev',
      )
      for (const more of [
        { load: 'bios' },
        { persistentVariables: true },
        { shippedKeys: 'microsoft' },
      ] as const)
        t.match(
          choose(emulated, { ...both, ...more }),
          /^no firmware for .* load by bios/,
          Object.keys(more).join(),
        )
      const withSmm = emulatedPlatform(platform(id), platform('kvm'))
      t.match(choose(withSmm, both), /^no firmware for/, 'KVM without SMM')
      t.equal(choose(withSmm, both, [...present, ...facts(['kvm-firmware-smm'])]), 'ovmf-secboot')
    }
  },
)

function facts(...ids: readonly (readonly string[])[]): Fact[] {
  return ids.flat().map((id) => ({ id, status: 'yes', proof: 'said the test', hint: '' }))
}

function caught(action: () => unknown): unknown {
  try {
    action()
    return undefined
  } catch (error) {
    return error
  }
}
