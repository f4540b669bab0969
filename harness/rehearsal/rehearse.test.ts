/** The real QEMU in front of the recorder; skipped by name where set-up has not run or there is no /dev/kvm. */
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { sha256Hex } from '../base/digest.ts'
import { HostError, MaterialError } from '../base/errors.ts'
import { vector, vectorsMissing } from '../base/testing/vectors.ts'
import type { MachineDescription, QemuObject } from '../machine/description.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import { openTools, type Tools } from '../system/tools.ts'
import { ensureRecorder } from './recorder.ts'
import { type RehearsalContext, rehearse } from './rehearse.ts'

// Only ends a machine that hangs: a rehearsal takes a tenth of a second.
t.setTimeout(180_000)

const paths = resolvePaths()
const tools: Tools | Error = await openTools().catch((error: Error) => error)
const hasKvm = ((): boolean => {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
})()
const lacking =
  tools instanceof Error ? `without tools: ${tools.message}` : !hasKvm && '/dev/kvm cannot be opened'

const directory = await mkdtemp(join(tmpdir(), 'attestbed-rehearse-test-'))
t.teardown(() => rm(directory, { recursive: true, force: true }))

function contextOf(some: Tools): RehearsalContext {
  return { tools: some, store: new Store(join(directory, 'cache')), checkout: paths.checkout }
}

const SEV_FIRMWARE = 'usr/share/ovmf/OVMF.amdsev.fd'
const TDX_FIRMWARE = 'usr/share/ovmf/OVMF.inteltdx.ms.fd'
const MIB = 1024 * 1024

interface Guest {
  readonly firmware: string
  readonly cpu?: string
  readonly vcpus?: number
  readonly machineOptions: Readonly<Record<string, string>>
  readonly objects: readonly QemuObject[]
}

function describe(some: Tools, { firmware, cpu = 'EPYC-v4', vcpus = 1, ...rest }: Guest): MachineDescription {
  return {
    ...{ name: 'vm1', accelerator: 'kvm', cpu, vcpus, memoryMiB: 512, ...rest },
    firmware: { kind: 'bios', file: some.path(firmware) },
    ...{ drives: [], smbiosStrings: [], ports: [], watchdog: false, virtioOptions: {}, onReset: 'exit' },
    ...{ qmpSocket: '/nowhere/q', serialPipe: '/nowhere/s' },
  }
}

const SEV = { id: 'sev0', cbitpos: 0, 'reduced-phys-bits': 1 }
const snp = (change: Partial<Guest> = {}, properties = {}): Guest => ({
  firmware: SEV_FIRMWARE,
  machineOptions: { 'confidential-guest-support': 'sev0', 'memory-backend': 'ram1' },
  objects: [
    { 'qom-type': 'memory-backend-memfd', id: 'ram1', size: 512 * MIB, share: true },
    { 'qom-type': 'sev-snp-guest', ...SEV, policy: 0x30000, ...properties },
  ],
  ...change,
})
const sev = (policy: number, change: Partial<Guest> = {}, properties = {}): Guest => ({
  firmware: SEV_FIRMWARE,
  machineOptions: { 'confidential-guest-support': 'sev0' },
  objects: [{ 'qom-type': 'sev-guest', ...SEV, policy, ...properties }],
  ...change,
})
const tdx = (properties = {}): Guest => ({
  ...{ firmware: TDX_FIRMWARE, cpu: 'host', vcpus: 2 },
  machineOptions: { 'kernel-irqchip': 'split', 'confidential-guest-support': 'tdx0' },
  objects: [{ 'qom-type': 'tdx-guest', id: 'tdx0', ...properties }],
})

let files = 0
async function rehearsalOf(guest: Guest) {
  if (tools instanceof Error) throw tools
  return rehearse(contextOf(tools), describe(tools, guest), join(directory, `recording-${files++}`))
}

interface SevCase {
  readonly mode: string
  readonly firmware: string
  readonly vmm: string
  readonly direct_boot: string
  readonly vcpus?: number
  readonly vcpu_type?: string
  readonly guest_features?: string
  readonly digest: string
}

/** What another project's tool predicts for the firmware at hand; none where it is another build. */
async function vectorCases(some: Tools): Promise<readonly SevCase[]> {
  const { firmware, cases } = JSON.parse(vector('measure/debian_ovmf_sev_cases.json').toString())
  const sha256 = sha256Hex(await readFile(some.path(SEV_FIRMWARE)))
  const name = Object.keys(firmware).find((each) => firmware[each].sha256 === sha256)
  const fitting = (cases as readonly SevCase[]).filter(
    (each) =>
      each.firmware === name &&
      each.vmm === 'QEMU' &&
      each.direct_boot === 'none' &&
      (each.guest_features ?? '0x1') === '0x1',
  )
  // Each number of vCPUs and each CPU model once for each mode.
  const seen = new Set<string>()
  return fitting.filter(({ mode, vcpus, vcpu_type }) => {
    const marks = [`${mode} ${vcpus}`, `${mode} ${vcpu_type}`].filter((mark) => !seen.has(mark))
    for (const mark of marks) seen.add(mark)
    return marks.length > 0
  })
}

t.test(
  'digests are those that an independent tool predicts',
  { skip: lacking || vectorsMissing },
  async (t) => {
    if (tools instanceof Error) return
    const cases = await vectorCases(tools)
    if (cases.length === 0) t.comment('the firmware at hand is none of the vectors')
    for (const { mode, vcpus = 1, vcpu_type: cpu = 'EPYC-v4', digest } of cases) {
      const change = { vcpus, cpu }
      const guest =
        mode === 'snp' ? snp(change) : sev(mode === 'seves' ? 5 : 1, change, { 'legacy-vm-type': 'off' })
      const { launch } = await rehearsalOf(guest)
      t.equal(launch.digest.toString('hex'), digest, `${mode}, ${vcpus} x ${cpu}`)
    }
    const { firmware } = JSON.parse(vector('measure/debian_tdx_mrtd.json').toString())
    const sha256 = sha256Hex(await readFile(tools.path(TDX_FIRMWARE)))
    const known = Object.values(firmware as Record<string, { sha256: string; mrtd_single_pass: string }>)
    const mrtd = known.find((each) => each.sha256 === sha256)?.mrtd_single_pass
    if (mrtd !== undefined) t.equal((await rehearsalOf(tdx())).launch.digest.toString('hex'), mrtd, 'MRTD')
  },
)

t.test('equal launches give equal recordings, another vCPU another one', { skip: lacking }, async (t) => {
  for (const guest of [snp({ vcpus: 2 }), sev(5, { vcpus: 2 }), sev(1, { vcpus: 2 }), tdx()]) {
    const [first, second] = [await rehearsalOf(guest), await rehearsalOf(guest)]
    t.ok((await readFile(first.recording)).equals(await readFile(second.recording)), first.launch.technology)
  }
  const [one, two] = [await rehearsalOf(snp()), await rehearsalOf(snp({ vcpus: 2 }))]
  t.notSame(one.launch.digest, two.launch.digest)
})

t.test(
  "what the owner's evidence shows beside the digest is what QEMU passed on",
  { skip: lacking },
  async (t) => {
    const hostData = Buffer.alloc(32, 0xd1)
    const block = Buffer.concat([
      Buffer.alloc(48, 1),
      Buffer.alloc(16, 2),
      Buffer.alloc(16, 3),
      Buffer.alloc(16, 0),
    ])
    const authentication = Buffer.alloc(4096, 0)
    authentication.fill(7, 0x240, 0x240 + 0x404)
    const given = {
      'host-data': hostData.toString('base64'),
      'id-block': block.toString('base64'),
      'id-auth': authentication.toString('base64'),
    }
    t.match((await rehearsalOf(snp({}, given))).launch.fields, {
      POLICY: '0x30000',
      HOST_DATA: hostData.toString('hex'),
      ID_BLOCK_EN: '1',
      ID_BLOCK_LD: '01'.repeat(48),
      FAMILY_ID: '02'.repeat(16),
      AUTHOR_KEY_DIGEST: '00'.repeat(48),
    })
    const [id, owner, config] = [1, 2, 3].map((byte) => Buffer.alloc(48, byte))
    const base64 = (bytes?: Buffer) => bytes?.toString('base64')
    const names = { mrconfigid: base64(id), mrowner: base64(owner), mrownerconfig: base64(config) }
    t.match((await rehearsalOf(tdx(names))).launch.fields, {
      TDATTRIBUTES: '0x10000000',
      MRCONFIGID: '01'.repeat(48),
      MROWNER: '02'.repeat(48),
      MROWNERCONFIG: '03'.repeat(48),
    })
  },
)

t.test('a recorder that QEMU cannot load means a refusal, not a launch', { skip: lacking }, async (t) => {
  if (tools instanceof Error) return
  const withoutRecorder: Tools = Object.assign(Object.create(tools), {
    run: (program: string, args: readonly string[], options?: object) =>
      (tools as Tools).run(
        program,
        args.filter((word) => !word.startsWith('LD_PRELOAD=')),
        options,
      ),
  })
  for (const guest of [snp(), sev(1), sev(5), tdx()]) {
    const file = join(directory, `never-${files++}`)
    const attempt = rehearse(contextOf(withoutRecorder), describe(tools, guest), file)
    await t.rejects(attempt, { constructor: HostError, message: /could not be intercepted/ })
  }
})

t.test('QEMU with a firmware that it cannot launch is no digest', { skip: lacking }, async (t) => {
  await t.rejects(rehearsalOf(snp({ firmware: 'usr/share/ovmf/none.fd' })), { code: 'missing' })
  await t.rejects(rehearsalOf(snp({ firmware: TDX_FIRMWARE })), {
    constructor: MaterialError,
    code: 'bad-format',
  })
})

/** `past`: in a child of its own, prints the signal that ended it. */
const PYTHON = `import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(4096)
def past(request, argument):
  pid = os.fork()
  if pid == 0:
    libc.syscall(16, os.open("/dev/null", os.O_RDWR), request, argument)
    os._exit(0)
  print(os.WTERMSIG(os.waitpid(pid, 0)[1]), flush=True)
`
const SIGSYS = '31'

/** Calls in a process that has the recorder, by Python's ctypes: by number, so that they do not come by the recorder. */
const RAW_CALLS: readonly (readonly [what: string, request: string, argument: string])[] = [
  ['KVM_MEMORY_ENCRYPT_OP', '0xc008aeba', 'buffer'],
  ['KVM_MEMORY_ENCRYPT_REG_REGION', '0x8010aebb', 'buffer'],
  ['KVM_MEMORY_ENCRYPT_UNREG_REGION', '0x8010aebc', 'buffer'],
  ['SEV_ISSUE_CMD', '0xc0105300', 'buffer'],
  ['KVM_CREATE_VM of type SNP', '0xae01', '4'],
  ['KVM_CREATE_VM of a type above 32 bits', '0xae01', 'ctypes.c_ulong(1 << 32)'],
  ['KVM_RUN', '0xae80', '0'],
]

t.test('the kernel kills whoever reaches past the recorder', { skip: lacking }, async (t) => {
  if (tools instanceof Error) return
  const recorder = await ensureRecorder(contextOf(tools))
  const python = async (script: string): Promise<string> => {
    const preload = [`LD_PRELOAD=${recorder}`, `ATTESTBED_RECORDING=${join(directory, `python-${files++}`)}`]
    const { stdout } = await tools.run('env', [...preload, 'python3', '-c', `${PYTHON}${script}`])
    return stdout.toString().trim()
  }
  const calls = [['an ordinary request', '0x5401', 'buffer'], ['an ordinary VM', '0xae01', '0'], ...RAW_CALLS]
  const outcomes = (
    await python(calls.map(([, request, argument]) => `past(${request}, ${argument})`).join('; '))
  ).split('\n')
  t.strictSame(outcomes.slice(0, 2), ['0', '0'], 'control: what is harmless is answered by the kernel')
  for (const [index, [what]] of RAW_CALLS.entries()) t.equal(outcomes[index + 2], SIGSYS, `${what}: SIGSYS`)
  t.equal(
    await python('print(libc.open(b"/dev/sev", os.O_RDWR), ctypes.get_errno())'),
    '-1 1',
    'the real device is not opened: EPERM',
  )
  t.equal(
    await python(
      'fd = libc.open(b"/proc/attestbed-recorder/sev", 2); print(os.readlink(f"/proc/self/fd/{fd}"))',
    ),
    '/memfd:sev (deleted)',
    'what stands for it is memory',
  )
})
