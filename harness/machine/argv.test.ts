import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import t from 'tap'
import { LaunchError } from '../base/errors.ts'
import { qemuArguments } from './argv.ts'
import type { MachineDescription } from './description.ts'
import { forwardedPort } from './forwarded-port.ts'
import { option, SOCKET_PATH_BYTES, socketPath } from './options.ts'
import { shellCommand } from './shell-command.ts'

const PLAIN: MachineDescription = {
  name: 'vm1',
  accelerator: 'tcg',
  machineOptions: {},
  cpu: 'max',
  vcpus: 1,
  memoryMiB: 1024,
  firmware: { kind: 'bios', file: '/fw/OVMF.fd' },
  drives: [],
  objects: [],
  smbiosStrings: [],
  ports: [],
  watchdog: false,
  virtioOptions: {},
  onReset: 'reset',
  qmpSocket: '/run/q',
  serialPipe: '/run/s',
}

const make = (change: Partial<MachineDescription>) => qemuArguments({ ...PLAIN, ...change })

/** The values that follow each `flag`. */
const valuesOf = (args: readonly string[], flag: string) =>
  args.filter((_, index) => args[index - 1] === flag)

const device = (args: readonly string[], driver: string) =>
  valuesOf(args, '-device').find((value) => value.split(',')[0] === driver)

t.test('the plain machine, in full', async (t) => {
  t.strictSame(make({}), [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-name', 'vm1', '-machine', 'q35,smm=off'],
    ...['-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', '1024M', '-bios', '/fw/OVMF.fd'],
    ...['-chardev', 'pipe,id=serial0,path=/run/s', '-device', 'isa-serial,chardev=serial0'],
    ...['-chardev', 'socket,id=qmp0,path=/run/q,server=on,wait=off', '-qmp', 'chardev:qmp0'],
    ...['-device', 'virtio-rng-pci', '-device', 'pvpanic-pci'],
    ...['-action', 'reboot=reset,shutdown=poweroff,panic=pause,watchdog=reset'],
  ])
})

t.test('equal descriptions give equal command lines, and the description is left alone', async (t) => {
  const description = Object.freeze({ ...PLAIN, smbiosStrings: Object.freeze(['a,b']) })
  t.strictSame(qemuArguments(description), qemuArguments(structuredClone(description)))
})

t.test(
  'a secure variable store brings SMM and the property that guards it; an insecure one brings neither',
  async (t) => {
    const store = { kind: 'pflash', code: '/fw/CODE.fd', variables: '/vm/VARS.fd' } as const
    const guard = 'driver=cfi.pflash01,property=secure,value=on'
    const secure = make({ firmware: { ...store, secure: true } })
    t.match(valuesOf(secure, '-machine')[0], /^q35,smm=on,pflash0=pflash-code,pflash1=pflash-variables$/)
    t.strictSame(valuesOf(secure, '-global'), [guard])
    const insecure = make({ firmware: { ...store, secure: false } })
    t.match(valuesOf(insecure, '-machine')[0], /smm=off/)
    t.strictSame(valuesOf(insecure, '-global'), [])
    const [code, variables] = valuesOf(secure, '-blockdev').map((node) => JSON.parse(node))
    t.match(code, { 'node-name': 'pflash-code', 'read-only': true, file: { filename: '/fw/CODE.fd' } })
    t.match(variables, {
      'node-name': 'pflash-variables',
      'read-only': false,
      file: { filename: '/vm/VARS.fd' },
    })
  },
)

t.test('drives are virtio disks in the order given, bootable where a boot index is given', async (t) => {
  const args = make({
    drives: [
      { id: 'root', file: '/vm/a,b "c".qcow2', format: 'qcow2', bootIndex: 0 },
      { id: 'data', file: '/vm/data.raw', format: 'raw', readOnly: true },
    ],
    virtioOptions: { 'disable-legacy': 'on', iommu_platform: 'true' },
  })
  const [root, data] = valuesOf(args, '-blockdev').map((node) => JSON.parse(node))
  t.match(root, { driver: 'qcow2', 'read-only': false, cache: { 'no-flush': true } })
  t.equal(root.file.filename, '/vm/a,b "c".qcow2', 'JSON carries every character')
  t.match(data, { driver: 'raw', 'read-only': true })
  t.strictSame(
    valuesOf(args, '-device').filter((value) => value.startsWith('virtio-blk-pci')),
    [
      'virtio-blk-pci,id=root,drive=root-node,bootindex=0,disable-legacy=on,iommu_platform=true',
      'virtio-blk-pci,id=data,drive=data-node,disable-legacy=on,iommu_platform=true',
    ],
  )
  t.equal(device(args, 'virtio-rng-pci'), 'virtio-rng-pci,disable-legacy=on,iommu_platform=true')
})

t.test('a log of writes is a node of its own above the disk, and keeps its name', async (t) => {
  const store = { kind: 'pflash', code: '/fw/CODE.fd', variables: '/vm/VARS.fd', secure: true } as const
  const args = make({
    firmware: { ...store, variablesLog: '/vm/vars.log' },
    drives: [{ id: 'root', file: '/vm/a.qcow2', format: 'qcow2', writeLog: '/vm/disk.log' }],
  })
  const nodes = valuesOf(args, '-blockdev').map((node) => JSON.parse(node))
  t.match(nodes, [
    { 'node-name': 'pflash-code' },
    {
      ...{ driver: 'blklogwrites', 'node-name': 'pflash-variables', 'log-sector-size': 512 },
      ...{ file: { driver: 'raw', file: { filename: '/vm/VARS.fd' } } },
      log: { driver: 'raw', file: { driver: 'file', filename: '/vm/vars.log' } },
    },
    {
      ...{ driver: 'blklogwrites', 'node-name': 'root-node', cache: undefined },
      // A flush passes the node that records it, and goes no further.
      ...{ file: { driver: 'qcow2', file: { filename: '/vm/a.qcow2' }, cache: { 'no-flush': true } } },
      log: { file: { filename: '/vm/disk.log' } },
    },
  ])
})

t.test('a trace names writes and TPM commands with their times, at the end of the line', async (t) => {
  t.strictSame(make({ trace: '/vm/trace' }).slice(-8), [
    ...['-trace', 'bdrv_co_pwritev_part', '-trace', 'tpm_emulator_handle_request'],
    ...['-D', '/vm/trace', '-msg', 'timestamp=on'],
  ])
  t.notOk(make({}).includes('-trace'))
})

t.test('the vTPM is the emulator behind its control socket', async (t) => {
  const args = make({ tpm: { controlSocket: '/run/tpm', model: 'tpm-tis' } })
  t.ok(valuesOf(args, '-chardev').includes('socket,id=tpm0-control,path=/run/tpm'))
  t.strictSame(valuesOf(args, '-tpmdev'), ['emulator,id=tpm0,chardev=tpm0-control'])
  t.equal(device(args, 'tpm-tis'), 'tpm-tis,tpmdev=tpm0')
})

t.test('direct boot, objects, ports and the small devices', async (t) => {
  const args = make({
    directBoot: { kernel: '/k', initrd: '/i', commandLine: 'a=b, c' },
    objects: [{ 'qom-type': 'sev-snp-guest', id: 'sev0', cbitpos: 51 }],
    ports: [{ name: 'org.attestbed.tsm', socket: '/run/p' }],
    memoryImages: [{ file: '/vm/a,b', address: 0x810c00 }],
    watchdog: true,
    rng: false,
    pvpanic: false,
  })
  t.strictSame([valuesOf(args, '-kernel'), valuesOf(args, '-initrd')], [['/k'], ['/i']])
  t.strictSame(valuesOf(args, '-append'), ['a=b, c'], 'the command line is not an option list')
  t.strictSame(JSON.parse(valuesOf(args, '-object')[0] ?? ''), {
    'qom-type': 'sev-snp-guest',
    id: 'sev0',
    cbitpos: 51,
  })
  t.equal(device(args, 'loader'), 'loader,file=/vm/a,,b,addr=0x810c00,force-raw=on')
  t.equal(device(args, 'virtserialport'), 'virtserialport,bus=ports.0,chardev=port0,name=org.attestbed.tsm')
  t.ok(device(args, 'i6300esb'))
  t.notOk(device(args, 'virtio-rng-pci') ?? device(args, 'pvpanic-pci'))
})

t.test('a network is one address on one port, restricted, its interface without an option ROM', async (t) => {
  const network = { address: '10.0.2.100', port: 8443, hostPort: 40_001 }
  const args = make({ network, virtioOptions: { iommu_platform: 'true' } })
  t.strictSame(valuesOf(args, '-netdev'), [
    'user,id=net0,restrict=on,ipv6=off,guestfwd=tcp:10.0.2.100:8443-cmd:busybox nc 127.0.0.1 40001',
  ])
  t.equal(device(args, 'virtio-net-pci'), 'virtio-net-pci,netdev=net0,romfile=,iommu_platform=true')
  t.equal(
    valuesOf(args, '-device').at(-1),
    device(args, 'virtio-net-pci'),
    'last, so that PCI addresses stay',
  )
  t.equal(valuesOf(make({}), '-netdev').length, 0)
})

t.test('a second address answers beside the first, on its own port of the host', async (t) => {
  const other = { address: '10.0.2.101', port: 443, hostPort: 40_002 }
  const network = { address: '10.0.2.100', port: 8443, hostPort: 40_001, other }
  t.strictSame(valuesOf(make({ network }), '-netdev'), [
    'user,id=net0,restrict=on,ipv6=off,guestfwd=tcp:10.0.2.100:8443-cmd:busybox nc 127.0.0.1 40001,guestfwd=tcp:10.0.2.101:443-cmd:busybox nc 127.0.0.1 40002',
  ])
  const bad = { ...network, other: { ...other, address: '10.0.2.2' } }
  t.throws(() => make({ network: bad }), { code: 'qemu-start', message: /free address/ })
})

t.test(
  'a service of the guest has a port of the loopback that QEMU chooses, and its table tells which',
  async (t) => {
    t.strictSame(valuesOf(make({ servicePort: 8443 }), '-netdev'), [
      'user,id=net0,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-10.0.2.15:8443',
    ])
    t.throws(() => make({ servicePort: 70_000 }), { code: 'qemu-start', message: /port of the service/ })
    const table = [
      'Hub -1 (net0):',
      '  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ',
      '  TCP[ESTABLISHED]  11       127.0.0.1 37480       10.0.2.15  8443     0     0',
      '  TCP[HOST_FORWARD]   9       127.0.0.1 37479       10.0.2.15  8443     0     0',
    ].join('\r\n')
    const qmp = { execute: async () => table }
    t.equal(await forwardedPort(qmp, 8443), 37_479)
    await t.rejects(forwardedPort(qmp, 443), { code: 'qmp-command' })
  },
)

t.test('an address, or a port, that could carry more than itself is refused by name', async (t) => {
  const network = { address: '10.0.2.100', port: 8443, hostPort: 40_001 }
  for (const address of [
    '10.0.2.2',
    '10.0.2.15',
    '10.0.2.256',
    '10.0.2.1-cmd:x',
    '10.0.3.1',
    '10.0.2.01',
    '',
  ])
    t.throws(() => make({ network: { ...network, address } }), {
      code: 'qemu-start',
      message: /free address/,
    })
  for (const port of [0, -1, 1.5, 65_536, Number.NaN]) {
    t.throws(() => make({ network: { ...network, port } }), {
      code: 'qemu-start',
      message: /port of the network/,
    })
    t.throws(() => make({ network: { ...network, hostPort: port } }), { message: /port of the host/ })
  }
})

t.test('a file for the guest is handed over by fw_cfg under its name', async (t) => {
  const args = make({ firmwareFiles: { 'opt/org.attestbed/init-data': '/vm/a,b' } })
  t.strictSame(valuesOf(args, '-fw_cfg'), ['name=opt/org.attestbed/init-data,file=/vm/a,,b'])
  t.throws(() => make({ firmwareFiles: { 'opt/x': 'relative' } }), { code: 'qemu-start' })
})

t.test('commas in an SMBIOS string and in a socket path are doubled', async (t) => {
  const args = make({
    smbiosStrings: ['io.systemd.stub.kernel-cmdline-extra=a,b,,c', '2'],
    serialPipe: '/run/a,b',
  })
  t.strictSame(valuesOf(args, '-smbios'), [
    'type=11,value=io.systemd.stub.kernel-cmdline-extra=a,,b,,,,c',
    'type=11,value=2',
  ])
  t.ok(valuesOf(args, '-chardev').includes('pipe,id=serial0,path=/run/a,,b'))
})

t.test('what a reset and a panic do follows the description', async (t) => {
  t.match(make({ onReset: 'exit' }).at(-1), /^reboot=shutdown,.*panic=pause/)
  t.match(make({ onPanic: 'continue' }).at(-1), /^reboot=reset,.*panic=none/)
})

t.test('what no command line can carry is refused by name', async (t) => {
  const refused = (change: Partial<MachineDescription>, message: RegExp, code = 'qemu-start') =>
    t.throws(() => make(change), { constructor: LaunchError, code, message })
  refused({ name: 'a,b' }, /the name of the VM is "a,b", it must be/)
  refused({ name: '' }, /the name of the VM/)
  refused({ vcpus: 0 }, /the number of vCPUs is "0"/)
  refused({ memoryMiB: 1.5 }, /the memory in MiB is "1.5"/)
  refused(
    { firmware: { kind: 'bios', file: 'OVMF.fd' } },
    /the firmware is "OVMF.fd", it must be an absolute path/,
  )
  refused({ smbiosStrings: ['a\0b'] }, /option value is "a\\u0000b"/)
  refused({ drives: [{ id: '1', file: '/d', format: 'raw' }] }, /the id of a drive/)
  refused(
    { qmpSocket: `/${'x'.repeat(SOCKET_PATH_BYTES)}` },
    /QMP: it is 108 bytes long, at most 107/,
    'socket-path-too-long',
  )
})

t.test('the length of a socket path counts bytes, not characters', async (t) => {
  t.ok(socketPath('x', `/${'x'.repeat(SOCKET_PATH_BYTES - 1)}`))
  t.throws(() => socketPath('x', `/${'é'.repeat(60)}`), { code: 'socket-path-too-long' })
})

t.test('an option splits back into what it was made of, whatever its values hold', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.string().filter((value) => !value.includes('\0'))), (values) => {
      const made = option('head', Object.fromEntries(values.map((value, index) => [`p${index}`, value])))
      const parts = made.match(/(?:,,|[^,])+/gs) ?? []
      const back = parts.slice(1).map((part) => part.replaceAll(',,', ',').replace(/^p\d+=/s, ''))
      t.strictSame(back, values)
    }),
    { examples: [[['a', 'b=c', '']]], numRuns: 200 },
  )
})

t.test('a pasted command line gives the shell the very same words', async (t) => {
  const words = fc.string({ unit: 'binary', maxLength: 20 }).filter((word) => !word.includes('\0'))
  const hard = ["it's", '', '$HOME', '`id`', 'a b', '"', '\\', '\n', '~', '!!', '*', 'a=b', '{"x":1}', '#']
  const pasted = (argv: readonly string[]) =>
    execFileSync('sh', ['-c', shellCommand(['printf', '%s\\0', ...argv])], { encoding: 'utf8' })
      .split('\0')
      .slice(0, -1)
  t.strictSame(pasted(hard), hard)
  fc.assert(
    fc.property(fc.array(words, { minLength: 1, maxLength: 30 }), (argv) => {
      t.strictSame(pasted(argv), argv)
    }),
    { numRuns: 4 },
  )
  t.equal(shellCommand(['qemu', '-a', 'b c', '-d']), "qemu \\\n  -a 'b c' \\\n  -d")
})
