import t from 'tap'
import type { PlannedPoint } from './plan.ts'
import type { PlanRequest } from './planning.ts'
import type { OfficeSpec } from './testing/office.ts'
import { planFile, planOf } from './testing/planned.ts'

const keys = (points: readonly PlannedPoint[]) => points.map(({ key }) => key)
const MATRIX = `
scenarios: [boot/first-command, encrypted-root/stateful-vtpm]
axes: { platform: [tcg, kvm], vcpus: [1, 2], memory: [1G, 2G] }
exclude: [{ platform: tcg, vcpus: 2 }]
include: [{ scenario: boot, platform: tdx, vcpus: 8 }]
`
// The cores of the machine that tests run on are no business of these.
const BIG = { anyHost: true } as const

t.test('excludes take from the axes and not from what is included', async (t) => {
  const { points, leftOut } = await planFile(t, MATRIX, BIG)
  const boot = points.filter(({ id }) => id === 'boot/first-command')
  // Two vTPMs: tcg has 1 vCPU in two sizes, kvm 2 in two; and tdx as the include says.
  t.equal(boot.filter(({ variant }) => variant.platform === 'tcg').length, 2 * 2)
  t.equal(boot.filter(({ variant }) => variant.platform === 'kvm').length, 2 * 2 * 2)
  t.same(
    points
      .filter(({ variant }) => variant.platform === 'tdx')
      .map(({ variant }) => [variant.vtpm, variant.vcpus, variant.memoryMiB]),
    [
      ['stateful', 8, 512],
      ['none', 8, 512],
    ],
    'an axis that the include does not name is as the scenario has it',
  )
  t.equal(leftOut.excluded, 2 * 2 + 2)
  t.equal(new Set(keys(points)).size, points.length)
})

t.test('flags and patterns narrow the matrix', async (t) => {
  const { points } = await planFile(t, MATRIX, {
    ...BIG,
    ...{ patterns: ['boot'], platforms: ['kvm'], vtpms: ['none'], memoryMiB: [2048, 4096] },
  })
  t.same(keys(points), [
    'boot/first-command@kvm,none,ovmf-secboot,micro,memory=2048M',
    'boot/first-command@kvm,none,ovmf-secboot,micro,vcpus=2,memory=2048M',
  ])
})

t.test('each variant of a plan is the only one that its own flags select', async (t) => {
  const { points } = await planFile(t, MATRIX, BIG)
  for (const { key, id, variant } of points.filter((_, index) => index % 5 === 0)) {
    const own = await planFile(t, MATRIX, {
      ...BIG,
      ...{
        patterns: [id],
        platforms: [variant.platform],
        vtpms: [variant.vtpm],
        firmware: [variant.firmware],
      },
      ...{
        images: [variant.image],
        vcpus: [variant.vcpus],
        memoryMiB: [variant.memoryMiB],
        qemus: ['tools'],
      },
    })
    t.same(keys(own.points), [key])
  }
})

t.test(
  'marks: unstable ones run and say so, a skip holds until its day, one that is over fails the run',
  async (t) => {
    const marks = `
scenarios: [boot]
marks:
  - { match: { vtpm: none }, unstable: now and then }
  - { match: { vtpm: stateful }, skip: no swtpm here until 2026-11-22 }
`
    const { points, expired } = await planFile(t, marks, { platforms: ['tcg'] })
    t.match(
      points.find(({ variant }) => variant.vtpm === 'none'),
      { unstable: 'now and then', skip: undefined },
    )
    t.match(points.find(({ variant }) => variant.vtpm === 'stateful')?.skip, {
      code: 'marked-skip',
      message: 'the matrix says: no swtpm here (until 2026-11-22)',
    })
    t.same(expired, [])
    const later = await planFile(t, marks, { platforms: ['tcg'], today: '2026-11-23' })
    t.ok(
      later.points.every(({ skip }) => skip === undefined),
      'it runs again',
    )
    t.match(later.expired, [
      { place: /m\.yaml:5:5$/, reason: 'no swtpm here', until: '2026-11-22', variants: 1 },
    ])
  },
)

t.test('shards share the plan, and what is added to it moves nothing to another shard', async (t) => {
  const shardOf = async (text: string): Promise<Map<string, number>> => {
    const where = new Map<string, number>()
    for (const index of [1, 2, 3]) {
      const { points, leftOut } = await planFile(t, text, { ...BIG, shard: { index, count: 3 } })
      for (const { key } of points) {
        t.notOk(where.has(key), 'in one shard only')
        where.set(key, index)
      }
      t.ok(leftOut.otherShards > 0)
    }
    return where
  }
  const before = await shardOf(MATRIX)
  t.same(
    [...before.keys()].sort(),
    keys((await planFile(t, MATRIX, BIG)).points).toSorted(),
    'nothing is lost',
  )
  const after = await shardOf(
    MATRIX.replace('[boot/first-command,', '[boot/first-command, encrypted-root/updated-uki,')
      .replace('vcpus: [1, 2]', 'qemu: [tools, host], vcpus: [1, 2, 3]')
      .replace('memory: [1G, 2G]', 'memory: [3G, 2G, 1G]'),
  )
  t.ok(after.size > before.size)
  for (const [key, index] of before) t.equal(after.get(key), index, key)
})

t.test('hosts that choose otherwise lose nothing between their shards', async (t) => {
  const text = `
scenarios: [boot/first-command, encrypted-root/stateful-vtpm]
axes: { vcpus: [1, 2, 3, 4], memory: [1G, 2G] }
include: [{ scenario: boot, platform: kvm, vcpus: [1, 2, 3, 4], memory: [1G, 2G] }]
`
  const hosts: readonly OfficeSpec[] = [
    { usable: ['tcg'] },
    { usable: ['tcg', 'kvm'] },
    { usable: ['sev-snp'] },
  ]
  const wordsOf = ({ id, variant: { vtpm, vcpus, memoryMiB } }: PlannedPoint) =>
    [id, vtpm, vcpus, memoryMiB].join(' ')
  const all = new Set((await planFile(t, text, BIG)).points.map(wordsOf))
  const count = 4
  for (const first of hosts.keys()) {
    const points: PlannedPoint[] = []
    for (let index = 1; index <= count; index++) {
      const host = hosts[(first + index) % hosts.length]
      const part = await planFile(t, text, { ...BIG, shard: { index, count } }, host)
      for (const point of part.points) points.push(point)
    }
    t.same(new Set(points.map(wordsOf)), all)
    const onKvm = points.filter(({ variant }) => variant.platform === 'kvm').map(wordsOf)
    const included = [...all].filter((words) => words.startsWith('boot'))
    t.same(
      included.filter((words) => !onKvm.includes(words)),
      [],
      'what an include names is not taken for what a host chose',
    )
  }
})

t.test('a QEMU of the checkout is in the same shard wherever the checkout lies', async (t) => {
  const asked = async (qemu: string) => {
    const { points } = await planOf({ patterns: ['boot'], vtpms: ['none'], qemus: [qemu] })
    return points.map((point) => point.asked)
  }
  t.same(await asked('/nowhere/a/qemu-system-x86_64'), await asked('/nowhere/b/qemu-system-x86_64'))
  t.notSame(await asked('/nowhere/a/qemu-system-x86_64'), await asked('tools'))
})

t.test(
  'pairwise takes few variants, all that excludes allow to meet, and what was included on purpose',
  async (t) => {
    const text = `
scenarios: [boot/first-command]
axes: { platform: [tcg, kvm, sev, sev-es], vcpus: [1, 2, 4, 8], memory: [1G, 2G, 4G] }
exclude: [{ platform: tcg, vcpus: [4, 8] }, { vcpus: 8, memory: 1G }]
include: [{ platform: tdx, vcpus: 16 }]
`
    const all = await planFile(t, text, BIG)
    const few = await planFile(t, text, { ...BIG, pairwise: true })
    t.ok(few.points.length < all.points.length / 2, `${few.points.length} of ${all.points.length}`)
    t.equal(few.points.length + few.leftOut.pairwise, all.points.length)
    t.equal(few.points.filter(({ variant }) => variant.platform === 'tdx').length, 2)
    const pairs = (points: readonly PlannedPoint[]) =>
      new Set(
        points.flatMap(({ variant: { platform, vtpm, vcpus, memoryMiB } }) => [
          ...[`${platform} ${vtpm}`, `${platform} ${vcpus} cpu`, `${platform} ${memoryMiB} MiB`],
          ...[`${vtpm} ${vcpus} cpu`, `${vtpm} ${memoryMiB} MiB`, `${vcpus} cpu ${memoryMiB} MiB`],
        ]),
      )
    t.same([...pairs(few.points)].sort(), [...pairs(all.points)].sort())
    t.notOk(few.points.some(({ variant }) => variant.platform === 'tcg' && variant.vcpus > 2))
  },
)

const pairsOf = (points: readonly PlannedPoint[]) =>
  new Set(
    points.flatMap(({ variant: { platform, vcpus, memoryMiB } }) => [
      ...[`${platform} ${vcpus} cpu`, `${platform} ${memoryMiB} MiB`, `${vcpus} cpu ${memoryMiB} MiB`],
    ]),
  )

t.test('by pairs, hosts with different room and platforms lose no pair between their shards', async (t) => {
  const text = `
scenarios: [boot/first-command]
axes: { platform: [tcg, kvm, sev-snp], vtpm: [none], vcpus: [1, 2, 4], memory: [1G, 2G, 4G, 8G] }
exclude: [{ platform: tcg, memory: 8G }]
`
  const hosts: readonly OfficeSpec[] = [
    { usable: ['tcg'] },
    { usable: ['kvm', 'sev-snp'], freeMemoryMiB: 3000 },
    { usable: [], freeMemoryMiB: 100 },
  ]
  const all = pairsOf((await planFile(t, text, BIG)).points)
  const planned = await planFile(t, text, { ...BIG, pairwise: true, isShared: true })
  const count = 5
  const points: PlannedPoint[] = []
  for (let index = 1; index <= count; index++) {
    const request = { pairwise: true, shard: { index, count } }
    const part = await planFile(t, text, request, hosts[index % hosts.length])
    for (const point of part.points) points.push(point)
  }
  t.same([...pairsOf(points)].sort(), [...all].sort())
  t.equal(points.length, planned.points.length, 'the plan for CI has as many')
  t.ok(points.length < 20)
  for (const own of [{ shard: { index: 1, count } }, { isShared: true }])
    await t.rejects(planFile(t, 'axes: { vcpus: [1, 2] }', { pairwise: true, ...own }), {
      code: 'bad-value',
      message: /needs a named platform/,
    })
})

t.test('by pairs in shards, an exclude that depends on the host is refused with its place', async (t) => {
  const text = `
scenarios: [attest/runtime]
axes: { platform: [sev-snp, tdx], vcpus: [2, 4] }
exclude:
  - { platform: tdx, vcpus: 4 }
  - { platform: sev-snp, emulated: true }
`
  const refused = { code: 'bad-config', message: /m\.yaml:6:\d+: --pairwise with shards/ }
  for (const own of [{ shard: { index: 1, count: 2 } }, { isShared: true }])
    await t.rejects(planFile(t, text, { pairwise: true, ...own }), refused)
  await t.resolves(planFile(t, text, { pairwise: true }), 'on one host')
  await t.resolves(planFile(t, text, { shard: { index: 1, count: 2 } }), 'without pairs')
})

t.test('by pairs, what is marked unstable stands only for pairs that nothing else has', async (t) => {
  const text = `
scenarios: [boot/first-command]
axes: { platform: [tcg, kvm, sev], vtpm: [none], vcpus: [1, 2, 4], memory: [1G, 2G, 4G] }
marks:
  - { match: { platform: tcg, vcpus: 1 }, unstable: now and then }
  - { match: { platform: kvm, vcpus: 2 }, skip: never until 2027-01-01 }
`
  const { points } = await planFile(t, text, { ...BIG, pairwise: true })
  const steady = points.filter(({ skip, unstable }) => skip === undefined && unstable === undefined)
  const missing = [...pairsOf(points)].filter((pair) => !pairsOf(steady).has(pair))
  t.same(missing.sort(), ['kvm 2 cpu', 'tcg 1 cpu'])
})

t.test('what this host lacks is skipped with its reason, and stands in a plan for CI', async (t) => {
  const text = 'scenarios: [boot]\naxes: { platform: [tcg, sev-snp], vtpm: [none], memory: [1G] }'
  const here = await planFile(t, text, {}, { usable: ['tcg'] })
  t.same(
    here.points.map(({ variant, skip }) => [variant.platform, skip?.code]),
    [
      ['tcg', undefined],
      ['sev-snp', 'platform-unusable'],
    ],
  )
  const ci = await planFile(t, text, { anyHost: true }, { usable: ['tcg'] })
  t.ok(
    ci.points.every(
      ({ skip }) =>
        skip === undefined || skip.code !== 'platform-unusable' || !/it is not there/.test(skip.message),
    ),
  )
  const small = await planFile(t, text, { platforms: ['tcg'] }, { freeMemoryMiB: 1100 })
  t.match(small.points[0]?.skip, {
    code: 'not-enough-memory',
    message: /it takes 1280 MiB, 1100 MiB may be used/,
  })
})

t.test('a QEMU that is not there is a reason to skip what asks for it', async (t) => {
  const { points } = await planOf({ patterns: ['boot'], vtpms: ['none'], qemus: ['tools', '/nowhere/qemu'] })
  t.same(
    points.map(({ variant, skip }) => [variant.qemu, skip?.message.split(': ')[1]]),
    [
      ['tools', undefined],
      ['/nowhere/qemu', 'there is no program /nowhere/qemu that may be run'],
    ],
  )
})

t.test('a vTPM that the matrix names and a scenario does not have is skipped with its reason', async (t) => {
  const text = `
scenarios: [boot, encrypted-root/stateful-vtpm, encrypted-root/stateless-vtpm]
axes: { platform: [tcg], vtpm: [none, stateful] }
include:
  - { scenario: encrypted-root/stateful-vtpm, platform: kvm, vtpm: [none, stateful] }
`
  const found = async (request: Partial<PlanRequest> = {}) =>
    (await planFile(t, text, { ...BIG, ...request })).points.map(({ id, variant, skip }) =>
      [id.split('/')[1], variant.platform, variant.vtpm, skip?.code ?? 'runs'].join(' '),
    )
  t.same((await found()).sort(), [
    'first-command tcg none runs',
    'first-command tcg stateful runs',
    'stateful-vtpm kvm none scenario-lacks',
    'stateful-vtpm kvm stateful runs',
    'stateful-vtpm tcg stateful runs',
    'stateless-vtpm tcg none scenario-lacks',
    'stateless-vtpm tcg stateful scenario-lacks',
  ])
  t.same(
    await found({ vtpms: ['stateful'], patterns: ['boot'] }),
    ['first-command tcg stateful runs'],
    'flags narrow',
  )
  t.same(await found({ vtpms: ['none'], patterns: ['encrypted-root'] }), [
    'stateful-vtpm kvm none scenario-lacks',
  ])
  const { points } = await planFile(t, text, BIG)
  t.match(points.find(({ id }) => id === 'encrypted-root/stateless-vtpm')?.skip, {
    message: 'encrypted-root/stateless-vtpm runs with vtpm stateless, the matrix names none',
  })
  const unasked = await planOf({ patterns: ['encrypted-root/stateless-vtpm'], vtpms: ['none'] })
  t.same(unasked.points, [], 'a flag alone selects')
})

const numbers = (count: number, unit = '') =>
  Array.from({ length: count }, (_, i) => `${i + 1}${unit}`).join(', ')
const WRONG: readonly (readonly [what: string, text: string, message: RegExp])[] = [
  [
    'a scenario that there is not',
    'scenarios: [boot, encrypted-rot]',
    /^\S+:1:19: no scenario matches "encrypted-rot"/,
  ],
  [
    'a mark of a scenario that there is not',
    'marks:\n  - { match: { scenario: bot }, unstable: x }',
    /^\S+:2:26: no scenario/,
  ],
  [
    'firmware that there is not',
    'axes: { firmware: [ovmf, omvf] }',
    /^\S+:1:26: no firmware is called "omvf"/,
  ],
  ['an image that there is not', 'include:\n  - { image: debain }', /^\S+:2:14: there is no image "debain"/],
  [
    'a billion variants',
    `axes: { vcpus: [${numbers(1000)}], memory: [${numbers(1000, 'M')}], platform: [tcg, kvm, sev, sev-es, sev-snp, tdx], firmware: [ovmf, ovmf-secboot, ovmf-amdsev, ovmf-inteltdx, ovmf-combined, ovmf-secboot-ms] }`,
    /^\S+:1:7: the axes span \d,\d{3},\d{3},\d{3} variants of \d+ scenarios, at most 100,000 are possible/,
  ],
  [
    'more than the budget allows',
    'scenarios: [boot]\naxes: { platform: [tcg], vcpus: [1, 2] }\nbudget: { variants: 3 }',
    /m\.yaml: the plan has 4 variants, its budget allows 3/,
  ],
]
for (const [what, text, message] of WRONG)
  t.test(`${what}: refused`, async (t) => {
    await t.rejects(planFile(t, text), { code: 'bad-config', message })
  })
