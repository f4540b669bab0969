import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { extractPackages, type PackageProgress } from '../packages.ts'
import { hostErrorFrom } from './apt-errors.ts'
import { DOCUMENTATION, extractDebs } from './extract.ts'
import { findHostProgram } from './host-program.ts'
import { findMirror, parseDeb822, parseOneLine } from './mirror.ts'
import { PrivateApt } from './private-apt.ts'

const DEBIAN = 'ID=debian\nVERSION_CODENAME=bookworm\n'
const KEYRINGS = { usr: { share: { keyrings: { 'debian-archive-keyring.gpg': '' } } } }
const dpkgDeb = findHostProgram('dpkg-deb') ?? ''
const dpkg = dpkgDeb ? {} : { skip: 'this host has no dpkg-deb' }
const keyring = existsSync('/usr/share/keyrings/debian-archive-keyring.gpg')
const debian = keyring ? dpkg : { skip: "this host has no keyring of Debian's archive" }

/** A host's root directory with this apt configuration. */
function host(t: Test, files: { release?: string; list?: string; parts?: Record<string, string> }): string {
  return t.testdir({
    etc: {
      'os-release': files.release ?? DEBIAN,
      apt: {
        ...(files.list === undefined ? {} : { 'sources.list': files.list }),
        'sources.list.d': files.parts ?? {},
      },
    },
    ...KEYRINGS,
  })
}

function mirrorOf(root: string, environment: NodeJS.ProcessEnv = {}): string {
  return findMirror({ environment, root }).uri
}

t.test('the mirror is the one that the host is installed from: deb822', (t) => {
  const root = host(t, {
    parts: {
      'aaa.sources':
        'Types: deb\nURIs: http://third.example/debian\nSuites: bookworm\nComponents: main\nSigned-By: /third.gpg\n',
      'debian.sources': `# comment
Types: deb deb-src
# URIs: http://old.example/debian
URIs: http://mirror.example/debian/ http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`,
    },
  })
  const mirror = findMirror({ environment: {}, root })
  t.equal(mirror.uri, 'http://mirror.example/debian')
  t.equal(mirror.keyring, join(root, 'usr/share/keyrings/debian-archive-keyring.gpg'))
  t.end()
})

t.test('the mirror is the one that the host is installed from: one line each', (t) => {
  const root = host(t, {
    list: `deb cdrom:[Debian 12]/ bookworm main
deb http://security.example/debian-security bookworm-security main
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/third.gpg] http://third.example/repo bookworm main
deb-src http://sources.example/debian bookworm main
deb [ arch=amd64 ] http://mirror.example/debian bookworm main contrib # trailing
`,
  })
  t.equal(mirrorOf(root), 'http://mirror.example/debian')
  t.end()
})

t.test("somebody else's archive for Debian's code name is not taken for Debian's", (t) => {
  const third =
    'deb https://third.example/php bookworm main\ndeb http://mirror.example/debian bookworm main\n'
  t.equal(mirrorOf(host(t, { list: third })), 'http://mirror.example/debian')
  const inline =
    'Types: deb\nURIs: http://third.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n'
  t.throws(() => mirrorOf(host(t, { parts: { 'x.sources': inline } })), { code: 'mirror-missing' })
  const disabled =
    'Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n'
  t.throws(() => mirrorOf(host(t, { parts: { 'x.sources': disabled } })), { code: 'mirror-missing' })
  t.end()
})

t.test('a host without a Debian archive needs ATTESTBED_MIRROR, which goes before everything', (t) => {
  const fedora = host(t, { release: 'ID=fedora\n' })
  t.throws(() => mirrorOf(fedora), {
    name: 'HostError',
    code: 'mirror-missing',
    message: /'fedora'/,
    hint: /ATTESTBED_MIRROR/,
  })
  t.equal(
    mirrorOf(fedora, { ATTESTBED_MIRROR: 'http://mine.example/debian//' }),
    'http://mine.example/debian',
  )
  t.throws(() => mirrorOf(fedora, { ATTESTBED_MIRROR: 'mine.example' }), {
    code: 'mirror-missing',
    message: /'mine.example'/,
  })
  t.throws(() => mirrorOf(fedora, { ATTESTBED_MIRROR: 'http://a b' }), { code: 'mirror-missing' })
  const debian = host(t, { list: 'deb http://mirror.example/debian bookworm main\n' })
  t.equal(mirrorOf(debian, { ATTESTBED_MIRROR: '' }), 'http://mirror.example/debian')
  t.end()
})

t.test('without the archive keyring nothing is downloaded', (t) => {
  const root = t.testdir({ etc: { 'os-release': DEBIAN } })
  const environment = { ATTESTBED_MIRROR: 'http://mine.example/debian' }
  t.throws(() => findMirror({ environment, root }), {
    code: 'program-missing',
    hint: /debian-archive-keyring/,
  })
  t.end()
})

t.test('both source formats are parsed field by field', (t) => {
  t.same(parseOneLine('deb [signed-by=/k.gpg] http://m/debian sid main contrib'), [
    { uri: 'http://m/debian', suites: ['sid'], components: ['main', 'contrib'], signedBy: '/k.gpg' },
  ])
  t.same(parseDeb822('types: deb\nuris:\n http://m/debian\nsuites: a\n b\ncomponents: main'), [
    { uri: 'http://m/debian', suites: ['a', 'b'], components: ['main'], signedBy: undefined },
  ])
  t.same(parseDeb822('nonsense'), [])
  t.end()
})

t.test('what apt prints becomes one error with a code and a hint', (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ["E: Failed to fetch http://m/InRelease  Temporary failure resolving 'm'", 'no-network'],
    [
      'E: Failed to fetch http://m/x  Cannot initiate the connection (101: Network is unreachable)',
      'no-network',
    ],
    [
      'E: Failed to fetch http://m/x  Could not connect to 127.0.0.1:1 - connect (111: Connection refused)',
      'mirror-dead',
    ],
    ["E: Failed to fetch http://m/x  Could not resolve 'm'", 'mirror-dead'],
    ['E: Failed to fetch http://m/x.deb  404  Not Found [IP: 192.0.2.1 80]', 'mirror-dead'],
    [
      "E: Failed to fetch http://m/x  400  Bad Request\nE: The repository 'http://m' is not signed.",
      'mirror-dead',
    ],
    ["E: The repository 'http://m forky Release' does not have a Release file.", 'mirror-dead'],
    ['E: Failed to fetch http://m/x  Hash Sum mismatch', 'mirror-dead'],
    [
      "E: Failed to fetch http://m/x  The following signatures couldn't be verified: NO_PUBKEY 12",
      'setup-failed',
    ],
    ['E: Write error - write (28: No space left on device)\nE: Failed to fetch http://m/x', 'disk-full'],
    ['E: Unable to locate package nonesuch', 'setup-failed'],
  ]
  for (const [output, code] of cases) {
    const error = hostErrorFrom('downloading packages', output)
    t.equal(error.code, code, output)
    t.match(error.message, /^downloading packages failed: /)
    t.ok(error.hint)
  }
  t.end()
})

t.test('an error quotes no password and no escape sequence', (t) => {
  const { message } = hostErrorFrom('x', 'E: Failed to fetch http://user:secret@m/x \u001b[2J 404  Not Found')
  t.notMatch(message, /secret/)
  t.match(message, 'http://***@m/x \\x1b[2J')
  t.end()
})

/** Puts programs before the host's own; `apt-get` writes its arguments to `calls`. */
function fakePrograms(t: Test, directory: string, programs: Record<string, string>): void {
  mkdirSync(join(directory, 'bin'), { recursive: true })
  for (const [name, body] of Object.entries(programs)) {
    writeFileSync(join(directory, 'bin', name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  }
  const path = process.env['PATH']
  process.env['PATH'] = `${join(directory, 'bin')}:${path}`
  t.teardown(() => {
    process.env['PATH'] = path
  })
}

function deb(
  directory: string,
  name: string,
  files: Record<string, string>,
): { file: string; sha256: string; size: number } {
  const root = join(directory, `${name}.d`)
  mkdirSync(join(root, 'DEBIAN'), { recursive: true })
  writeFileSync(
    join(root, 'DEBIAN/control'),
    `Package: ${name}\nVersion: 1:2.0\nArchitecture: amd64\nMaintainer: x\nDescription: x\n`,
  )
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), content)
    chmodSync(join(root, path), path.endsWith('/su') ? 0o4755 : 0o644)
  }
  const file = join(directory, `${name}_1%3a2.0_amd64.deb`)
  execFileSync(dpkgDeb, ['--root-owner-group', '--build', root, file], { stdio: 'ignore' })
  const content = readFileSync(file)
  return { file, size: content.length, sha256: createHash('sha256').update(content).digest('hex') }
}

t.test(
  'the private apt has its own configuration, takes over only the transport, and reads the plan',
  async (t) => {
    const directory = t.testdir()
    fakePrograms(t, directory, {
      'apt-config': `echo 'Acquire::http::Proxy "http://proxy.example:3128";'; echo 'APT::Update::Post-Invoke:: "rm -rf /";'`,
      'apt-get': `echo "$@" >> ${directory}/calls; cp "$APT_CONFIG" ${directory}/seen
      case "$*" in *print-uris*) echo "'http://m/pool/swtpm_1%3a0.10_amd64.deb' swtpm_1%3a0.10_amd64.deb 1234 SHA256:${'a'.repeat(64)}";; esac`,
    })
    const mirror = { uri: 'http://mirror.example/debian', keyring: '/k.gpg' }
    const apt = new PrivateApt({ directory: join(directory, 'apt'), suite: 'forky', mirror })
    t.equal(await apt.update({ maxAgeMs: 60_000 }), true)
    t.equal(await apt.update({ maxAgeMs: 60_000 }), false, 'the lists are fresh')
    t.equal(await apt.update({ maxAgeMs: -1 }), true, 'the lists are old')
    const other = new PrivateApt({
      directory: join(directory, 'apt'),
      suite: 'forky',
      mirror: { ...mirror, uri: 'http://b' },
    })
    t.equal(await other.update({ maxAgeMs: 60_000 }), true, 'the lists are of another mirror')
    t.same(await apt.plan(['swtpm']), [
      {
        name: 'swtpm',
        version: '1:0.10',
        architecture: 'amd64',
        sha256: 'a'.repeat(64),
        size: 1234,
        file: join(directory, 'apt/archives/swtpm_1%3a0.10_amd64.deb'),
      },
    ])
    const configuration = readFileSync(join(directory, 'seen'), 'utf8')
    t.match(configuration, 'Acquire::http::Proxy "http://proxy.example:3128";')
    t.notMatch(configuration, /Post-Invoke/)
    t.match(configuration, `Dir::State "${directory}/apt/forky/state";`)
    const sources = readFileSync(join(directory, 'apt/forky/etc/sources.list'), 'utf8')
    t.equal(sources, 'deb [signed-by=/k.gpg] http://mirror.example/debian forky main\n')
    t.equal(
      statSync(join(directory, 'apt/forky/etc/sources.list')).mode & 0o777,
      0o600,
      'it may hold a password',
    )
    t.match(readFileSync(join(directory, 'calls'), 'utf8'), /install .*-- swtpm\n$/)
  },
)

t.test(
  'packages are unpacked with their modes, without documentation, through the links to /usr',
  dpkg,
  async (t) => {
    const directory = t.testdir()
    const { file, sha256, size } = deb(directory, 'pkg', {
      'bin/su': 'x',
      'lib/x86_64-linux-gnu/libx.so': 'x',
      'usr/share/man/man1/su.1': 'x',
      'usr/share/doc/pkg/copyright': 'x',
      'usr/share/doc/pkg/changelog.gz': 'x',
      'usr/share/doc/pkg/README': 'x',
    })
    const planned = { name: 'pkg', version: '1:2.0', architecture: 'amd64', sha256, size, file }
    const into = join(directory, 'into')
    await extractDebs([planned], into, { exclude: DOCUMENTATION })
    t.ok(lstatSync(join(into, 'bin')).isSymbolicLink())
    t.equal(statSync(join(into, 'usr/bin/su')).mode & 0o7777, 0o4755)
    t.ok(existsSync(join(into, 'usr/lib/x86_64-linux-gnu/libx.so')))
    t.ok(existsSync(join(into, 'usr/share/doc/pkg/copyright')))
    for (const gone of ['man/man1/su.1', 'doc/pkg/changelog.gz', 'doc/pkg/README']) {
      t.notOk(existsSync(join(into, 'usr/share', gone)), gone)
    }
  },
)

t.test('a damaged package is removed and told, and so is one that is no package', dpkg, async (t) => {
  const directory = t.testdir({ 'a.deb': 'rubbish, quite' })
  const file = join(directory, 'a.deb')
  const planned = { name: 'a', version: '1', architecture: 'amd64', sha256: '0'.repeat(64), size: 7, file }
  await t.rejects(extractDebs([planned], join(directory, 'into'), { exclude: [] }), {
    code: 'setup-failed',
    message: /damaged/,
  })
  t.notOk(existsSync(file))
  writeFileSync(file, 'rubbish, quite')
  const sha256 = createHash('sha256').update('rubbish, quite').digest('hex')
  await t.rejects(extractDebs([{ ...planned, sha256 }], join(directory, 'into'), { exclude: [] }), {
    code: 'setup-failed',
    message: /dpkg-deb: error/,
  })
})

t.test('a disk that is full while unpacking is one HostError', dpkg, async (t) => {
  const directory = t.testdir()
  const { file, sha256, size } = deb(directory, 'pkg', { 'usr/x': 'x' })
  fakePrograms(t, directory, {
    tar: 'cat > /dev/null; echo "tar: x: Cannot write: No space left on device" >&2; exit 2',
  })
  const planned = { name: 'pkg', version: '1:2.0', architecture: 'amd64', sha256, size, file }
  await t.rejects(extractDebs([planned], join(directory, 'into'), { exclude: [] }), {
    name: 'HostError',
    code: 'disk-full',
  })
})

/** An apt-get whose mirror has one package; `FAIL` in the directory makes the first download fail. */
function fakeArchive(t: Test): { directory: string; environment: NodeJS.ProcessEnv } {
  const directory = t.testdir()
  const { file, sha256, size } = deb(directory, 'pkg', { 'usr/bin/tool': 'x' })
  fakePrograms(t, directory, {
    'apt-config': ':',
    'apt-get': `echo "$@" >> ${directory}/calls
      case "$*" in
        *print-uris*) echo "'http://m/pkg.deb' pkg_1%3a2.0_amd64.deb ${size} SHA256:${sha256}" ;;
        *download-only*)
          if [ -e ${directory}/FAIL ]; then rm ${directory}/FAIL; echo 'E: Failed to fetch http://m/pkg.deb  404  Not Found' >&2; exit 100; fi
          echo dlstatus:1:50.0:half >&3; cp ${file} ${directory}/cache/apt/archives/ ;;
      esac`,
  })
  const environment = {
    ...process.env,
    ATTESTBED_CACHE: join(directory, 'cache'),
    ATTESTBED_MIRROR: 'http://m',
  }
  return { directory, environment }
}

t.test(
  'extractPackages downloads once, reports its progress, and lists what it unpacked',
  dpkg,
  async (t) => {
    const { directory, environment } = fakeArchive(t)
    const steps: PackageProgress[] = []
    const into = join(directory, 'into')
    mkdirSync(into)
    const extract = () =>
      extractPackages({ packages: ['pkg'], into, environment, onProgress: (step) => steps.push(step) })
    const [installed] = await extract()
    t.match(installed, { name: 'pkg', version: '1:2.0', architecture: 'amd64', sha256: /^[0-9a-f]{64}$/ })
    t.ok(existsSync(join(into, 'usr/bin/tool')))
    const total = steps.find(({ phase }) => phase === 'download')?.total ?? 0
    t.ok(steps.some(({ phase, done }) => phase === 'download' && done === Math.round(total / 2)))
    t.match(steps.at(-1), { phase: 'extract', done: 1, total: 1 })
    await extract()
    const calls = readFileSync(join(directory, 'calls'), 'utf8')
    t.equal(calls.match(/download-only/g)?.length, 1)
    t.equal(calls.match(/^(.* )?update/gm)?.length, 1)
  },
)

t.test('lists that name files which the mirror has replaced are fetched anew, once', debian, async (t) => {
  const { directory, environment } = fakeArchive(t)
  const into = join(directory, 'into')
  mkdirSync(into)
  writeFileSync(join(directory, 'FAIL'), '')
  const failing = extractPackages({ packages: ['pkg'], into, environment })
  await t.rejects(failing, { name: 'HostError', code: 'mirror-dead' }, 'the lists were fresh: nothing to try')
  writeFileSync(join(directory, 'FAIL'), '')
  await extractPackages({ packages: ['pkg'], into, environment })
  t.equal(readFileSync(join(directory, 'calls'), 'utf8').match(/^(.* )?update/gm)?.length, 2)
})
