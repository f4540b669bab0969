import { chmod, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MaterialError, UsageError } from '../../base/errors.ts'
import { FileStore } from './file-store.ts'
import { isResourcePath } from './resource-path.ts'
import { MAX_RESOURCE_BYTES } from './resource-store.ts'
import { makeStoreKey, readStoreKey } from './store-key.ts'

const KEY = Buffer.alloc(32, 3)
const SECRET = Buffer.from('a secret that is nowhere on the disk')

async function folder(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-store-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

t.test('what is put comes back, and is not on the disk in clear', async (t) => {
  const directory = join(await folder(t), 'store')
  const store = await FileStore.open({ directory, key: KEY })
  await store.put('default/key/root', SECRET)
  await store.put('default/key/root.old', Buffer.alloc(MAX_RESOURCE_BYTES, 7))
  t.strictSame(Buffer.from((await store.get('default/key/root')) ?? []), SECRET)
  t.strictSame(await store.list(), ['default/key/root', 'default/key/root.old'])
  const names = await readdir(directory)
  t.equal(names.length, 2, 'no temporary file is left')
  for (const name of names) {
    t.notOk((await readFile(join(directory, name))).includes(SECRET))
    t.equal((await stat(join(directory, name))).mode & 0o777, 0o600)
  }
  t.equal((await stat(directory)).mode & 0o777, 0o700)
})

t.test('the same resource put twice has two ciphertexts', async (t) => {
  const directory = await folder(t)
  const store = await FileStore.open({ directory, key: KEY })
  await store.put('a/b/c', SECRET)
  const first = await readFile(join(directory, 'a~b~c.sealed'))
  await store.put('a/b/c', SECRET)
  t.notSame(await readFile(join(directory, 'a~b~c.sealed')), first)
})

t.test('a changed byte, a swapped file, another key and a cut are found', async (t) => {
  const directory = await folder(t)
  const store = await FileStore.open({ directory, key: KEY })
  await store.put('a/b/c', SECRET)
  const file = join(directory, 'a~b~c.sealed')
  const sealed = await readFile(file)
  const refused: number[] = []
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed[at] = (changed[at] ?? 0) ^ 1
    await writeFile(file, changed)
    await store.get('a/b/c').catch((error: unknown) => error instanceof MaterialError && refused.push(at))
  }
  t.equal(refused.length, sealed.length, 'every byte')
  for (let length = 0; length < sealed.length; length++) {
    await writeFile(file, sealed.subarray(0, length))
    await t.rejects(store.get('a/b/c'), MaterialError)
  }
  await writeFile(file, sealed)
  const other = await FileStore.open({ directory, key: Buffer.alloc(32, 4) })
  await t.rejects(other.get('a/b/c'), MaterialError)
  await rename(file, join(directory, 'a~b~d.sealed'))
  await t.rejects(store.get('a/b/d'), MaterialError, 'a file under another name')
  t.equal(await store.get('a/b/c'), undefined)
})

t.test('a resource is removed once', async (t) => {
  const store = await FileStore.open({ directory: await folder(t), key: KEY })
  await store.put('a/b/c', SECRET)
  t.equal(await store.remove('a/b/c'), true)
  t.equal(await store.remove('a/b/c'), false)
  t.equal(await store.get('a/b/c'), undefined)
})

t.test('nothing and too much is not kept', async (t) => {
  const store = await FileStore.open({ directory: await folder(t), key: KEY })
  await t.rejects(store.put('a/b/c', Buffer.alloc(0)), UsageError)
  await t.rejects(store.put('a/b/c', Buffer.alloc(MAX_RESOURCE_BYTES + 1)), UsageError)
})

const TRICKS = [
  ...[
    '',
    '/',
    'a/b',
    'a/b/c/d',
    '/a/b',
    'a//c',
    'a/b/',
    '../b/c',
    'a/../c',
    'a/b/..',
    './b/c',
    'a/b/.hidden',
  ],
  ...['a/b/c\0', 'a/b/c d', 'a/b/c%2e', 'a/b/c~d', 'a\\b/c/d', 'a/b/é', 'a/b/c\n', `a/b/${'c'.repeat(65)}`],
]

t.test('a name that is more than a name is refused wherever it is used', async (t) => {
  const directory = await folder(t)
  const store = await FileStore.open({ directory, key: KEY })
  for (const path of TRICKS) {
    t.equal(isResourcePath(path), false, JSON.stringify(path))
    await t.rejects(store.put(path, SECRET), UsageError)
    await t.rejects(store.get(path), UsageError)
    await t.rejects(store.remove(path), UsageError)
  }
  for (const path of ['default/key/1', 'my_repo/a-type/tag.v2', `${'a'.repeat(64)}/b/c`])
    t.equal(isResourcePath(path), true, path)
  t.strictSame(await readdir(directory), [])
})

t.test('a key is read from a file that is its owner’s alone', async (t) => {
  const directory = await folder(t)
  const file = join(directory, 'key')
  await makeStoreKey(file)
  t.equal((await readStoreKey(file)).length, 32)
  await t.rejects(makeStoreKey(file), UsageError, 'a key is never overwritten')
  for (const mode of [0o640, 0o604, 0o660, 0o666]) {
    await chmod(file, mode)
    await t.rejects(readStoreKey(file), { code: 'bad-config' } as never, mode.toString(8))
  }
  await chmod(file, 0o600)
  await writeFile(file, KEY)
  t.strictSame(await readStoreKey(file), KEY, '32 bytes')
  for (const wrong of ['', 'short', 'g'.repeat(64), 'a'.repeat(66), 'a'.repeat(1000)]) {
    await writeFile(file, wrong)
    await t.rejects(readStoreKey(file), UsageError)
  }
  await t.rejects(readStoreKey(join(directory, 'none')), UsageError)
  await t.rejects(readStoreKey(directory), UsageError)
  await symlink('/dev/zero', join(directory, 'device'))
  await t.rejects(readStoreKey(join(directory, 'device')), UsageError)
})
