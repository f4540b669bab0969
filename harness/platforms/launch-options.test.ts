/** What an owner may choose for a launch: how it appears on QEMU's command line, and what is refused. */
import t from 'tap'
import { HostError, UsageError } from '../base/errors.ts'
import type { MachineDescription, QemuObject } from '../machine/description.ts'
import type { HostParameters } from './descriptor.ts'
import type { LaunchOptions } from './launch-options.ts'
import type { PlatformId } from './platform-id.ts'
import { PLATFORMS, platform } from './platforms.ts'

const DESCRIPTION: MachineDescription = {
  ...{ name: 'vm1', accelerator: 'tcg', machineOptions: {}, cpu: 'qemu64', vcpus: 1, memoryMiB: 2048 },
  firmware: { kind: 'bios', file: '/OVMF.fd' },
  ...{ drives: [], objects: [], smbiosStrings: [], ports: [], watchdog: false, virtioOptions: {} },
  ...{ onReset: 'reset', qmpSocket: '/tmp/q', serialPipe: '/tmp/s' },
}
const HOST: HostParameters = { cbitPosition: 51, qemuVersion: [11, 1] }

const launch = (id: PlatformId, options: LaunchOptions, host = HOST): MachineDescription =>
  platform(id).apply(DESCRIPTION, host, options)
const object = (id: PlatformId, options: LaunchOptions): QemuObject | undefined =>
  launch(id, options).objects.at(-1)
const policy = (id: PlatformId, names: LaunchOptions['policy']): unknown =>
  object(id, names === undefined ? {} : { policy: names })?.['policy']

const refused = (id: PlatformId, options: LaunchOptions): unknown => {
  try {
    return launch(id, options)
  } catch (error) {
    return error
  }
}

t.test('policy bits by name', async (t) => {
  t.equal(policy('sev-snp', undefined), 0x30000)
  t.equal(policy('sev-snp', []), 0x20000, 'no simultaneous multithreading')
  t.equal(policy('sev-snp', ['smt', 'debug']), 0xb0000)
  t.equal(policy('sev-snp', ['single-socket', 'migrate', 'single-socket']), 0x160000)
  t.equal(
    policy('sev-snp', ['cxl', 'aes-256-xts', 'rapl-off', 'ciphertext-hiding', 'page-swap-off']),
    0x3e20000,
  )
  t.equal(policy('sev-snp', 0x3001fn), 0x3001f)
  t.equal(policy('sev', undefined), 0x1)
  t.equal(policy('sev', ['debug']), 0)
  t.equal(policy('sev-es', undefined), 0x5)
  t.equal(policy('sev-es', ['debug']), 0x4)
  t.equal(policy('sev-es', ['no-key-sharing', 'no-send', 'same-domain', 'only-to-sev']), 0x3f)
  t.equal(policy('sev-es', 0x4n), 0x4)
})

t.test('a policy that the platform cannot have is refused', async (t) => {
  const cases: readonly (readonly [PlatformId, LaunchOptions['policy'], RegExp])[] = [
    ['sev-snp', ['smtt'], /no bit called "smtt"; there are smt, migrate, debug/],
    ['sev-snp', ['toString'], /no bit called "toString"/],
    ['sev-snp', 0x10000n, /bit 17 must be set/],
    ['sev-snp', 0x4020000n, /bits from 26 on are reserved/],
    ['sev', 0x5n, /bit 2 clear/],
    ['sev-es', 0x1n, /bit 2 set/],
    ['sev-es', 1n << 32n, /at most 32 bits/],
    ['sev', ['smt'], /no bit called "smt"/],
  ]
  for (const [id, names, message] of cases)
    t.match(refused(id, names === undefined ? {} : { policy: names }), {
      name: 'UsageError',
      code: 'bad-value',
      message,
    })
})

t.test("the owner's values are passed on in base64", async (t) => {
  const bytes = (length: number, fill: number) => Buffer.alloc(length, fill)
  t.match(
    object('sev-snp', {
      hostData: bytes(32, 0xd1),
      idBlock: { block: bytes(96, 1), authentication: bytes(4096, 2), authorKey: true },
      guestFeatures: ['debug-swap'],
    }),
    {
      'host-data': bytes(32, 0xd1).toString('base64'),
      'id-block': bytes(96, 1).toString('base64'),
      'id-auth': bytes(4096, 2).toString('base64'),
      'author-key-enabled': true,
      'debug-swap': true,
    },
  )
  t.match(
    object('tdx', {
      mrConfigId: bytes(48, 1),
      mrOwner: bytes(48, 2),
      mrOwnerConfig: bytes(48, 3),
      tdAttributes: ['pks'],
    }),
    {
      mrconfigid: bytes(48, 1).toString('base64'),
      mrowner: bytes(48, 2).toString('base64'),
      mrownerconfig: bytes(48, 3).toString('base64'),
      attributes: 0x4000_0000,
      'sept-ve-disable': false,
    },
  )
  t.match(object('tdx', { tdAttributes: ['debug', 'sept-ve-disable'] }), {
    attributes: 0x1000_0001,
    'sept-ve-disable': true,
  })
  t.equal(launch('sev-snp', { cpu: 'EPYC-Genoa' }).cpu, 'EPYC-Genoa')
})

t.test('what nobody asked for is not on the command line', async (t) => {
  t.strictSame(Object.keys(object('sev-snp', {}) ?? {}), [
    'qom-type',
    'id',
    'cbitpos',
    'reduced-phys-bits',
    'policy',
  ])
  t.strictSame(Object.keys(object('tdx', {}) ?? {}), ['qom-type', 'id'])
})

t.test('a value of another length is refused by name', async (t) => {
  const cases: readonly (readonly [PlatformId, LaunchOptions, string])[] = [
    ['sev-snp', { hostData: Buffer.alloc(31) }, 'HOST_DATA has 31 bytes, it must have 32'],
    [
      'sev-snp',
      { idBlock: { block: Buffer.alloc(95), authentication: Buffer.alloc(4096), authorKey: false } },
      'the ID block has 95',
    ],
    [
      'sev-snp',
      { idBlock: { block: Buffer.alloc(96), authentication: Buffer.alloc(1), authorKey: false } },
      'must have 4096',
    ],
    ['tdx', { mrConfigId: Buffer.alloc(49) }, 'MRCONFIGID has 49 bytes, it must have 48'],
    ['tdx', { mrOwner: Buffer.alloc(0) }, 'MROWNER has 0 bytes'],
    ['tdx', { mrOwnerConfig: Buffer.alloc(32) }, 'MROWNERCONFIG has 32 bytes'],
    ['tdx', { cpu: 'EPYC-v4' }, 'only "host" is possible'],
    ['tdx', { tdAttributes: ['perf'] }, 'TDATTRIBUTES has no bit called "perf"'],
  ]
  for (const [id, options, message] of cases)
    t.match(refused(id, options), { name: 'UsageError', code: 'bad-value', message }, message)
})

t.test('an option of another platform is refused, never dropped', async (t) => {
  const all: Required<LaunchOptions> = {
    ...{
      cpu: 'host',
      policy: [],
      guestFeatures: [],
      hostData: Buffer.alloc(32),
      mrConfigId: Buffer.alloc(48),
    },
    idBlock: { block: Buffer.alloc(96), authentication: Buffer.alloc(4096), authorKey: false },
    ...{ mrOwner: Buffer.alloc(48), mrOwnerConfig: Buffer.alloc(48), tdAttributes: [] },
  }
  for (const { id, launchOptions } of PLATFORMS)
    for (const name of Object.keys(all) as (keyof LaunchOptions)[]) {
      const outcome = refused(id, { [name]: all[name] })
      if (launchOptions.includes(name)) t.notOk(outcome instanceof Error, `${id} takes ${name}`)
      else t.ok(outcome instanceof UsageError && outcome.message.includes(name), `${id} refuses ${name}`)
    }
})

t.test('each supported QEMU gets a line that it knows, an older one a refusal', async (t) => {
  const versions = [
    [9, 0],
    [9, 1],
    [9, 2],
    [10, 0],
    [10, 1],
    [10, 2],
    [11, 0],
    [11, 1],
  ] as const
  const outcome = (id: PlatformId, qemuVersion: readonly [number, number]): string => {
    try {
      return launch(id, {}, { ...HOST, qemuVersion }).onReset
    } catch (error) {
      return error instanceof HostError ? error.code : String(error)
    }
  }
  const table = (id: PlatformId) => versions.map((version) => outcome(id, version)).join(' ')
  const old = 'program-too-old'
  t.equal(table('sev-snp'), `${old} exit exit exit exit exit reset reset`)
  t.equal(table('sev-es'), `${old} exit exit exit exit exit reset reset`)
  t.equal(table('tdx'), `${old} ${old} ${old} ${old} exit exit reset reset`)
  t.equal(table('sev'), Array(8).fill('reset').join(' '), 'its registers can be read, so it always could')
  t.notOk(launch('tdx', {}, {}) instanceof Error, 'an unknown version is left to QEMU')
})
