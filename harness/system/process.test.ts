import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { MaterialError } from '../base/errors.ts'
import { findHostProgram } from './apt/host-program.ts'
import { spawnSupervised } from './process.ts'
import { commandLine } from './process-table.ts'
import { hostBinds, hostCommand, treeCommand } from './sandbox.ts'
import { SandboxedTools } from './sandboxed-tools.ts'
import { Scope } from './scope.ts'
import { sandboxRefusal } from './tool-run.ts'
import { openTools, type Tools } from './tools.ts'

const here = import.meta.dirname
const DEADLINE_MS = 10_000

const tree = await openTools().catch(() => undefined)
const utilLinux = ['setpriv', 'unshare'].every((name) => findHostProgram(name)) ? withUtilLinux() : undefined
const kinds: readonly (readonly [string, Tools | undefined, string])[] = [
  ['tools tree', tree?.kind === 'tree' ? tree : undefined, 'there is no tools tree: run scripts/setup'],
  ['host programs under util-linux', utilLinux, 'setpriv or unshare is missing'],
]

/** Why `tools` cannot be tried here, undefined if they can: containers often forbid the one or the other. */
async function obstacle(
  tools: Tools | undefined,
  missing: string,
  fakeRoot: boolean,
): Promise<string | undefined> {
  if (!tools) return missing
  const error: unknown = await tools.run('true', [], { fakeRoot }).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return error instanceof Error ? error.message : undefined
}

function skipFor(reason: string | undefined): { readonly skip?: string } {
  return reason === undefined ? {} : { skip: reason }
}

/** What `--tools=host` does where there is no bwrap. */
function withUtilLinux(): Tools {
  return new SandboxedTools({
    kind: 'host',
    root: '/',
    manifest: { suite: 'host', date: '', packages: [] },
    searchPath: process.env['PATH'] ?? '/usr/bin',
    environment: process.env,
    wrap: (request) => hostCommand(undefined, process.getuid?.() === 0, request),
  })
}

function pidsWith(marker: string): number[] {
  const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return names.map(Number).filter((pid) => pid > 1 && commandLine(pid).includes(marker))
}

function processesWith(marker: string): number {
  return pidsWith(marker).length
}

/** An argument that names the processes of one test; whatever a failed test leaves is killed. */
function newMarker(t: Test): string {
  const marker = randomBytes(8).toString('hex')
  t.teardown(() => {
    for (const pid of pidsWith(marker)) process.kill(pid, 'SIGKILL')
  })
  return marker
}

/** Until `condition` holds; false when it does not within the deadline. */
async function eventually(condition: () => boolean): Promise<boolean> {
  const deadline = Date.now() + DEADLINE_MS
  while (!condition()) {
    if (Date.now() > deadline) return false
    await delay(10)
  }
  return true
}

/** A harness process that starts a shell with an ordinary and a `setsid` grandchild, all with `marker` as argument. */
function startHarness(kind: Tools['kind'], marker: string): ChildProcess {
  const script = `
    import { Scope } from '${here}/scope.ts'
    import { openTools } from '${here}/tools.ts'
    import { spawnSupervised } from '${here}/process.ts'
    import { SandboxedTools } from '${here}/sandboxed-tools.ts'
    import { hostCommand } from '${here}/sandbox.ts'
    const tools = '${kind}' === 'tree' ? await openTools() : new SandboxedTools({ kind: 'host', root: '/',
      manifest: { suite: '', date: '', packages: [] }, searchPath: process.env.PATH, environment: process.env,
      wrap: (request) => hostCommand(undefined, process.getuid() === 0, request) })
    console.log('starting')
    spawnSupervised(new Scope('x'), tools, { name: 'x', program: 'sh',
      args: ['-c', 'setsid sh -c "while :; do sleep 1; done" ' + process.env.MARKER + ' & sh -c "while :; do sleep 1; done" '
        + process.env.MARKER + ' & wait', process.env.MARKER] })
    setInterval(() => {}, 1000)`
  return spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, MARKER: marker },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

for (const [kind, maybeTools, why] of kinds) {
  const options = skipFor(await obstacle(maybeTools, why, false))
  const fakeRootOptions = skipFor(await obstacle(maybeTools, why, true))
  const tools = maybeTools as Tools

  t.test(`${kind}: nothing outlives a harness that is killed`, options, async (t) => {
    const marker = newMarker(t)
    const harness = startHarness(tools.kind, marker)
    t.ok(await eventually(() => processesWith(marker) >= 3), 'shell and grandchildren run')
    harness.kill('SIGKILL')
    t.ok(await eventually(() => processesWith(marker) === 0), 'none is left')
  })

  t.test(
    `${kind}: nothing outlives a harness that is killed while it starts a program`,
    options,
    async (t) => {
      const marker = newMarker(t)
      for (const milliseconds of [0, 1, 3, 6, 10]) {
        const harness = startHarness(tools.kind, marker)
        if (harness.stdout) await once(harness.stdout, 'data')
        await delay(milliseconds)
        harness.kill('SIGKILL')
        await once(harness, 'exit')
      }
      t.ok(await eventually(() => processesWith(marker) === 0), 'none is left')
    },
  )

  t.test(`${kind}: closing the scope ends a program that ignores SIGTERM`, options, async (t) => {
    const marker = newMarker(t)
    const scope = new Scope('test')
    const args = ['-c', 'trap "" TERM; echo up >&2; while :; do sleep 0.1; done', marker]
    const process = spawnSupervised(scope, tools, { name: 'stubborn', program: 'sh', args })
    t.ok(await eventually(() => process.errorTail() === 'up\n'))
    t.ok(process.running)
    t.same(await process.stop({ graceMs: 100 }), { exitCode: undefined, signal: 'SIGKILL' })
    t.notOk(process.running)
    await scope.close()
    t.ok(await eventually(() => processesWith(marker) === 0), 'nothing of it is left')
  })

  t.test(`${kind}: a program may end itself in order on SIGTERM`, options, async (t) => {
    await using scope = new Scope('test')
    const args = ['-c', 'trap "echo bye >&2; exit 7" TERM; echo up >&2; while :; do sleep 0.05; done']
    const process = spawnSupervised(scope, tools, { name: 'orderly', program: 'sh', args })
    t.ok(await eventually(() => process.errorTail() === 'up\n'))
    t.same(await process.stop(), { exitCode: 7, signal: undefined })
    t.equal(process.errorTail(), 'up\nbye\n')
  })

  t.test(`${kind}: the end of a program is told as it was`, options, async (t) => {
    await using scope = new Scope('test')
    const start = (args: readonly string[]) =>
      spawnSupervised(scope, tools, { name: 'x', program: 'sh', args })
    t.same(await start(['-c', 'exit 3']).exited, { exitCode: 3, signal: undefined })
    const crashed = start(['-c', 'sh -c \'kill -SEGV $$\'; exec sh -c "kill -SEGV \\$\\$"'])
    const { exitCode, signal } = await crashed.exited
    // Under util-linux the program is process 1 of its namespace, which can only be killed from outside.
    if (tools.kind === 'tree') t.same({ exitCode, signal }, { exitCode: undefined, signal: 'SIGSEGV' })
    const missing = spawnSupervised(scope, tools, { name: 'none', program: 'no-such-program', args: [] })
    t.not((await missing.exited).exitCode, 0)
    t.match(missing.errorTail(), /no-such-program/)
  })

  t.test(`${kind}: a grandchild that holds stderr open does not delay the end`, options, async (t) => {
    await using scope = new Scope('test')
    const directory = t.testdir()
    const stderrFile = join(directory, 'err.log')
    const args = ['-c', 'sleep 300 & printf "a\\033[31mb\\n" >&2; exit 5']
    const process = spawnSupervised(scope, tools, { name: 'x', program: 'sh', args, stderrFile })
    t.equal((await process.exited).exitCode, 5)
    t.equal(process.errorTail(), 'a\\x1b[31mb\n')
    t.equal(readFileSync(stderrFile, 'utf8'), 'a\x1b[31mb\n')
  })

  t.test(
    `${kind}: run gives bytes and stderr, and takes input, directory and environment`,
    options,
    async (t) => {
      const binary = Buffer.from([0, 255, 10, 13, 10])
      const echoed = await tools.run('cat', [], { input: binary })
      t.same(echoed.stdout, binary)
      const cwd = t.testdir({ file: 'x' })
      const environment = { COLOUR: 'blue' }
      const result = await tools.run('sh', ['-c', 'pwd; echo $COLOUR $TZ; ls; echo oh >&2'], {
        cwd,
        environment,
      })
      t.equal(result.stdout.toString(), `${cwd}\nblue UTC\nfile\n`)
      t.equal(result.stderr, 'oh\n')
    },
  )

  t.test(`${kind}: run as fake root owns what the user owns`, fakeRootOptions, async (t) => {
    const cwd = t.testdir({ file: 'x' })
    const { stdout } = await tools.run('sh', ['-c', 'id -u; stat -c %u:%g file'], { cwd, fakeRoot: true })
    t.equal(stdout.toString(), '0\n0:0\n')
  })

  t.test(
    `${kind}: a failed run says the command, the exit code and the last lines, escaped`,
    options,
    async (t) => {
      const error = await tools.run('sh', ['-c', 'echo "bad \u001b[2Jthing" >&2; exit 9']).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      t.type(error, MaterialError)
      t.equal((error as MaterialError).code, 'build-failed')
      t.match(
        (error as MaterialError).message,
        /^sh -c .*exit code 9, 0 is required\n {2}bad \\x1b\[2Jthing$/,
      )
    },
  )

  t.test(
    `${kind}: a run that takes too long, or is aborted, is killed with its children`,
    options,
    async (t) => {
      const marker = newMarker(t)
      const args = ['-c', 'sh -c "while :; do sleep 0.1; done" "$0" & wait', marker]
      await t.rejects(tools.run('sh', args, { timeoutMs: 300 }), {
        code: 'build-failed',
        message: /within 300 ms/,
      })
      const abort = new AbortController()
      const running = tools.run('sh', args, { signal: abort.signal })
      t.ok(await eventually(() => processesWith(marker) > 0))
      abort.abort(new Error('enough'))
      await t.rejects(running, /enough/)
      t.ok(await eventually(() => processesWith(marker) === 0))
    },
  )
}

t.test(
  'the tree shows the host files at their own place, and its own /usr',
  kinds[0]?.[1] ? {} : { skip: 'no tree' },
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ab-'))
    t.teardown(() => rmSync(directory, { recursive: true }))
    writeFileSync(join(directory, 'in'), 'from the host')
    const script = 'cat in > out; readlink -f /bin/sh; cat /usr/lib/os-release; test -w /usr && echo writable'
    const result = await (tree as Tools).run('sh', ['-c', `${script} || :`], { cwd: directory })
    t.equal(readFileSync(join(directory, 'out'), 'utf8'), 'from the host')
    t.match(result.stdout.toString(), /^\/usr\/bin\/dash\n[\s\S]*Debian/)
    t.notMatch(result.stdout.toString(), /writable/)
    const firmware = (tree as Tools).path('usr/share/OVMF/OVMF_CODE_4M.secboot.fd')
    t.ok(existsSync(firmware))
    await (tree as Tools).run('test', ['-s', firmware])
    t.match((tree as Tools).version('qemu-system-x86'), /^1:1\d\./)
    t.match((tree as Tools).digest, /^[0-9a-f]{64}$/)
  },
)

t.test('a directory that the tree would cover is shown all the same', (t) => {
  const root = t.testdir({
    usr: { bin: { sh: '' }, local: { lib: {}, other: {} }, share: {} },
    etc: { passwd: '' },
  })
  const request = { program: 'sh', args: ['-c', 'x'], cwd: '/usr/local/src/attestbed', fakeRoot: false }
  const { file, args } = treeCommand(root, [], ['/usr/bin', '/home/u'], request)
  t.equal(file, join(root, 'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2'))
  const text = args.join(' ')
  t.match(text, `--ro-bind ${root}/usr/bin /usr/bin`)
  t.match(text, `--ro-bind ${root}/usr/local/lib /usr/local/lib`)
  t.match(text, '--bind /usr/local/src/attestbed /usr/local/src/attestbed')
  t.notMatch(text, `--ro-bind ${root}/usr /usr `, 'nothing can be made in a read-only bind')
  t.match(text, `--ro-bind ${root}/etc /etc`)
  t.notMatch(text, '--bind /usr/bin /usr/bin', "the host's programs would hide the tree's")
  t.end()
})

t.test('links in / keep their names, kernel and system directories are left out', (t) => {
  const root = t.testdir({ var: { home: {} }, usr: {}, proc: {}, home: t.fixture('symlink', 'var/home') })
  t.same(hostBinds(root), [
    '--symlink',
    'var/home',
    `${root}/home`,
    '--bind-try',
    `${root}/var`,
    `${root}/var`,
  ])
  t.end()
})

t.test('a kernel that forbids user namespaces is one HostError with the command that allows them', (t) => {
  for (const line of [
    'bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user namespaces.',
    'bwrap: setting up uid map: Permission denied',
    'unshare: unshare failed: Operation not permitted',
  ]) {
    t.match(sandboxRefusal(`noise\n${line}\n`), { name: 'HostError', code: 'no-user-namespaces' })
  }
  t.equal(sandboxRefusal('bwrap: execvp nonesuch: No such file or directory'), undefined)
  t.end()
})

t.test('without set-up the error says what to run', async (t) => {
  const environment = { HOME: t.testdir() }
  await t.rejects(openTools({ environment }), {
    name: 'HostError',
    code: 'setup-missing',
    hint: 'Run scripts/setup',
  })
  const host = openTools({ environment: { ...environment, ATTESTBED_TOOLS: 'host' } })
  await t.rejects(host, { code: 'setup-missing', hint: 'Run scripts/setup --tools=host' })
  const wrong = openTools({ environment: { ...environment, ATTESTBED_TOOLS: 'hots' } })
  await t.rejects(wrong, { code: 'setup-missing', message: /'hots'/ })
})
