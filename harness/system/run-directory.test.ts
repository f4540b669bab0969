import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { resolvePaths } from './paths.ts'
import { isAlive, ownIdentity, programIn } from './process-table.ts'
import { cleanStaleRuns, createRunDirectory } from './run-directory.ts'
import { Scope } from './scope.ts'
import { checkSocketPath, openSocketDirectory } from './socket-directory.ts'

const here = import.meta.dirname

/** Under the system's temporary directory: test directories have long paths, sockets need short ones. */
function shortDirectory(t: Test): string {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'ab-')))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Starts a process that makes a run directory and a socket directory, is killed, and has told their paths. */
async function killedRun(runs: string, sockets: string): Promise<readonly string[]> {
  const script = `
    import { Scope } from '${here}/scope.ts'
    import { createRunDirectory } from '${here}/run-directory.ts'
    import { openSocketDirectory } from '${here}/socket-directory.ts'
    const scope = new Scope('run')
    const run = await createRunDirectory(scope, '${runs}')
    console.log(run + ' ' + (await openSocketDirectory(scope, '${sockets}')))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [data] = (await once(child.stdout, 'data')) as [Buffer]
  child.kill('SIGKILL')
  await once(child, 'exit')
  return data.toString('utf8').trim().split(' ')
}

t.test('a run directory is private, named by its time, and owned until its scope is closed', async (t) => {
  const runs = join(t.testdir(), 'runs')
  const scope = new Scope('run')
  const directory = await createRunDirectory(scope, runs, new Date('2026-11-22T04:15:02.123Z'))
  t.match(basename(directory), /^20261122T041502Z-[0-9a-f]{4}$/)
  t.equal(statSync(directory).mode & 0o777, 0o700)
  t.equal(statSync(join(directory, 'owner.json')).mode & 0o777, 0o600)
  writeFileSync(join(directory, 'disk.qcow2'), 'x')
  t.same(await cleanStaleRuns(runs), [], 'its owner lives')
  await scope.close()
  t.same(readdirSync(directory), ['disk.qcow2'])
  t.same(await cleanStaleRuns(runs), [], 'it has ended')
  t.ok(existsSync(join(directory, 'disk.qcow2')), 'what --keep kept stays')
})

t.test('cleaning removes the disks and sockets of killed runs and keeps their logs', async (t) => {
  const runs = shortDirectory(t)
  const [directory = ''] = await killedRun(runs, join(runs, 's'))
  const vm = join(directory, 'scenario/vm1')
  mkdirSync(vm, { recursive: true })
  const outside = join(runs, 'precious')
  mkdirSync(outside)
  writeFileSync(join(outside, 'mine.img'), 'x')
  symlinkSync(outside, join(directory, 'link'))
  for (const name of ['disk.qcow2', 'memory.img', 'recovery-key.secret', 'console.raw'])
    writeFileSync(join(vm, name), 'x')
  const server = createServer().listen(join(vm, 'qmp'))
  await once(server, 'listening')
  t.same(await cleanStaleRuns(runs), [directory])
  t.same(readdirSync(vm), ['console.raw'], 'the transcript stays')
  t.same(readdirSync(directory).sort(), ['interrupted.json', 'link', 'scenario'])
  t.ok(existsSync(join(outside, 'mine.img')), 'links are not followed')
  t.same(await cleanStaleRuns(runs), [], 'once')
  server.close()
})

t.test('cleaning leaves alone what is no run directory, and a missing directory', async (t) => {
  const runs = t.testdir({ 'my-notes': { 'owner.json': '{"pid":1}', 'disk.img': '' } })
  t.same(await cleanStaleRuns(runs), [])
  t.ok(existsSync(join(runs, 'my-notes/disk.img')))
  t.same(await cleanStaleRuns(join(runs, 'none')), [])
})

t.test('a process is told from a later one with its pid, and from those of another container', (t) => {
  const own = ownIdentity()
  t.ok(isAlive(own))
  t.notOk(isAlive({ ...own, startTime: '1' }))
  t.notOk(isAlive({ ...own, bootId: 'another boot' }))
  t.ok(isAlive({ ...own, startTime: '1', pidNamespace: '1' }), 'nothing can be said about it')
  t.equal(programIn(process.pid), undefined)
  t.end()
})

t.test('socket directories are fresh, private, and removed with their scope', async (t) => {
  const base = join(shortDirectory(t), 's')
  const scope = new Scope('run')
  const first = await openSocketDirectory(scope, base)
  const second = await openSocketDirectory(scope, base)
  t.not(first, second)
  t.equal(statSync(base).mode & 0o777, 0o700)
  t.equal(statSync(first).mode & 0o777, 0o700)
  await scope.close()
  t.same(readdirSync(base), [])
})

t.test('socket directories of killed processes are removed, others stay', async (t) => {
  const base = join(shortDirectory(t), 's')
  const [, dead = ''] = await killedRun(join(base, '../runs'), base)
  t.ok(existsSync(dead))
  mkdirSync(join(base, 'something'))
  await using scope = new Scope('run')
  const own = await openSocketDirectory(scope, base)
  t.same(readdirSync(base).sort(), [basename(own), 'something'].sort())
})

t.test('a socket directory that others can reach is refused', async (t) => {
  const base = shortDirectory(t)
  await using scope = new Scope('run')
  mkdirSync(join(base, 'open'))
  chmodSync(join(base, 'open'), 0o755)
  await t.rejects(openSocketDirectory(scope, join(base, 'open')), {
    code: 'setup-failed',
    message: /mode is 755/,
  })
  mkdirSync(join(base, 'real'), { mode: 0o700 })
  symlinkSync('real', join(base, 'link'))
  await t.rejects(openSocketDirectory(scope, join(base, 'link')), {
    code: 'setup-failed',
    message: /not a directory/,
  })
})

t.test('a socket path over 107 bytes is refused with both lengths', async (t) => {
  checkSocketPath('x'.repeat(107))
  t.throws(() => checkSocketPath('ä'.repeat(54)), {
    name: 'LaunchError',
    code: 'socket-path-too-long',
    message: /has 108 bytes, 107 are allowed/,
    hint: /TMPDIR/,
  })
  await using scope = new Scope('run')
  const long = join(shortDirectory(t), 'x'.repeat(90))
  await t.rejects(openSocketDirectory(scope, long), { code: 'socket-path-too-long' })
})

t.test('paths follow the XDG variables, and ignore relative ones', (t) => {
  const home = { HOME: '/home/u' }
  const plain = resolvePaths({ ...home, XDG_CACHE_HOME: 'relative' })
  t.equal(plain.cache, '/home/u/.cache/attestbed')
  t.equal(plain.runs, '/home/u/.local/state/attestbed/runs')
  t.equal(plain.keys, join(plain.checkout, '.attestbed/keys'))
  t.ok(existsSync(join(plain.checkout, 'package.json')))
  t.equal(resolvePaths({ ...home, XDG_CACHE_HOME: '/c', XDG_STATE_HOME: '/s' }).cache, '/c/attestbed')
  t.equal(resolvePaths({ ...home, XDG_STATE_HOME: '/s' }).state, '/s/attestbed')
  t.equal(resolvePaths({ ...home, XDG_CACHE_HOME: '/c', ATTESTBED_CACHE: '/mine' }).cache, '/mine')
  t.end()
})

t.test('sockets go to the runtime directory when it is our own, else below the temporary directory', (t) => {
  const own = shortDirectory(t)
  t.equal(resolvePaths({ HOME: '/h', XDG_RUNTIME_DIR: own }).sockets, join(own, 'attestbed'))
  const fallback = join('/somewhere', `attestbed-${process.getuid?.()}`)
  t.equal(
    resolvePaths({ HOME: '/h', TMPDIR: '/somewhere', XDG_RUNTIME_DIR: join(own, 'gone') }).sockets,
    fallback,
  )
  t.end()
})
