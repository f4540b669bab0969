import t from 'tap'
import { parse } from 'yaml'
import { HostError } from '../base/errors.ts'
import { platform } from '../platforms/platforms.ts'
import type { Variant } from '../run/events.ts'
import { isInShard } from '../run/matrix/shard.ts'
import type { PlannedPoint } from '../run/plan.ts'
import type { RunPlan } from '../run/planning.ts'
import { defineScenario } from '../run/scenario.ts'
import { ciMatrix } from './ci-matrix.ts'

const VARIANT: Variant = {
  ...{ platform: 'tcg', vtpm: 'none', firmware: 'ovmf', image: 'mine' },
  ...{ qemu: 'tools', vcpus: 1, memoryMiB: 512 },
}
const scenario = defineScenario({
  ...{ title: 'a test', images: ['micro'], vtpms: ['none'], run: async () => {} },
  needs: { secureBoot: false, persistentVariables: false, image: [] },
  budget: { vcpus: 1, memoryMiB: 64, seconds: 5 },
  claims: { opens: { claim: 'it opens' } },
})

function pointOf(id: string, vcpus: number): PlannedPoint {
  const found = { id, scenario }
  return {
    ...{ key: `${id}@${vcpus}`, asked: `${id}@${vcpus}`, id, found },
    variant: { ...VARIANT, vcpus },
    platform: platform('tcg'),
  }
}

function planOf(points: readonly PlannedPoint[]): RunPlan {
  return {
    ...{
      points,
      leftOut: { excluded: 0, pairwise: 0, otherShards: 0 },
      expired: [],
      budget: {},
      title: undefined,
    },
    room: { vcpus: 1, memoryMiB: 1, diskMiB: 1, sev: 0, sev_es: 0, tdx: 0 },
    qemu: async () => Promise.reject(new Error('starts nothing')),
  }
}

t.test('GitHub: one line of JSON, a job a variant that runs, each value quoted for a shell', async (t) => {
  const brought = { ...pointOf('boot/a', 2), imageFile: "/disks/it's mine.yaml" }
  const skipped = { ...pointOf('boot/b', 1), skip: new HostError('x', { code: 'image-lacks' }) }
  const options = { format: 'github', patterns: [], matrix: 'my nightly.yaml' } as const
  const text = ciMatrix(planOf([pointOf('boot/a', 1), brought, skipped]), options)
  t.match(text, /^[^\n]+\n$/)
  const { include } = JSON.parse(text)
  t.same(include[1], {
    name: 'boot/a (2 vCPUs)',
    args: `run boot/a --matrix 'my nightly.yaml' --platform tcg --vtpm none --firmware ovmf --image '/disks/it'\\''s mine.yaml' --qemu tools --vcpus 2 --memory 512M`,
    ...{ scenario: 'boot/a', ...VARIANT, vcpus: 2 },
  })
  t.equal(include.length, 2)
  const tee = {
    ...pointOf('attest/a', 1),
    variant: { ...VARIANT, platform: 'tdx', emulatedOn: 'tcg' },
  } as const
  const emulated = JSON.parse(ciMatrix(planOf([tee]), options))
  t.match(emulated.include[0].args, / --platform tdx --emulated-on tcg /, 'its runner may have the TEE')
})

t.test('GitHub takes 256 jobs: more are refused with what helps, and shards are fewer', async (t) => {
  const many = planOf(Array.from({ length: 257 }, (_, number) => pointOf('boot/a', number + 1)))
  const options = { format: 'github', patterns: ['boot'], matrix: 'm.yaml', pairwise: true } as const
  t.throws(() => ciMatrix(many, options), {
    code: 'bad-value',
    message: /257 jobs, GitHub takes at most 256/,
  })
  const { include } = JSON.parse(ciMatrix(many, { ...options, shards: 4 }))
  t.same(include[1].args, 'run boot --matrix m.yaml --pairwise --shard 2/4')
  t.equal(
    include.reduce((sum: number, { variants }: { variants: number }) => sum + variants, 0),
    257,
  )
  for (const [number, { variants }] of include.entries())
    t.equal(variants, many.points.filter((point) => isInShard(point, { index: number + 1, count: 4 })).length)
  const one = JSON.parse(ciMatrix(planOf([pointOf('boot/a', 1)]), { ...options, shards: 4 }))
  t.equal(one.include.length, 4, 'what is empty for the planner may not be so where it runs')
})

t.test(
  'GitLab: a child pipeline with a job a variant, whose names are no longer than it allows',
  async (t) => {
    const long = `boot/${'x'.repeat(400)}`
    const text = ciMatrix(planOf([pointOf('boot/a', 1), pointOf(long, 1), pointOf(`${long}y`, 1)]), {
      ...{ format: 'gitlab', patterns: [] },
    })
    const jobs = Object.entries(parse(text) as Record<string, { script: string[] }>)
    t.equal(jobs.length, 3)
    for (const [name, { script }] of jobs) {
      t.ok(name.length <= 255)
      t.match(script[0], /^scripts\/attestbed run boot\//)
    }
  },
)
