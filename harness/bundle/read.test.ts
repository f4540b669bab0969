import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { list } from 'tar'
import { AttestbedError, type FormatError } from '../base/errors.ts'
import { ownIdentity } from '../system/process-table.ts'
import { Scope } from '../system/scope.ts'
import { MOST_FILE_BYTES, MOST_MEMBER_BYTES, RATIO_FROM_BYTES } from './limits.ts'
import { makeBundle } from './make.ts'
import { openBundle } from './read.ts'
import { bundleOf, fakePoint, manifestOf, memberOf, NAMES, packed, tarOf } from './testing/fake-point.ts'

const CONTENT = Buffer.from('some content')

async function workplace() {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const temporary = join(directory, 'temporary')
  await mkdir(temporary)
  return { directory, temporary, file: join(directory, 'x.attestbed') }
}

/** What opening the bytes throws. Nothing of them may be left, nor anything be written beside them. */
async function refusal(t: Test, bytes: Uint8Array): Promise<FormatError> {
  const { directory, temporary, file } = await workplace()
  await writeFile(file, bytes)
  await using scope = new Scope('test')
  const error = await openBundle(scope, file, { temporary }).then(
    () => undefined,
    (thrown) => thrown,
  )
  t.ok(error instanceof AttestbedError, `it is refused, by one of our errors: ${String(error)}`)
  t.same(await readdir(temporary), [], 'nothing of it is left')
  t.same((await readdir(directory)).sort(), ['temporary', 'x.attestbed'], 'nothing was written elsewhere')
  return error as FormatError
}

t.test('a run comes out of its bundle byte for byte, and another reader of tar sees the same', async (t) => {
  const { temporary, file } = await workplace()
  const { runs, found } = await fakePoint()
  t.teardown(() => rm(runs, { recursive: true }))
  const { manifest: made } = await makeBundle({
    ...{ found, file, include: [], checkout: join(import.meta.dirname, '../..') },
    ...{ version: '0', packages: [], names: NAMES },
  })
  await using scope = new Scope('test')
  const { manifest, member } = await openBundle(scope, file, { temporary })
  t.same(manifest, made)
  const raw = await readFile(member('run/guest/boot-1/console.raw') ?? '')
  t.equal(raw.toString(), 'booting\r\nlast line\r\n')
  const firmware = manifest.materials.find(({ role }) => role === 'firmware')
  t.equal((await readFile(member(firmware?.member ?? '') ?? '')).toString(), 'firmware of this test')
  t.match(manifest.leftOut, [{ what: 'disk base.raw', reason: 'it is built again from its recipe' }])
  t.match(manifest.signature, { outcome: 'fail', falseClaims: [{ id: 'answers', got: '{"exitCode":8}' }] })
  t.same(manifest.signature.console, ['booting', 'last line'])
  const archive = join(temporary, 'archive.tar')
  await writeFile(archive, zstdDecompressSync(await readFile(file)))
  const seen: string[] = []
  await list({ file: archive, strict: true, onReadEntry: ({ path }) => seen.push(path) })
  t.same(seen, ['manifest.json', ...manifest.members.map(({ path }) => path)])
  await scope.close()
  t.same(await readdir(temporary), ['archive.tar'], 'it ends with its scope')
})

t.test(
  'the order of the states that were booted goes into the bundle, with the seed that drew them',
  async (t) => {
    const sampling = { seed: 7, states: { first: 1, last: 4 } }
    const orderIn = async (files: Readonly<Record<string, string>>, asked: object = sampling) => {
      const { runs, found } = await fakePoint(files)
      t.teardown(() => rm(runs, { recursive: true }))
      const tools = { kind: 'tree', digest: '1'.repeat(64) }
      await writeFile(
        join(found.run, 'run.json'),
        JSON.stringify({ argv: [], tools, sampling: asked, host: {} }),
      )
      const request = {
        found,
        file: join(runs, 'x'),
        include: [],
        checkout: runs,
        version: '0',
        packages: [],
      }
      return (await makeBundle(request)).manifest.sampling?.order
    }
    const kept = (order: string, seed = 7) => JSON.stringify({ seed, order })
    const guest = 'guest/power-cut.json'
    t.equal(await orderIn({ [guest]: kept('f62a05c2') }), 'f62a05c2')
    t.equal(await orderIn({ [guest]: kept('f62a05c2') }, { ...sampling, order: '01234567' }), '01234567')
    t.equal(await orderIn({}), undefined, 'nothing was booted')
    t.equal(await orderIn({ [guest]: kept('f62a05c2', 8) }), undefined, 'of another seed')
    t.equal(await orderIn({ [guest]: kept('f62a05c2'), 'twin/power-cut.json': kept('00000000') }), undefined)
    for (const broken of ['', '{', 'null', '{"seed":7}', kept('x; rm'), '{"seed":7,"order":7}'])
      t.equal(await orderIn({ [guest]: broken }), undefined, broken)
  },
)

t.test(
  'what a killed process unpacked is removed by the next one, and nothing of a living one',
  async (t) => {
    const { temporary, file } = await workplace()
    await writeFile(file, bundleOf([]))
    const leave = async (name: string, owner: string | undefined) => {
      await mkdir(join(temporary, name, 'content'), { recursive: true })
      if (owner !== undefined) await writeFile(join(temporary, name, 'owner.json'), owner)
    }
    await leave('attestbed-bundle-dead', JSON.stringify({ ...ownIdentity(), startTime: '1' }))
    await leave('attestbed-bundle-alive', JSON.stringify(ownIdentity()))
    await leave('attestbed-bundle-new', undefined)
    await leave('attestbed-bundle-other', '{')
    await leave('other-dead', JSON.stringify({ ...ownIdentity(), startTime: '1' }))
    await symlink(join(temporary, 'other-dead'), join(temporary, 'attestbed-bundle-link'))
    const before = await readdir(temporary)
    const scope = new Scope('test')
    await openBundle(scope, file, { temporary })
    await scope.close()
    const stay = before.filter((name) => name !== 'attestbed-bundle-dead')
    t.same((await readdir(temporary)).sort(), stay.sort())
    t.same(await readdir(join(temporary, 'other-dead')), ['content', 'owner.json'])
  },
)

t.test('what does not fit is left out, disks first, and is named', async (t) => {
  const { file } = await workplace()
  const noise = Buffer.from(Array.from({ length: 60_000 }, (_, index) => (index * 7919) % 251))
  const { runs, found } = await fakePoint({ 'guest/disk.qcow2': noise, 'guest/a.log': noise })
  t.teardown(() => rm(runs, { recursive: true }))
  const { manifest } = await makeBundle({
    ...{ found, file, include: [], checkout: runs, version: '0', packages: [], names: NAMES, most: 80_000 },
  })
  t.ok(manifest.members.some(({ path }) => path === 'run/guest/a.log'))
  t.match(
    manifest.leftOut.find(({ what }) => what === 'run/guest/disk.qcow2'),
    { bytes: 60_000, reason: /are left of the 80000/ },
  )
})

const entry = { path: 'a/b.txt', content: CONTENT }
const manifest = (changes: object = {}) => manifestOf([memberOf('a/b.txt', CONTENT)], changes)
const first = (content = manifest()) => ({ path: 'manifest.json', content })

/** Title, bytes, code of the error, words in its message. */
const HOSTILE: readonly (readonly [string, () => Uint8Array, string, RegExp])[] = [
  ['an empty file', () => Buffer.alloc(0), 'bad-magic', /no zstd frame/],
  ['a text', () => Buffer.from('attestbed bundle'), 'bad-magic', /no zstd frame/],
  ['zstd of something else', () => packed(Buffer.from('hello')), 'truncated', /header/],
  ['a tar of something else', () => packed(tarOf([entry])), 'bad-value', /manifest\.json is required/],
  [
    'another JSON',
    () => packed(tarOf([first(Buffer.from('{"a":1}')), entry])),
    'bad-magic',
    /kind is missing/,
  ],
  ['no JSON', () => packed(tarOf([first(Buffer.from('{')), entry])), 'bad-value', /no JSON/],
  [
    'a newer version',
    () => bundleOf([entry], { version: 2 }),
    'bad-value',
    /version 2, made by a newer attestbed/,
  ],
  ['an unknown field', () => bundleOf([entry], { run: 'sh' }), 'bad-value', /run|Unrecognized/],
  ['a platform that is none', () => bundleOf([entry], { variant: {} }), 'bad-value', /variant/],
  [
    'a scenario that is a path',
    () => bundleOf([entry], { scenario: { id: '../x', title: '' } }),
    'bad-value',
    /scenario\.id/,
  ],
  ['a path with ..', () => bundleOf([{ ...entry, path: 'a/../../b' }]), 'bad-value', /members\.0\.path/],
  ['an absolute path', () => bundleOf([{ ...entry, path: '/tmp/b' }]), 'bad-value', /members\.0\.path/],
  ['a hidden file', () => bundleOf([{ ...entry, path: 'a/.bashrc' }]), 'bad-value', /members\.0\.path/],
  ['a path with a line end', () => bundleOf([{ ...entry, path: 'a\nb' }]), 'bad-value', /members\.0\.path/],
  ['the manifest again', () => bundleOf([{ ...entry, path: 'manifest.json' }]), 'bad-value', /there twice/],
  ['a member twice', () => bundleOf([entry, { ...entry, path: 'A/B.txt' }]), 'bad-value', /there twice/],
  [
    'a file that is a folder',
    () => bundleOf([entry, { ...entry, path: 'a/b.txt/c' }]),
    'bad-value',
    /there twice/,
  ],
  [
    'a path that the manifest does not name',
    () => packed(tarOf([first(), entry, { ...entry, path: 'c' }])),
    'bad-value',
    /"none" here/,
  ],
  [
    '.. in the archive alone',
    () => packed(tarOf([first(), { ...entry, path: '../b' }])),
    'bad-value',
    /"\.\.\/b"/,
  ],
  [
    'other bytes',
    () => packed(tarOf([first(), { ...entry, content: Buffer.from('SOME content') }])),
    'bad-value',
    /SHA-256/,
  ],
  [
    'another size',
    () => packed(tarOf([first(), { ...entry, content: Buffer.alloc(5) }])),
    'bad-value',
    /5 bytes/,
  ],
  ['a missing member', () => packed(tarOf([first()])), 'truncated', /a\/b\.txt is missing/],
  ['no end', () => packed(tarOf([first(), entry], { end: false })), 'truncated', /within a header/],
  [
    'bytes behind the end',
    () => packed(Buffer.concat([tarOf([first(), entry]), Buffer.from('x')])),
    'trailing-bytes',
    /zeros/,
  ],
  ['a second frame', () => Buffer.concat([bundleOf([entry]), bundleOf([entry])]), 'trailing-bytes', /follow/],
  [
    'a hard link',
    () => packed(tarOf([first(), { path: 'a/b.txt', type: 'Link', linkpath: '/etc/passwd' }])),
    'bad-value',
    /a hard link/,
  ],
  [
    'a symbolic link',
    () => packed(tarOf([first(), { path: 'a/b.txt', type: 'SymbolicLink', linkpath: '/etc' }])),
    'bad-value',
    /a symbolic link/,
  ],
  [
    'a directory',
    () => packed(tarOf([first(), { path: 'a', type: 'Directory' }])),
    'bad-value',
    /a directory/,
  ],
  [
    'a device',
    () => packed(tarOf([first(), { path: 'a', type: 'CharacterDevice' }])),
    'bad-value',
    /a device/,
  ],
  [
    'an extended header',
    () => packed(tarOf([first(), { path: 'a', type: 'ExtendedHeader' }])),
    'bad-value',
    /extended header/,
  ],
  [
    'a manifest that is large',
    () => packed(tarOf([{ ...first(), size: 2 ** 23 }])),
    'bad-value',
    /8388608 bytes/,
  ],
  [
    'members that say they are larger than all that is believed',
    () => packed(tarOf([first(manifestOf([{ ...memberOf('a', CONTENT), bytes: MOST_MEMBER_BYTES + 1 }]))])),
    ...(['bad-value', /members\.0\.bytes/] as const),
  ],
  [
    'a bomb: a few kilobytes that unpack to more than is believed of them',
    () => bundleOf([{ path: 'a', content: Buffer.alloc(RATIO_FROM_BYTES + 512) }]),
    ...(['too-large', /unpack to more than/] as const),
  ],
]

for (const [title, make, code, words] of HOSTILE)
  t.test(`refuses ${title}`, async (t) => {
    const error = await refusal(t, make())
    t.equal(error.code, code)
    t.match(error.message, words)
    t.equal(error.exitCode, 5)
  })

t.test('refuses a file that is too large before it reads it, and what is no file', async (t) => {
  const { temporary, file } = await workplace()
  await writeFile(file, '')
  await truncate(file, MOST_FILE_BYTES + 1)
  await using scope = new Scope('test')
  await t.rejects(openBundle(scope, file, { temporary }), { code: 'too-large' })
  await t.rejects(openBundle(scope, temporary, { temporary }), { name: 'UsageError', code: 'bad-value' })
  await t.rejects(openBundle(scope, `${file}.none`, { temporary }), { name: 'UsageError', message: /ENOENT/ })
})

t.test('refuses a bundle that is cut off, wherever', async (t) => {
  const whole = bundleOf([entry])
  for (let length = 0; length < whole.length; length++) {
    const error = await refusal(t, whole.subarray(0, length))
    t.match(error.code, /truncated|bad-magic/, `${length} of ${whole.length}`)
  }
})

t.test('whatever is changed in a bundle, it is opened as its manifest says or refused', async (t) => {
  const entries = [entry, { path: 'c', content: Buffer.alloc(600, 7) }]
  const archive = zstdDecompressSync(bundleOf(entries))
  const { file, temporary } = await workplace()
  const change = fc.record({ at: fc.nat({ max: archive.length - 1 }), value: fc.nat({ max: 255 }) })
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const mutated = Buffer.from(archive)
      for (const { at, value } of changes) mutated[at] = value
      await writeFile(file, packed(mutated))
      const scope = new Scope('test')
      try {
        const bundle = await openBundle(scope, file, { temporary })
        // Then only words of the manifest are others, or a field of a header that nobody reads.
        for (const { path, content } of entries)
          t.same(await readFile(bundle.member(path) ?? ''), content, 'content is as it was')
      } catch (error) {
        if (!(error instanceof AttestbedError)) throw error
      } finally {
        await scope.close()
      }
      return (await readdir(temporary)).length === 0
    }),
    { numRuns: 150 },
  )
})
