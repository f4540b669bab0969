import t from 'tap'
import type { PlanRequest } from './planning.ts'
import type { OfficeSpec } from './testing/office.ts'
import { planFile } from './testing/planned.ts'

t.test('what TEEs are emulated on is refused where nothing would be emulated on it', async (t) => {
  const on = (emulatedOn: 'tcg' | 'kvm', patterns: readonly string[], platforms?: PlanRequest['platforms']) =>
    planFile(t, 'title: all', { patterns, emulatedOn, ...(platforms && { platforms }) })
  const refused = (message: RegExp) => ({ code: 'bad-value', message })
  const noTee = /^boot\/first-command has no variant on .* could emulate: it is about no TEE$/
  await t.rejects(on('tcg', ['boot/first-command'], ['sev-snp']), refused(noTee), 'it would be the real one')
  await t.rejects(on('kvm', ['boot/first-command']), refused(noTee))
  await t.rejects(on('kvm', ['attest/runtime', 'boot']), refused(noTee), 'one of several')
  for (const plain of ['tcg', 'kvm'] as const)
    await t.rejects(on('tcg', ['attest/runtime'], [plain]), refused(/platform \w+ is none$/))
  await t.rejects(on('tcg', ['attest/runtime'], ['sev']), refused(/on sev that .* it is about sev-snp and/))
  const { points } = await on('tcg', ['attest/runtime'], ['sev-snp'])
  t.ok(points.length > 0)
  for (const { variant } of points) t.match(variant, { platform: 'sev-snp', emulatedOn: 'tcg' })
  const own = await planFile(t, 'axes: { platform: [kvm] }\nscenarios: [attest/runtime]', {
    emulatedOn: 'tcg',
  }).catch((error: unknown) => error)
  t.match(own, refused(/attest\/runtime has no variant on /), 'the axes of a matrix name a plain one')
})

t.test('a flag that names none of the platforms of the axes leaves no TEE', async (t) => {
  const text = 'scenarios: [attest/runtime]\naxes: { platform: [sev-snp] }\ninclude: [{ platform: tdx }]'
  const platformsOf = async (request: Partial<PlanRequest>) =>
    new Set((await planFile(t, text, request)).points.map(({ variant }) => variant.platform))
  t.same(await platformsOf({ platforms: ['tdx'] }), new Set(['tdx']))
  t.same(await platformsOf({ platforms: ['sev-snp'] }), new Set(['sev-snp']))
})

t.test('a named TEE that a matrix leaves out where it is emulated is skipped and says so', async (t) => {
  const text = `
scenarios: [attest/runtime, boot/first-command]
exclude:
  - { scenario: attest/runtime, platform: sev-snp, emulated: true }
  - { scenario: attest/runtime, platform: tdx }
`
  const found = async (request: Partial<PlanRequest>, ...usable: NonNullable<OfficeSpec['usable']>) =>
    (await planFile(t, text, { patterns: ['attest'], ...request }, { usable })).points.map(
      ({ variant, skip }) => [variant.platform, skip?.code ?? 'runs'].join(' '),
    )
  const job = { platforms: ['sev-snp'] } as const
  t.same(new Set(await found({ ...job, anyHost: true }, 'tcg')), new Set(['sev-snp runs']), 'a plan for CI')
  t.same(new Set(await found(job, 'tcg', 'sev-snp')), new Set(['sev-snp runs']), 'its job')
  t.same(new Set(await found(job, 'tcg')), new Set(['sev-snp hardware-required']), 'on another runner')
  t.same(
    new Set(await found({ ...job, emulatedOn: 'tcg' }, 'tcg', 'sev-snp')),
    new Set(['sev-snp hardware-required']),
  )
  t.same(await found({}, 'tcg'), [], 'nobody named it')
  t.same(await found({ platforms: ['tdx'] }, 'tcg'), [], 'it is left out wherever it runs')
})
