import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LaunchError } from '../base/errors.ts'
import { childrenOf } from '../system/process-table.ts'
import type { Tools } from '../system/tools.ts'
import { fileCache } from './answer-cache.ts'
import { probeKvmBoot } from './boot-probe.ts'
import type { Fact } from './facts.ts'
import { settle, yes } from './finding.ts'
import { probeHost } from './host.ts'
import { DirectoryHost } from './host-tree.ts'
import { missingPrograms } from './programs.ts'
import { readAnswers } from './qemu-answers.ts'
import { RecordedHost, readRecord, recordedSpec } from './recorded-host.ts'
import { Sources } from './sources.ts'

const FAKE_QEMU = join(import.meta.dirname, 'fixtures/fake-qemu.ts')

t.test('a probe that throws is unknown, with the error as its proof, and spoils no other', async (t) => {
  const record = readRecord('snp-milan')
  const broken = new RecordedHost(record)
  broken.readText = (path) =>
    path === '/proc/cpuinfo'
      ? Promise.reject(new Error('EIO: input/output error'))
      : Promise.resolve(undefined)
  const { facts } = await probeHost({ ...recordedSpec(record, []), host: broken })
  const fact = (id: string) => facts.find((candidate) => candidate.id === id)
  t.match(fact('cpu'), { status: 'unknown', proof: 'EIO: input/output error' })
  t.match(fact('cpu-sev-snp'), { status: 'unknown', proof: 'EIO: input/output error' })
  t.match(fact('qemu'), { status: 'yes' })
  t.match(fact('sev-device'), { status: 'yes' })
})

t.test('a proof cannot break a line or drive the terminal', async (t) => {
  const sources = new Sources(recordedSpec(readRecord('snp-milan'), []))
  const fact = await settle({ id: 'x', look: async () => yes('a\nb\x1b[2J') }, sources)
  t.equal(fact.proof, 'a | b\\x1b[2J')
})

t.test('without tools every fact of a program says what to do', async (t) => {
  const reason = new Error('cannot open the tools: there is no tools tree')
  const spec = { ...recordedSpec(readRecord('snp-milan'), []), programs: missingPrograms(reason) }
  const { facts } = await probeHost(spec)
  for (const id of ['qemu', 'swtpm', 'kvm-firmware', 'qemu-tdx']) {
    t.match(
      facts.find((fact: Fact) => fact.id === id),
      { status: 'unknown', proof: reason.message },
    )
  }
})

t.test('the C-bit is EBX[5:0] of the leaf, whatever the higher bits say', async (t) => {
  const record = readRecord('snp-milan')
  const cpuid = record.cpuid as Record<string, number[]>
  const position = async (ebx: number) => {
    const changed = { ...record, cpuid: { ...cpuid, [String(0x8000001f)]: [0x0101fd3f, ebx, 0, 0] } }
    return (await probeHost(recordedSpec(changed, []))).parameters.cbitPosition
  }
  t.equal(await position(0x0000016f), 47)
  t.equal(await position(0xffffff73), 51)
  t.equal(await position(0x00004140), undefined, 'position 0 is no position')
})

t.test('QMP answers', async (t) => {
  const recorded = await readFile(join(import.meta.dirname, 'fixtures/qemu-11.1.2.qmp'), 'utf8')
  const answers = readAnswers(recorded)
  t.match(answers, { version: [11, 1, 2], packageVersion: 'Debian 1:11.1.2+ds-3' })
  t.strictSame(answers.sev, { error: 'SEV is not enabled in KVM' })
  t.ok(answers.accelerators.includes('tcg'))
  t.ok(answers.objects['tdx-guest']?.includes('quote-generation-socket'))

  const lines = recorded.trim().split('\n')
  const sev = '{"id": "sev", "return": {"pdh": "", "cert-chain": "", "cbitpos": 51, "reduced-phys-bits": 1}}'
  const onSev = lines.map((line) => (line.includes('"id": "sev"') ? sev : line))
  t.strictSame(readAnswers(onSev.join('\n')).sev, { cbitPosition: 51 })

  const absent = '{"id": "object tdx-guest", "error": {"class": "DeviceNotFound", "desc": "not found"}}'
  const old = lines.map((line) => (line.includes('object tdx-guest') ? absent : line))
  t.equal(readAnswers(old.join('\n')).objects['tdx-guest'], undefined)

  const refused = (text: string) => {
    try {
      return readAnswers(text)
    } catch (error) {
      return error instanceof LaunchError ? error.code : error
    }
  }
  t.equal(refused(''), 'qmp-protocol', 'no greeting')
  t.equal(refused(lines.slice(0, 3).join('\n')), 'qmp-protocol', 'cut short')
  t.equal(refused(`${lines[0]}\nqemu: surprise`), 'qmp-protocol', 'not JSON')
})

t.test('answers are remembered', async (t) => {
  const directory = join(await scratch(t), 'made/when/needed')
  let asked = 0
  const ask = async () => ({ count: ++asked })
  const cache = (dependsOn: string[], fresh = false) => fileCache({ directory, dependsOn, fresh })

  t.strictSame(await cache(['boot-1']).remember('q', ask), { count: 1 })
  t.strictSame(await cache(['boot-1']).remember('q', ask), { count: 1 }, 'from the file')
  t.strictSame(await cache(['boot-2']).remember('q', ask), { count: 2 }, 'something it depends on changed')
  t.strictSame(await cache(['boot-1']).remember('other', ask), { count: 3 }, 'another question')
  t.strictSame(await cache(['boot-1'], true).remember('q', ask), { count: 4 }, 'fresh')
  t.strictSame(await cache(['boot-1']).remember('q', ask), { count: 4 }, 'fresh answers are remembered, too')
  t.strictSame(await cache(['short']).remember('q', ask, () => -1), { count: 5 })
  t.strictSame(await cache(['short']).remember('q', ask), { count: 6 }, 'expired')

  for (const name of await readdir(directory)) await writeFile(join(directory, name), '{"expires":')
  t.strictSame(await cache(['boot-1']).remember('q', ask), { count: 7 }, 'damaged')

  const failing = cache(['boot-3']).remember('q', () => Promise.reject(new Error('no QEMU')))
  await t.rejects(failing, { message: 'no QEMU' })
  t.strictSame(await cache(['boot-3']).remember('q', ask), { count: 8 }, 'a failure is not remembered')

  const file = join(await scratch(t), 'a file')
  await writeFile(file, '')
  const nowhere = fileCache({ directory: join(file, 'below'), dependsOn: [], fresh: false })
  t.strictSame(
    await nowhere.remember('q', ask),
    { count: 9 },
    'a cache that cannot be written costs only time',
  )
})

t.test('the host is read through its root', async (t) => {
  const root = await scratch(t)
  await mkdir(join(root, 'proc'))
  await writeFile(join(root, 'proc/cpuinfo'), 'processor : 0\n')
  const host = new DirectoryHost(root)
  t.equal(await host.readText('/proc/cpuinfo'), 'processor : 0\n')
  t.equal(await host.readText('/proc/missing'), undefined)
  t.equal(await host.readText('/proc/cpuinfo/below'), undefined)
  t.equal((await host.readBytes('/proc/cpuinfo', 10, 100)).toString(), ': 0\n')
  await t.rejects(host.readBytes('/dev/cpu/0/cpuid', 0, 16), { code: 'ENOENT' })
  t.equal(await host.tryOpen('/proc/cpuinfo'), 'ok')
  t.equal(await host.tryOpen('/dev/kvm'), 'ENOENT')
  t.ok((await host.freeBytes('/not/yet/made')) > 0)
  t.match(await host.stat('/proc/cpuinfo'), { size: 14 })
  t.equal(await host.stat('/dev/kvm'), undefined)

  const server = createServer().listen(join(root, 'socket'))
  await new Promise((resolve) => server.once('listening', resolve))
  t.equal(await host.tryConnect('/socket'), 'ok')
  await new Promise((resolve) => server.close(resolve))
  t.equal(await host.tryConnect('/socket'), 'ENOENT')
})

t.test(
  'a file that this user may not read is an error, not an absence',
  { skip: process.getuid?.() === 0 && 'root may read everything' },
  async (t) => {
    const root = await scratch(t)
    await writeFile(join(root, 'secret'), '')
    await chmod(join(root, 'secret'), 0)
    const host = new DirectoryHost(root)
    await t.rejects(host.readText('/secret'), { code: 'EACCES' })
    t.equal(await host.tryOpen('/secret'), 'EACCES')
  },
)

t.test('the boot probe, with a QEMU that plays each end', async (t) => {
  const play = async (part: string, deadlineMs = 10_000) => {
    const socketBase = await scratch(t)
    const outcome = await probeKvmBoot(fakeTools(), { machineArguments: [part], socketBase, deadlineMs })
    t.strictSame(await readdir(socketBase), [], 'its sockets are gone')
    t.strictSame(childrenOf(process.pid), [], 'its process is gone')
    return outcome
  }
  t.match(await play('boots'), { kind: 'booted', line: 'BdsDxe: No bootable option or device was found.' })
  t.match(await play('internal-error'), {
    kind: 'internal-error',
    detail:
      'QEMU on stderr: KVM internal error. Suberror: 1 (emulation failure); QMP query-status: internal-error',
  })
  t.strictSame(await play('ends'), {
    kind: 'ended',
    detail: 'qemu: failed to initialize kvm: Permission denied',
  })
  t.match(await play('is-silent', 300), { kind: 'silent', detail: 'the firmware said nothing' })
  t.match(await play('deaf-to-sigterm', 300), { kind: 'silent' })
})

t.test('the boot probe says so when its sockets cannot be made', async (t) => {
  const long = join(await scratch(t), 'd'.repeat(120))
  await mkdir(long, { mode: 0o700 })
  const probing = probeKvmBoot(fakeTools(), { machineArguments: [], socketBase: long })
  await t.rejects(probing, { name: 'LaunchError', code: 'socket-path-too-long' })
  t.strictSame(await readdir(long), [])
})

/** Runs the fake in QEMU's place, without a sandbox. */
function fakeTools(): Tools {
  const replace = (word: string) => (word === 'qemu-system-x86_64' ? [process.execPath, FAKE_QEMU] : [word])
  const environment = { PATH: process.env['PATH'] ?? '' }
  return {
    kind: 'host',
    root: '/',
    digest: '0'.repeat(64),
    path: (relative) => join('/', relative),
    version: () => undefined,
    command: (program, args) => ({ file: program, args: args.flatMap(replace), environment }),
    run: () => Promise.reject(new Error('the boot probe runs nothing to its end')),
  }
}

async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}
