import t from 'tap'
import { displayWidth } from '../base/text.ts'
import { paletteFor } from './palette.ts'
import { type PlanEntry, planText } from './plan-text.ts'
import { HOSTILE, VARIANT } from './testing/fake-run.ts'

const palette = paletteFor({ isTTY: false })
const entry = (vcpus: number, rest: Partial<PlanEntry> = {}): PlanEntry => {
  return { scenario: 'x/one', variant: { ...VARIANT, vcpus }, ...rest }
}
const lacks = (vcpus: number) =>
  entry(vcpus, { skip: { code: 'image-lacks', reason: HOSTILE, hint: 'get one' } })
const VIEW = {
  title: 'a night',
  entries: [entry(1), entry(2, { unstable: 'now and then' }), ...[3, 4, 5, 6, 7].map(lacks)],
  leftOut: { excluded: 3, pairwise: 0, otherShards: 2 },
  expired: [{ place: 'm.yaml:3:5', reason: 'old', until: '2026-01-01', variants: 2 }],
  room: { vcpus: 2, memoryMiB: 1000, diskMiB: 2000, sev: 0, sev_es: 0, tdx: 0 },
}

t.test('a plan says what runs, each reason to skip once, and what was left out', async (t) => {
  const text = planText(VIEW, { palette, width: 200 })
  t.match(text, /x\/one\n {4}run {2}tcg, stateful vTPM, ovmf, debian, 1 vCPU, 1024 MiB\n/)
  t.match(text, /2 vCPUs, 1024 MiB, unstable: now and then\n/)
  t.match(text, /skip 5 for image-lacks: ok 1 - forged\n +hint: get one\n/)
  t.match(text, 'and 2 more; --json lists them all')
  t.match(text, '2 to run (1 marked unstable), 5 skipped, 3 excluded, 2 in other shards\n')
  t.match(text, 'All VMs together may take 2 cores, 1000 MiB of memory, 2000 MiB of disk.\n')
  t.match(text, /^Out of date: m\.yaml:3:5: "old" skipped 2 variants until 2026-01-01/m)
})

t.test('a plan fits its width and drives no terminal', async (t) => {
  for (const width of [40, 60, 80])
    for (const line of planText(VIEW, { palette, width }).split('\n')) t.ok(displayWidth(line) <= width, line)
  t.notMatch(planText(VIEW, { palette, width: 80 }), /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/)
})
