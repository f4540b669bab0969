import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { UsageError } from '../base/errors.ts'
import { parseYaml } from '../formats/yaml.ts'
import { broughtImageJsonSchema, broughtImageSchema, readBroughtImage } from './brought-image.ts'
import { findImage, listImages } from './image-list.ts'

const checkout = join(import.meta.dirname, '../..')
const byo = join(checkout, 'images/byo')

const GOOD = `id: mine
title: A disk of mine
disk:
  path: disk.qcow2
  format: qcow2
partitions: { esp: 1, root: root }
login:
  kind: password
  user: root
  password: secret
`

function mistake(text: string): { message: string; hint: string | undefined; position: unknown } {
  try {
    parseYaml(text, { file: 'my.yaml', schema: broughtImageSchema })
  } catch (error) {
    if (error instanceof UsageError && error.code === 'bad-config')
      return { message: error.message, hint: error.hint, position: error.position }
    throw error
  }
  throw new Error('accepted')
}

t.test('a description is read, with defaults for what is usual', async (t) => {
  const parsed = parseYaml(GOOD, { file: 'my.yaml', schema: broughtImageSchema })
  t.match(parsed, {
    secureBoot: 'microsoft',
    login: { shellPrompt: '[#$] *$' },
    timeouts: { bootSeconds: 300 },
    shutDown: 'systemctl poweroff',
  })
})

t.test('a mistake is reported with file, line and column', async (t) => {
  const cases: readonly { change: [string, string]; at: [number, number]; says: RegExp; hint?: RegExp }[] = [
    { change: ['format: qcow2', 'format: qcow3'], at: [5, 11], says: /disk\.format/ },
    { change: ['  format: qcow2\n', ''], at: [4, 3], says: /disk\.format/ },
    {
      change: ['user: root', 'usr: root'],
      at: [9, 3],
      says: /login: unknown key "usr"/,
      hint: /did you mean "user"/,
    },
    { change: ['title:', 'tittle:'], at: [2, 1], says: /unknown key "tittle"/, hint: /"title"/ },
    { change: ['id: mine', 'id: Mine!'], at: [1, 5], says: /^my\.yaml:1:5: id: / },
    { change: ['esp: 1', 'esp: 0'], at: [6, 20], says: /partitions\.esp/ },
    { change: ['password: secret', 'shellPrompt: "["'], at: [10, 16], says: /regular expression/ },
    { change: ['  password: secret\n', ''], at: [8, 3], says: /one of password and passwordFile/ },
    { change: ['title:', 'id: again\ntitle:'], at: [2, 1], says: /unique/ },
    { change: ['title: A', 'title: !shell A'], at: [2, 8], says: /tag/i },
    { change: ['title: A disk', 'title: [A disk'], at: [3, 1], says: /./ },
  ]
  for (const { change, at, says, hint } of cases) {
    const { message, position, hint: given } = mistake(GOOD.replace(...change))
    t.match(message, says, message)
    t.match(position, { file: 'my.yaml', line: at[0], column: at[1] }, message)
    if (hint) t.match(given, hint)
  }
})

t.test('several documents, an empty file and a bomb of aliases are refused', async (t) => {
  t.match(mistake(`${GOOD}---\n${GOOD}`).message, /my\.yaml:\d+:\d+: /)
  t.match(mistake('').message, /^my\.yaml:1:1: /)
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x]',
    'b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]',
    'c: [*b,*b,*b,*b,*b,*b,*b,*b]',
    '',
  ]
  t.match(mistake(bomb.join('\n')).message, /^my\.yaml:\d+:\d+: .*alias/)
  t.match(mistake('id: *nothing\n').message, /^my\.yaml:\d+:\d+: .*alias/)
})

t.test("the how-to's example is a valid description, and its paths count from it", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const example = /```yaml\n(.*?)```/s.exec(await readFile(join(byo, 'README.md'), 'utf8'))?.[1] ?? ''
  const file = join(directory, 'fedora.yaml')
  await writeFile(file, example)
  const { description, disk, partitions } = await readBroughtImage(file)
  t.same(partitions, { esp: 1, root: 'fedora-root', plain: 'scratch' })
  t.equal(disk.path, join(directory, '../disks/fedora-43.qcow2'))
  t.equal(description.unlockKeyFile, join(directory, 'fedora-43.recovery'))
  t.same([...description.capabilities].sort(), [
    'login',
    'luks-root',
    'plain-partition',
    'recovery-key',
    'tpm2-tools',
  ])
})

t.test('capabilities follow from what is declared', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const file = join(directory, 'mine.yaml')
  await writeFile(file, GOOD)
  t.same([...(await readBroughtImage(file)).description.capabilities], ['login'])
  await t.rejects(readBroughtImage(join(directory, 'other.yaml')), { name: 'UsageError', code: 'bad-config' })
})

t.test('schema.json is that of the code', async (t) => {
  const written = JSON.parse(await readFile(join(byo, 'schema.json'), 'utf8'))
  t.same(written, JSON.parse(JSON.stringify(broughtImageJsonSchema())), 'made by broughtImageJsonSchema()')
})

t.test('the recipes are read, and a wrong name is answered with the near one', async (t) => {
  t.same(
    (await listImages(checkout)).map(({ id }) => id),
    ['ab', 'attester', 'debian', 'micro', 'uki', 'verity'],
  )
  t.match(await findImage(checkout, 'micro'), { origin: 'built', recipe: { id: 'micro' } })
  await t.rejects(findImage(checkout, 'debain'), { code: 'unknown-image', hint: 'did you mean "debian"?' })
  await t.rejects(findImage(checkout, './none.yaml'), { code: 'bad-config' })
})
