import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { UsageError } from '../../base/errors.ts'
import type { Variant } from '../events.ts'
import { isExpired } from './expiry.ts'
import { parseMatrix, readMatrix } from './file.ts'
import { matrixSchema } from './schema.ts'

const MATRICES = join(import.meta.dirname, '../../../scenarios/matrices')
const VARIANT: Variant = {
  ...{ platform: 'tcg', vtpm: 'none', firmware: 'ovmf', image: 'debian' },
  ...{ qemu: 'tools', vcpus: 2, memoryMiB: 2048 },
}
const subject = (variant: Partial<Variant> = {}, id = 'boot/first-command') => ({
  id,
  variant: { ...VARIANT, ...variant },
})

t.test('the JSON Schema for editors is the one that files are checked against', async (t) => {
  const made = z.toJSONSchema(matrixSchema, { io: 'input', unrepresentable: 'any', reused: 'ref' })
  t.same(JSON.parse(await readFile(join(MATRICES, 'schema.json'), 'utf8')), JSON.parse(JSON.stringify(made)))
})

t.test('the matrices of the project can be read', async (t) => {
  const files = (await readdir(MATRICES)).filter((name) => name.endsWith('.yaml'))
  t.ok(files.length > 1)
  for (const file of files) t.ok((await readMatrix(join(MATRICES, file))).blocks.length > 0, file)
})

t.test('an exclude matches where every axis that it names has one of its values', async (t) => {
  const text = `
axes: { platform: [tcg, kvm], vcpus: [1, 2, 4], memory: [1G, 2G, 512M] }
exclude:
  - { platform: tcg, vcpus: [2, 4] }
  - { scenario: 'encrypted-root/*', memory: 2G }
  - { scenario: boot, vtpm: none, memory: 512M }
`
  const [{ exclude } = {}] = parseMatrix(text, 'm.yaml').blocks
  t.equal(exclude?.(subject()), true)
  t.equal(exclude?.(subject({ platform: 'kvm' })), false, 'one axis differs')
  t.equal(exclude?.(subject({ vcpus: 1 })), false)
  t.equal(exclude?.(subject({ platform: 'kvm' }, 'encrypted-root/x')), true, 'a glob, and sizes in units')
  t.equal(exclude?.(subject({ platform: 'kvm', memoryMiB: 512 })), true, 'a folder')
})

t.test('an emulated TEE can be left out where the same platform of a host is not', async (t) => {
  const text = `
exclude: [{ scenario: attest, platform: tdx, emulated: true }]
marks: [{ match: { emulated: false }, unstable: a host of its own }]
`
  const { blocks, marks } = parseMatrix(text, 'm.yaml')
  const [{ exclude } = {}] = blocks
  const [emulated, real] = [{ platform: 'tdx', emulatedOn: 'tcg' } as const, { platform: 'tdx' } as const]
  t.equal(exclude?.(subject(emulated, 'attest/runtime')), true)
  t.equal(exclude?.(subject(real, 'attest/runtime')), false)
  t.equal(marks[0]?.matches(subject(real)), true)
  t.equal(marks[0]?.matches(subject(emulated)), false)
})

t.test('an include is a block of its own, and paths start from the folder of the file', async (t) => {
  const text = 'include:\n  - { scenario: boot, vcpus: 8, image: ./mine.yaml, qemu: ../qemu/build/q }\n'
  const [base, included] = parseMatrix(text, '/etc/matrices/m.yaml').blocks
  t.same(base?.axes, {})
  t.match(included, {
    axes: { vcpus: [8], image: ['/etc/matrices/mine.yaml'], qemu: ['/etc/qemu/build/q'] },
    ...{ scenarios: ['boot'], exclude: undefined },
  })
})

t.test('marks say why, and until when', async (t) => {
  const text = `
marks:
  - { match: { vtpm: none }, unstable: now and then until it does not }
  - { match: { platform: tcg }, skip: waits until noon until 2026-03-01 }
`
  const [unstable, skip] = parseMatrix(text, 'm.yaml').marks
  t.match(unstable, { kind: 'unstable', reason: 'now and then until it does not', until: undefined })
  t.match(skip, {
    kind: 'skip',
    reason: 'waits until noon',
    until: '2026-03-01',
    position: { line: 4, column: 5 },
  })
  t.equal(isExpired({ until: '2026-03-01' }, '2026-03-01'), false, 'it holds with its last day')
  t.equal(isExpired({ until: '2026-03-01' }, '2026-03-02'), true)
})

const WRONG: readonly (readonly [what: string, text: string, message: RegExp, hint?: RegExp])[] = [
  ['an unknown axis', 'axes:\n  platfrom: [tcg]', /^m\.yaml:2:3: axes: unknown key "platfrom"/, /"platform"/],
  ['an unknown platform', 'axes: { platform: [tcg, tgc] }', /^m\.yaml:1:25: axes\.platform\.1: .*"tcg"/],
  [
    'an unknown platform to exclude',
    'exclude:\n  - platform: tgc',
    /^m\.yaml:2:15: exclude\.0\.platform: .*tcg/,
  ],
  ['no vCPU', 'axes: { vcpus: [1, 0] }', /^m\.yaml:1:20: axes\.vcpus\.1: /],
  ['memory without a unit', 'axes: { memory: ["2048"] }', /^m\.yaml:1:18: .*512M or 2G/],
  ['an empty axis', 'axes: { vtpm: [] }', /^m\.yaml:1:15: axes\.vtpm: /],
  ['an entry that matches everything', 'exclude:\n  - {}', /^m\.yaml:2:5: exclude\.0: names no axis/],
  [
    'a value that the axis lacks',
    'axes: { vcpus: [1, 2] }\nexclude:\n  - { vcpus: [1, 3] }',
    /^m\.yaml:3:18: .*3 is no value of the axis, which has 1, 2/,
  ],
  [
    'a size that the axis lacks',
    'axes: { memory: [1G] }\nmarks:\n  - { match: { memory: 2G }, unstable: x }',
    /^m\.yaml:3:24: .*2048M is no value/,
  ],
  ['a mark without a kind', 'marks:\n  - match: { vtpm: none }', /^m\.yaml:2:5: .*either/],
  [
    'a mark of both kinds',
    'marks:\n  - { match: { vtpm: none }, unstable: x, skip: y until 2026-01-01 }',
    /either/,
  ],
  [
    'a skip without an end',
    'marks:\n  - { match: { vtpm: none }, skip: for ever }',
    /^m\.yaml:2:36: .*until/,
  ],
  [
    'a day that there is not',
    'marks:\n  - { match: { vtpm: none }, skip: x until 2026-02-30 }',
    /2026-02-30, which is no day/,
  ],
  ['a cycle', 'axes: &all\n  vtpm: *all', /^m\.yaml:2:9: the alias \*all stands inside/],
  ['a cycle in a list', 'scenarios: &s [boot, *s]', /^m\.yaml:1:22: the alias \*s/],
  [
    'aliases that multiply',
    `a: &a [1,1,1,1]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]`,
    /alias/,
  ],
  ['an abyss', `axes: ${'['.repeat(50_000)}`, /^m\.yaml:1:\d+: is nested too deeply/],
  ['a key twice', 'axes: {}\naxes: {}', /^m\.yaml:2:1: /],
  ['no mapping', '- boot', /^m\.yaml:1:1: /],
]
for (const [what, text, message, hint] of WRONG)
  t.test(`${what} is refused, with its place`, async (t) => {
    try {
      parseMatrix(text, 'm.yaml')
      t.fail('was taken')
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      t.match(error, { code: 'bad-config', message, ...(hint && { hint }) })
    }
  })

t.test('a file that is too large is not read', async (t) => {
  const directory = t.testdir({ 'large.yaml': '#'.repeat((1 << 20) + 1) })
  await t.rejects(readMatrix(join(directory, 'large.yaml')), {
    message: /has 1048577 bytes, at most 1048576/,
  })
  await t.rejects(readMatrix(join(directory, 'none.yaml')), {
    code: 'bad-config',
    message: /cannot read the matrix/,
  })
})
