import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { HostError } from '../base/errors.ts'
import { freeBytes, requireFreeSpace } from './disk-space.ts'
import { readTail, sha256File, writePrivateFile } from './files.ts'
import { acquireLock } from './lock.ts'
import { commandLine } from './process-table.ts'
import { Store } from './store.ts'

const here = import.meta.dirname

/** A process of its own that runs `body`; it says lines on stdout. */
function startScript(body: string) {
  const script = `import { Store } from '${here}/store.ts'\nimport { acquireLock } from '${here}/lock.ts'\n${body}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

async function firstLine(child: ReturnType<typeof startScript>): Promise<string> {
  const [data] = (await once(child.stdout, 'data')) as [Buffer]
  return data.toString('utf8').trim()
}

t.test('a store builds an entry once and then gives it back', async (t) => {
  const store = new Store(t.testdir())
  let builds = 0
  const build = async (directory: string): Promise<void> => {
    builds++
    await writeFile(join(directory, 'content'), 'x')
  }
  t.notOk(store.has('uki', 'abc'))
  const [first, second] = await Promise.all([
    store.ensure('uki', 'abc', build),
    store.ensure('uki', 'abc', build),
  ])
  t.equal(first, second)
  t.equal(first, store.path('uki', 'abc'))
  t.equal(await new Store(store.directory).ensure('uki', 'abc', build), first)
  t.equal(builds, 1)
  t.equal(statSync(first).mode & 0o777, 0o700)
})

t.test('a failed build leaves nothing, and the next one may succeed', async (t) => {
  const store = new Store(t.testdir())
  const failing = store.ensure('disk', 'k', async (directory) => {
    await writeFile(join(directory, 'half'), 'x')
    throw new Error('broken recipe')
  })
  await t.rejects(failing, /broken recipe/)
  t.notOk(store.has('disk', 'k'))
  t.same(readdirSync(join(store.directory, '.building')), [])
  const path = await store.ensure('disk', 'k', async () => {})
  t.same(readdirSync(path), [])
})

t.test('a disk that fills up while building is a HostError, and the half entry is removed', async (t) => {
  const store = new Store(t.testdir())
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  const failing = store.ensure('disk', 'k', () => Promise.reject(full))
  await t.rejects(failing, { name: 'HostError', code: 'disk-full' })
  t.same(readdirSync(join(store.directory, '.building')), [])
})

t.test('a name that leaves the store is refused', async (t) => {
  const store = new Store(t.testdir())
  for (const key of ['', '..', 'a/b', '.hidden', 'a\0b']) {
    await t.rejects(
      store.ensure('uki', key, async () => {}),
      /not a store name/,
    )
  }
})

t.test('two processes that want one entry: one builds, the other waits for it', async (t) => {
  const directory = t.testdir()
  const other = startScript(`
    await new Store('${directory}').ensure('uki', 'k', async () => {
      console.log('building')
      await new Promise((resolve) => process.stdin.once('data', resolve))
    })
    console.log('built'); process.stdin.destroy()`)
  t.equal(await firstLine(other), 'building')
  const { promise: waiting, resolve: onWait } = Promise.withResolvers<string>()
  const store = new Store(directory, { onWait })
  const ensured = store.ensure('uki', 'k', async () => void t.fail('built twice'))
  t.equal(await waiting, 'uki-k', 'the waiting one says what it waits for')
  t.notOk(existsSync(join(directory, 'uki/k')), 'not seen before it is complete')
  other.stdin.write('go\n')
  t.equal(await firstLine(other), 'built')
  t.equal(await ensured, join(directory, 'uki/k'))
  t.ok(existsSync(join(directory, 'uki/k')))
})

t.test('after a builder was killed the next one takes over at once and removes its leftovers', async (t) => {
  const directory = t.testdir()
  const other = startScript(`
    await new Store('${directory}').ensure('uki', 'k', async () => {
      console.log('building')
      setInterval(() => {}, 1000); await new Promise(() => {})
    })`)
  t.equal(await firstLine(other), 'building')
  t.equal(readdirSync(join(directory, '.building')).length, 1)
  mkdirSync(join(directory, '.building', 'uki-k2@other'))
  other.kill('SIGKILL')
  await once(other, 'exit')
  await new Store(directory).ensure('uki', 'k', (path) => writeFile(join(path, 'content'), 'x'))
  t.same(readdirSync(join(directory, '.building')), ['uki-k2@other'], "another entry's builder is left alone")
})

t.test('a lock excludes, times out with HostError locked, and is free after its release', async (t) => {
  const file = join(t.testdir(), 'sub/lock')
  const first = await acquireLock(file)
  await t.rejects(acquireLock(file, { timeoutMs: 100 }), { name: 'HostError', code: 'locked' })
  const waiting = acquireLock(file)
  await first.release()
  await (await waiting).release()
})

t.test('a lock is free when its holder was killed', async (t) => {
  const file = join(t.testdir(), 'lock')
  const other = startScript(`await acquireLock('${file}'); console.log('held'); setInterval(() => {}, 1000)`)
  t.equal(await firstLine(other), 'held')
  other.kill('SIGKILL')
  await (await acquireLock(file, { timeoutMs: 5000 })).release()
})

t.test('a process that was killed while it waited for a lock leaves nobody waiting', async (t) => {
  const file = join(t.testdir(), 'lock')
  const held = await acquireLock(file)
  const waiters = () =>
    readdirSync('/proc').filter(
      (name) =>
        /^\d+$/.test(name) &&
        commandLine(Number(name)).startsWith(`flock\0`) &&
        commandLine(Number(name)).includes(file),
    ).length
  const other = startScript(`const waiting = acquireLock('${file}'); console.log('waiting'); await waiting`)
  t.equal(await firstLine(other), 'waiting')
  const until = async (count: number) => {
    while (waiters() !== count) await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await until(2)
  other.kill('SIGKILL')
  await until(1)
  await held.release()
})

t.test('a private file is 0600 and replaced as a whole; a tail is the end of a file', async (t) => {
  const file = join(t.testdir(), 'key')
  writeFileSync(file, 'old', { mode: 0o644 })
  await writePrivateFile(file, 'new content')
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal(readFileSync(file, 'utf8'), 'new content')
  t.same(readdirSync(join(file, '..')), ['key'])
  t.equal(readTail(file, 7).toString(), 'content')
  t.equal(readTail(file, 100).toString(), 'new content')
  t.equal(readTail(`${file}.none`, 100).length, 0)
  t.equal(await sha256File(file), 'fe32608c9ef5b6cf7e3f946480253ff76f24f4ec0678f3d0f07f9844cbff9601')
})

t.test(
  'too little free space is told with both numbers; a path that does not exist yet counts',
  async (t) => {
    const path = join(t.testdir(), 'not/yet')
    t.ok((await freeBytes(path)) > 0)
    await requireFreeSpace(path, 1, 'nothing much')
    const error = await requireFreeSpace(path, 1e18, 'building').then(
      () => undefined,
      (reason: unknown) => reason,
    )
    t.type(error, HostError)
    t.match(
      (error as HostError).message,
      /^building needs 1000000000000 MB on the disk of .*, \d+ MB are free$/,
    )
    t.equal((error as HostError).code, 'disk-full')
  },
)
