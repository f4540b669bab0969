import t from 'tap'
import type { ImageDescription } from '../materials/image-description.ts'
import { platform } from '../platforms/platforms.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import { type FoundScenario, loadScenarios, selectIds } from './discover.ts'
import type { VtpmKind } from './events.ts'
import { plan } from './plan.ts'
import { defineScenario } from './scenario.ts'

const image = (id: string, capabilities: ImageDescription['capabilities']): ImageDescription => ({
  ...{ id, title: id, origin: 'built', file: `/images/${id}/image.yaml`, secureBoot: 'checkout' },
  login: { kind: 'automatic', loginPrompt: 'login:', passwordPrompt: 'assword:', shellPrompt: '# $' },
  ...{
    shutDown: 'poweroff',
    reboot: 'reboot',
    timeouts: { bootSeconds: 1, shutDownSeconds: 1 },
    capabilities,
  },
})
const debian = image('debian', new Set(['login', 'luks-root']))
const build: FirmwareBuild = {
  ...{ id: 'ovmf-secboot', title: '', package: 'ovmf', path: 'x.fd', load: 'pflash', variables: 'y.fd' },
  ...{ keys: 'none', features: ['secure-boot', 'smm', 'persistent-variables', 'measures-into-tpm'] },
}
const host = {
  report: {
    facts: [{ id: 'firmware-ovmf-secboot', status: 'yes' as const, proof: '', hint: '' }],
    platforms: { tcg: { usable: true }, kvm: { usable: false, reason: '/dev/kvm is missing' } },
  },
  firmware: [build],
}
const found: FoundScenario = {
  id: 'encrypted-root/opens',
  scenario: defineScenario({
    ...{ title: 'opens', images: ['debian'], vtpms: ['stateful', 'stateless'] },
    needs: { secureBoot: true, persistentVariables: false, image: ['luks-root'] },
    budget: { vcpus: 1, memoryMiB: 512, seconds: 10 },
    claims: { opens: { claim: 'it opens' } },
    run: async () => {},
  }),
}
const describe = () => debian

t.test('a scenario spans its own axes, and the user narrows them', async (t) => {
  const all = plan([found], { platforms: [platform('tcg')] }, { host, describe })
  t.same(
    all.map(({ variant }) => variant.vtpm),
    ['stateful', 'stateless'],
  )
  const one = plan(
    [found],
    { platforms: [platform('tcg')], vtpms: ['stateless', 'none'] },
    { host, describe },
  )
  t.same(
    one.map(({ variant }) => variant),
    [
      {
        ...{ platform: 'tcg', vtpm: 'stateless', firmware: 'ovmf-secboot', image: 'debian' },
        ...{ qemu: 'tools', vcpus: 1, memoryMiB: 512 },
      },
    ],
  )
  t.equal(one[0]?.skip, undefined)
})

t.test('QEMU, vCPUs and memory are axes; keys name them where they are not the usual ones', async (t) => {
  const elsewhere = { report: { ...host.report, platforms: { tcg: { usable: false, reason: 'too old' } } } }
  const qemus = [
    { id: 'tools', host },
    { id: '/opt/qemu', host: { ...host, ...elsewhere } },
  ]
  const axes = {
    platforms: [platform('tcg')],
    vtpms: ['stateful' as const],
    qemus,
    vcpus: [1, 2],
    memoryMiB: [256, 512],
  }
  const room = { vcpus: 1, memoryMiB: 1e6, diskMiB: 1e6, sev: 0, sev_es: 0, tdx: 0 }
  const points = plan([found], axes, { host, describe, room })
  const skips = Object.fromEntries(
    points.map(({ key, skip }) => [key.split('debian')[1], skip && `${skip.code}: ${skip.message}`]),
  )
  t.match(skips, {
    '': undefined,
    ',memory=256M': /^below-need: encrypted-root\/opens needs 512 MiB of memory, the variant has 256/,
    ',vcpus=2': /^not-enough-cores: a VM with 2 vCPUs does not fit: 1 cores may be used/,
    ',qemu=/opt/qemu': /^platform-unusable: .* with QEMU \/opt\/qemu: too old/,
  })
  t.equal(points.length, 8)
  const anywhere = plan([found], axes, { host, describe, room, anyHost: true })
  t.equal(
    anywhere.filter(({ skip }) => skip === undefined).length,
    4,
    'what this host lacks is not asked for',
  )
})

t.test('a platform that the host cannot run is a skip with the missing fact', async (t) => {
  const [point] = plan([found], { platforms: [platform('kvm')] }, { host, describe })
  t.match(point?.skip, { code: 'platform-unusable', message: /kvm.*\/dev\/kvm is missing/ })
})

t.test('an image without what the scenario needs is a skip that names it', async (t) => {
  const bare = image('mine', new Set(['login']))
  const [point] = plan([found], { platforms: [platform('tcg')], images: [bare] }, { host, describe })
  t.match(point?.skip, { code: 'image-lacks', message: /image mine lacks luks-root/ })
})

t.test('firmware without Secure Boot is a skip where the scenario needs it', async (t) => {
  const open: FirmwareBuild = { ...build, id: 'ovmf', features: ['persistent-variables'] }
  const [point] = plan([found], { platforms: [platform('tcg')], firmware: [open] }, { host, describe })
  t.match(point?.skip, { code: 'platform-unusable', message: /Secure Boot/ })
})

t.test('firmware that measures into no TPM is a skip where a vTPM is the point', async (t) => {
  const deaf: FirmwareBuild = { ...build, id: 'deaf', features: ['secure-boot', 'persistent-variables'] }
  const facts = [...host.report.facts, { ...host.report.facts[0], id: 'firmware-deaf' }]
  const stock = { report: { ...host.report, facts: facts as typeof host.report.facts }, firmware: [deaf] }
  const axes = { platforms: [platform('tcg')], firmware: [deaf] }
  const skips = (vtpms: readonly VtpmKind[]) =>
    plan([{ ...found, scenario: { ...found.scenario, vtpms } }], axes, { host: stock, describe }).map(
      ({ skip }) => skip?.message.replace(/^.*: /, '') ?? 'runs',
    )
  t.same(skips(['stateful']), ['deaf measures nothing into a TPM'])
  t.same(skips(['stateful', 'none']), ['runs', 'runs'], 'a guest that does without may have one')
})

t.test(
  "a brought disk with Microsoft's keys gets firmware that has them, and is skipped without",
  async (t) => {
    const theirs = { ...debian, id: 'theirs', secureBoot: 'microsoft' as const }
    const ms: FirmwareBuild = { ...build, id: 'ovmf-secboot-ms', keys: 'microsoft' }
    const facts = [
      ...host.report.facts,
      { ...host.report.facts[0], id: 'firmware-ovmf-secboot-ms' },
    ] as typeof host.report.facts
    const withMs = { report: { ...host.report, facts }, firmware: [build, ms] }
    const axes = { platforms: [platform('tcg')], images: [theirs] }
    const [point] = plan([found], axes, { host: withMs, describe })
    t.equal(point?.firmware?.id, 'ovmf-secboot-ms')
    t.match(plan([found], axes, { host, describe })[0]?.skip, {
      code: 'platform-unusable',
      message: /ovmf-secboot comes with keys of none, not of microsoft/,
    })
    const [own] = plan([found], { platforms: [platform('tcg')] }, { host: withMs, describe })
    t.equal(own?.firmware?.id, 'ovmf-secboot', 'ours are enrolled')
    const needs = { ...found.scenario.needs, firmwareKeys: 'microsoft' as const }
    const behindShim = { ...found, scenario: { ...found.scenario, needs } }
    const [shim] = plan([behindShim], { platforms: [platform('tcg')] }, { host: withMs, describe })
    t.equal(shim?.firmware?.id, 'ovmf-secboot-ms', 'a scenario with shim asks for them, too')
  },
)

t.test('a disk that boots without Secure Boot does not serve a scenario that needs it', async (t) => {
  const open = { ...debian, id: 'open', secureBoot: 'off' as const }
  const [point] = plan([found], { platforms: [platform('tcg')], images: [open] }, { host, describe })
  t.match(point?.skip, { code: 'image-lacks', message: /image open lacks Secure Boot \(secureBoot: off\)/ })
})

t.test('patterns: an id, a folder, a glob, a path; a typo names what was meant', async (t) => {
  const ids = ['boot/first-command', 'encrypted-root/extra-db-key', 'encrypted-root/stateful-vtpm']
  t.same(selectIds(ids, []), ids)
  t.same(selectIds(ids, ['encrypted-root']), ids.slice(1))
  t.same(selectIds(ids, ['*vtpm', 'boot/first-command']), [ids[0], ids[2]])
  t.same(selectIds(ids, ['scenarios/boot/first-command.ts']), [ids[0]])
  t.throws(() => selectIds(ids, ['encrypted']), { code: 'unknown-scenario' })
  const meant = {
    code: 'unknown-scenario' as const,
    hint: 'did you mean encrypted-root/stateful-vtpm? (attestbed list names them all)',
  }
  t.throws(() => selectIds(ids, ['stateful-vptm']), meant)
})

t.test('a scenario file that is wrong is wrong usage, with its place', async (t) => {
  const directory = t.testdir({
    a: {
      'syntax.ts': '\nexport const scenario = {{\n',
      'throws.ts': 'const a: any = undefined\n\nexport const scenario = a.b.c\n',
      'empty.ts': 'export {}\n',
      'homemade.ts': 'export const scenario = {}\n',
    },
  })
  const rejects = (name: string, message: RegExp) =>
    t.rejects(loadScenarios([`a/${name}`], directory), { code: 'bad-scenario', message }, name)
  await rejects('syntax', /^cannot load \S+syntax\.ts:2: .*Unexpected token/)
  await rejects('throws', /^cannot load \S+throws\.ts:3:27: TypeError/)
  await rejects('empty', /empty\.ts exports no `scenario`/)
  await rejects('homemade', /defineScenario has not made/)
})
