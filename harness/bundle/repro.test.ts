import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { sha256Hex } from '../base/digest.ts'
import { syntheticPe } from '../formats/testing/pe-file.ts'
import type { MaterialInput } from '../materials/bill.ts'
import type { ScenarioResult } from '../run/events.ts'
import type { RunRequest } from '../run/program.ts'
import { fakeOffice, type OfficeSpec } from '../run/testing/office.ts'
import { Scope } from '../system/scope.ts'
import { openBundle } from './read.ts'
import { planRepro, reproduce } from './repro.ts'
import { signatureOf } from './signature.ts'
import { bundleOf, type FakeEntry, fakePoint, RESULT } from './testing/fake-point.ts'

const FIRMWARE_HERE = Buffer.from('the firmware of this host')
const KERNEL_HERE = { role: 'kernel', path: '/none', sha256: '3'.repeat(64) } as const
const INITRD_HERE = { role: 'initrd', path: '/none', sha256: '4'.repeat(64) } as const

interface Case {
  readonly entries?: readonly FakeEntry[]
  readonly changes?: object
  readonly host?: OfficeSpec
}

/** A plan for a bundle with these changes, on a host whose tools have one firmware file for all builds. */
async function planned({ entries = [], changes = {}, host = {} }: Case) {
  const { runs } = await fakePoint()
  t.teardown(() => rm(runs, { recursive: true }))
  const [file, firmware] = [join(runs, 'x.attestbed'), join(runs, 'firmware-here.fd')]
  await writeFile(file, bundleOf(entries, changes))
  await writeFile(firmware, FIRMWARE_HERE)
  const scope = new Scope('test')
  t.teardown(() => scope.close())
  const bundle = await openBundle(scope, file)
  const office = await fakeOffice(host)
  const materials: readonly MaterialInput[] = [KERNEL_HERE, INITRD_HERE]
  const shelf = {
    describe: (id: string) => office.shelf.describe(id),
    open: async () => ({ materials }),
  } as unknown as typeof office.shelf
  const tools = { path: () => firmware, digest: '1'.repeat(64) } as unknown as typeof office.tools
  return { bundle, plan: await planRepro(bundle, { ...office, shelf, tools }) }
}

const entryOf = (path: string, content: Uint8Array) => ({ path, content })
const materialOf = (role: string, content: Uint8Array, member?: string) => ({
  ...{ role, name: 'a file', bytes: content.length, sha256: sha256Hex(content) },
  ...(member !== undefined && { member }),
})

t.test('the scenario of this checkout runs on the variant of the bundle, with its seed', async (t) => {
  const sampling = { seed: 7, states: { first: 36, last: 1e6 }, order: 'f62a05c2' }
  const { plan } = await planned({ changes: { sampling, argv: ['run', '--qemu', '/tmp/evil'] } })
  const seen: RunRequest[] = []
  const here = { ...RESULT, seconds: 1, dir: '/x' }
  const done = await reproduce(plan, { signal: AbortSignal.any([]), onEvent: () => {} }, async (request) => {
    seen.push(request)
    return { results: [here] }
  })
  t.equal(done.comparison, 'same failure')
  t.match(seen, [
    {
      ...{ patterns: ['boot/first-command'], platforms: ['tcg'], vtpms: ['stateful'], images: ['micro'] },
      ...{
        firmware: ['ovmf-secboot'],
        qemus: ['tools'],
        vcpus: [1],
        memoryMiB: [512],
        sampling,
        keep: false,
      },
    },
  ])
  t.notOk(JSON.stringify(seen).includes('evil'), 'its argv is not run')
})

t.test('what happened here is told apart', async (t) => {
  const { plan } = await planned({ changes: {} })
  const run = async (result: Partial<ScenarioResult>) => {
    const rest = { signal: AbortSignal.any([]), onEvent: () => {} }
    return (await reproduce(plan, rest, async () => ({ results: [{ ...RESULT, ...result }] }))).comparison
  }
  t.equal(await run({ outcome: 'pass', reason: '', claims: [] }), 'not tried', 'it decided nothing')
  t.equal(
    await run({ claims: RESULT.claims.map((claim) => ({ ...claim, got: 'other' })) }),
    'another failure',
  )
  t.equal(await run({ outcome: 'error', reason: 'boot: late', claims: [] }), 'not tried')
  await t.rejects(
    reproduce(plan, { signal: AbortSignal.any([]), onEvent: () => {} }, async () => ({ results: [] })),
    { code: 'scenario-lacks' },
  )
})

t.test('a bundle of what did not fail is refused', async (t) => {
  for (const outcome of ['pass', 'skip'] as const) {
    const signature = signatureOf({ ...RESULT, outcome, reason: '', claims: [] }, '')
    await t.rejects(planned({ changes: { signature } }), { code: 'bad-value', message: /a fail or an error/ })
  }
})

t.test('a firmware that differs is the one of the bundle; the same one is not swapped', async (t) => {
  const theirs = Buffer.from('the firmware of a stranger')
  const member = 'materials/firmware-x'
  const carried = await planned({
    entries: [entryOf(member, theirs)],
    changes: { materials: [materialOf('firmware', theirs, member)] },
  })
  t.equal(carried.plan.request.swaps?.firmware?.code, carried.bundle.member(member))
  t.match(carried.plan.words, [/./, /firmware: differs.*the bundle's is used/])
  const same = await planned({ changes: { materials: [materialOf('firmware', FIRMWARE_HERE)] } })
  t.same(same.plan.request.swaps, {})
  const lost = await planned({ changes: { materials: [materialOf('firmware', theirs)] } })
  t.same(lost.plan.request.swaps, {})
  t.match(lost.plan.words, [/./, /differs.*not used: it is not carried/])
  t.match(lost.plan, { unlike: ['firmware'], cannot: [/firmware: differs/] }, 'and nobody overlooks it')
  t.same([carried.plan.unlike, same.plan.unlike], [[], []])
  const two = [materialOf('firmware', theirs), materialOf('firmware', FIRMWARE_HERE)]
  t.match((await planned({ changes: { materials: two } })).plan.unlike, ['firmware'])
  const disk = await planned({
    changes: { materials: [materialOf('kernel', theirs), materialOf('shim', theirs)] },
  })
  t.match(disk.plan, { unlike: ['kernel'], words: [/./, /firmware/, /kernel/, /not compared.*: shim/] })
  const altered = await planned({
    entries: [entryOf(member, Buffer.from('the firmware of a ********'))],
    changes: { materials: [materialOf('firmware', theirs, member)] },
  })
  t.same(altered.plan.request.swaps, {}, 'one in which something was masked is not what failed')
})

t.test(
  'kernel and initrd that differ come out of the carried UKI, where they are those of the bill',
  async (t) => {
    const [kernel, initrd] = [Buffer.from('a kernel'), Buffer.from('an initrd')]
    const uki = syntheticPe({
      sections: [
        { name: '.linux', content: kernel },
        { name: '.initrd', content: initrd },
      ],
    })
    const bundle = (kernelOfBill: Uint8Array) => ({
      entries: [entryOf('materials/uki-x', uki)],
      changes: {
        materials: [
          materialOf('uki', uki, 'materials/uki-x'),
          materialOf('kernel', kernelOfBill),
          materialOf('initrd', initrd),
        ],
      },
    })
    const { plan } = await planned(bundle(kernel))
    t.match(plan.request.swaps?.kernel, { image: /kernel-of-uki$/, initrd: /initrd-of-uki$/ })
    t.same((await planned(bundle(Buffer.from('another')))).plan.request.swaps, {})
  },
)

t.test('no path of a bundle is one that is run here', async (t) => {
  const variant = { ...RESULT.variant, qemu: '/tmp/evil/qemu-system-x86_64' }
  const { plan } = await planned({ changes: { variant } })
  t.equal(plan.variant.qemu, 'tools')
  t.match(plan.words.join('\n'), /theirs was \/tmp\/evil/)
})

t.test('an image of a bundle is an id, never a file that describes one', async (t) => {
  for (const image of ['x.yaml', 'x.YML']) {
    const changes = { variant: { ...RESULT.variant, image } }
    await t.rejects(planned({ changes }), { name: 'FormatError', message: /no file/ })
  }
})

t.test('where the platform cannot be used, it says which claims cannot be reproduced', async (t) => {
  const variant = { ...RESULT.variant, platform: 'sev-snp' }
  const claims = [{ id: 'digest', basis: 'hardware', outcome: 'fail' }]
  const { plan } = await planned({ changes: { variant, claims }, host: { usable: ['tcg'] } })
  t.equal(plan.variant.platform, 'tcg')
  t.match(plan.cannot, [/tcg, since sev-snp cannot be used here/, /claim digest rested on hardware/])
})

t.test('what was emulated is emulated here, too, whatever the host has', async (t) => {
  const variant = { ...RESULT.variant, platform: 'sev-snp', emulatedOn: 'kvm' }
  const on = async (...usable: ('tcg' | 'kvm' | 'sev-snp')[]) =>
    (await planned({ changes: { variant }, host: { usable } })).plan
  const there = await on('tcg', 'kvm', 'sev-snp')
  t.match(there, { variant: { platform: 'sev-snp', emulatedOn: 'kvm' }, cannot: [] })
  const here = await on('tcg', 'sev-snp')
  t.match(here, { variant: { emulatedOn: 'tcg' }, cannot: [/emulated on tcg, since kvm cannot be used/] })
  const rest = { signal: AbortSignal.any([]), onEvent: () => {} }
  await reproduce(here, rest, async (request) => {
    t.match(request, { platforms: ['sev-snp'], emulatedOn: 'tcg' })
    return { results: [{ ...RESULT, variant: here.variant }] }
  })
})

t.test('what ran on another platform than planned is no reproduction', async (t) => {
  const variant = { ...RESULT.variant, platform: 'sev-snp', emulatedOn: 'tcg' } as const
  const { plan } = await planned({ changes: { variant } })
  const rest = { signal: AbortSignal.any([]), onEvent: () => {} }
  const { emulatedOn: _, ...real } = variant
  for (const ran of [
    real,
    { ...variant, emulatedOn: 'kvm' as const },
    { ...variant, platform: 'tdx' as const },
  ])
    await t.rejects(
      reproduce(plan, rest, async () => ({ results: [{ ...RESULT, variant: ran }] })),
      { code: 'scenario-lacks', message: /sev-snp emulated on tcg is required$/ },
    )
})

t.test('a TEE that cannot be used here is emulated, and the plan says on what', async (t) => {
  const variant = { ...RESULT.variant, platform: 'sev-snp', vtpm: 'none' }
  const scenario = { id: 'attest/runtime', title: '' }
  const { plan } = await planned({ changes: { variant, scenario }, host: { usable: ['tcg', 'tdx'] } })
  t.match(plan.variant, { platform: 'sev-snp', emulatedOn: 'tcg' })
  t.match(plan.cannot, [/sev-snp emulated on tcg, since/])
})

t.test('what this checkout does not have is said, and nothing is run in its place', async (t) => {
  const scenario = { id: 'planted/no-such', title: '', sourceSha256: '5'.repeat(64) }
  await t.rejects(planned({ changes: { scenario } }), { code: 'unknown-scenario', hint: /never run/ })
  const variant = { ...RESULT.variant, firmware: 'no-such' }
  await t.rejects(planned({ changes: { variant } }), { code: 'bad-value', message: /no-such/ })
  await t.rejects(planned({ changes: { variant: { ...RESULT.variant, image: 'no-such' } } }), {
    code: 'unknown-image',
  })
})
