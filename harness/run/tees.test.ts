/** Scenarios about TEEs: on which platforms they are planned, and what their claims rest on. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HostError, MaterialError, UsageError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { emulatedPlatform } from '../platforms/emulated/emulated-platform.ts'
import type { EmulatedProcessor } from '../platforms/emulated/processor.ts'
import { platform } from '../platforms/platforms.ts'
import type { PlatformVerdict } from '../probe/facts.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import { ClaimBook } from '../verdict/claims.ts'
import { alteredFirmware } from './altered-firmware.ts'
import type { FoundScenario } from './discover.ts'
import type { LabSpec } from './lab-spec.ts'
import { type Axes, type PlanContext, plan } from './plan.ts'
import { defineScenario, type Tee } from './scenario.ts'
import { requireOwnFirmware, StandInFirmware } from './stand-in-firmware.ts'
import { VmTee } from './tee.ts'
import { verifyTeeEvidence } from './tee-evidence.ts'
import { TeeHost } from './tee-host.ts'

const image: ImageDescription = {
  ...{
    id: 'micro',
    title: 'micro',
    origin: 'built',
    file: '/images/micro/image.yaml',
    secureBoot: 'checkout',
  },
  login: { kind: 'automatic', loginPrompt: 'login:', passwordPrompt: 'assword:', shellPrompt: '# $' },
  ...{ shutDown: 'poweroff', reboot: 'reboot', timeouts: { bootSeconds: 1, shutDownSeconds: 1 } },
  capabilities: new Set(['login']),
}
const build = (id: string, features: FirmwareBuild['features']): FirmwareBuild => ({
  ...{ id, title: '', package: 'ovmf', path: `${id}.fd`, load: 'bios', keys: 'none', features },
})
const firmware = [
  build('amdsev', ['measures-into-tpm', 'sev-snp']),
  build('inteltdx', ['tdx', 'tdvf']),
  build('combined', ['measures-into-tpm', 'tdvf']),
]
const facts = firmware.map(({ id }) => ({
  id: `firmware-${id}`,
  status: 'yes' as const,
  proof: '',
  hint: '',
}))

function contextOf(platforms: Readonly<Record<string, PlatformVerdict>>): PlanContext {
  return { host: { report: { facts, platforms }, firmware }, describe: () => image }
}

const LAPTOP = contextOf({ tcg: { usable: true }, kvm: { usable: true } })
const WITHOUT_KVM = contextOf({ tcg: { usable: true } })
const SNP_HOST = contextOf({ tcg: { usable: true }, 'sev-snp': { usable: true } })

function found(tees: readonly Tee[]): FoundScenario {
  return {
    id: 'attest/evidence',
    scenario: defineScenario({
      ...{ title: 'evidence', images: ['micro'], vtpms: ['none'], tees },
      needs: { secureBoot: false, persistentVariables: false, image: ['login'] },
      budget: { vcpus: 1, memoryMiB: 512, seconds: 10 },
      claims: { given: { claim: 'it is given' } },
      run: async () => {},
    }),
  }
}

const OWN = { platforms: [platform('tcg')], isOwnPlatform: true } as const

function planned(context: PlanContext, axes: Axes = OWN): readonly string[] {
  return plan([found(['sev-snp', 'tdx'])], axes, context).map(({ variant, firmware: chosen, skip }) => {
    const on = variant.emulatedOn === undefined ? '' : ` on ${variant.emulatedOn}`
    return `${variant.platform}${on}, ${skip?.code ?? chosen?.id}`
  })
}

t.test(
  'a TEE is the real one where the host has it, else an emulated one on the best plain platform',
  async (t) => {
    t.strictSame(planned(LAPTOP), ['sev-snp on kvm, amdsev', 'tdx on kvm, combined'])
    t.strictSame(planned(WITHOUT_KVM), ['sev-snp on tcg, amdsev', 'tdx on tcg, combined'])
    t.strictSame(planned(SNP_HOST), ['sev-snp, amdsev', 'tdx on tcg, combined'])
  },
)

t.test('the user narrows the TEEs, and says what emulated ones run on', async (t) => {
  t.strictSame(planned(SNP_HOST, { platforms: [platform('tdx')] }), ['tdx on tcg, combined'])
  const onTcg = { platforms: [platform('tcg')] }
  t.strictSame(planned(SNP_HOST, onTcg), ['sev-snp on tcg, amdsev', 'tdx on tcg, combined'])
  t.strictSame(planned(LAPTOP, { platforms: [platform('sev')] }), ['sev, scenario-lacks'])
  const emulated = { platforms: [platform('sev-snp')], emulatedOn: platform('tcg') }
  for (const context of [SNP_HOST, LAPTOP])
    t.strictSame(planned(context, emulated), ['sev-snp on tcg, amdsev'], 'whatever the host has')
})

t.test('without any platform, and for another host, the TEE itself is planned', async (t) => {
  t.strictSame(planned(contextOf({})), ['sev-snp, platform-unusable', 'tdx, platform-unusable'])
  t.strictSame(planned({ ...LAPTOP, anyHost: true }), ['sev-snp, amdsev', 'tdx, inteltdx'])
})

t.test(
  'Secure Boot under a vTPM is planned on a stand-in where a TEE is emulated, and on no TEE itself',
  async (t) => {
    const standIn = build('secboot', ['secure-boot', 'measures-into-tpm', 'stand-in'])
    const builds = [...firmware, { ...standIn, load: 'pflash' as const, variables: 'vars.fd' }]
    const known = [...facts, { id: 'firmware-secboot', status: 'yes' as const, proof: '', hint: '' }]
    const scenario = defineScenario({
      ...found(['sev-snp', 'tdx']).scenario,
      vtpms: ['stateless'],
      needs: { secureBoot: true, persistentVariables: false, image: ['login'] },
    })
    const chosen = (context: PlanContext) => {
      const { platforms } = context.host.report
      const host = { report: { facts: known, platforms }, firmware: builds }
      return plan([{ id: 'attest/addon', scenario }], OWN, { ...context, host }).map(
        ({ firmware: own, skip }) => skip?.code ?? own?.id,
      )
    }
    t.strictSame(chosen(WITHOUT_KVM), ['secboot', 'secboot'])
    t.strictSame(chosen(SNP_HOST), ['platform-unusable', 'secboot'])
    t.strictSame(chosen({ ...WITHOUT_KVM, anyHost: true }), ['platform-unusable', 'platform-unusable'])
  },
)

t.test('the key of an emulated point is its own, what was asked for is the same on every host', async (t) => {
  const pointsOn = (context: PlanContext) => plan([found(['sev-snp'])], OWN, context)
  const [emulated] = pointsOn(WITHOUT_KVM)
  const [real] = pointsOn(SNP_HOST)
  t.equal(emulated?.key, 'attest/evidence@sev-snp.on-tcg,none,amdsev,micro')
  t.equal(real?.key, 'attest/evidence@sev-snp,none,amdsev,micro')
  t.equal(emulated?.asked, real?.asked)
  t.equal(emulated?.platform.basis, 'emulated')
  t.equal(real?.platform.basis, 'hardware')
})

t.test('a stand-in is launched as one file, and forgets what a guest wrote', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const at = (name: string) => join(directory, name)
  await writeFile(at('code'), 'CODE')
  await writeFile(at('variables'), 'keys')
  const flash = { kind: 'pflash', code: at('code'), variables: at('variables'), secure: true } as const
  const emulated = emulatedPlatform(platform('tdx'), platform('tcg'))
  if (emulated === undefined) return void t.fail('a TD can be emulated')
  const spec = { bench: { platform: emulated }, directory }
  const own = await StandInFirmware.open({ kind: 'bios', file: at('code') }, spec)
  t.equal(own, undefined, 'firmware of the TEE itself')
  t.equal(
    await StandInFirmware.open(flash, { bench: { platform: platform('tcg') }, directory }),
    undefined,
    'no TEE',
  )
  const standIn = await StandInFirmware.open(flash, spec)
  t.equal(await readFile(standIn?.launched.file ?? '', 'utf8'), 'keysCODE')

  await mkdir(at('boot-1'))
  const launched = await standIn?.launch(at('boot-1'))
  t.strictSame(launched, { ...flash, variables: at('boot-1/variables.fd') })
  await writeFile(at('boot-1/variables.fd'), 'changed by the guest')
  await mkdir(at('boot-2'))
  await standIn?.launch(at('boot-2'))
  t.equal(await readFile(at('boot-2/variables.fd'), 'utf8'), 'keys')

  await writeFile(at('variables'), 'more')
  await mkdir(at('boot-3'))
  await standIn?.launch(at('boot-3'))
  t.equal(
    await readFile(standIn?.launched.file ?? '', 'utf8'),
    'moreCODE',
    'what the host changed is launched',
  )
  t.throws(() => requireOwnFirmware(emulated, 'this'), { constructor: UsageError, code: 'bad-scenario' })
  t.doesNotThrow(() => requireOwnFirmware(platform('tcg'), 'this'))
})

t.test('altered firmware differs in one byte of erased flash that every launch measures', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const file = join(directory, 'OVMF.fd')
  const bytes = Buffer.alloc(0x90000, 0x5a)
  bytes.fill(0xff, 0, 0x84000)
  await writeFile(file, bytes)
  const broken = { constructor: MaterialError, code: 'bad-format' }
  await t.rejects(alteredFirmware(file, directory), broken, 'erased in the variable store alone')
  await writeFile(file, bytes.fill(0xff, 0x86000, 0x88000))
  const altered = await readFile(await alteredFirmware(file, directory))
  const places = [...bytes.keys()].filter((at) => bytes[at] !== altered[at])
  t.equal(places.length, 1)
  t.ok((places[0] ?? 0) >= 0x86000 && (places[0] ?? 0) < 0x88000)
})

/** Says what it is asked, and which lies it is to tell. */
const ECHO: EmulatedProcessor = {
  ...{ platform: 'sev-snp', provider: 'sev_guest', faults: ['replayed', 'forged'], chip: '' },
  answer: ({ reportData, faults }) => ({
    outblob: Buffer.from(`${Buffer.from(reportData).toString('hex', 0, 1)} ${[...faults].join()}`),
    auxblob: Buffer.alloc(0),
  }),
  endorsements: () => ({ certificates: [], crls: [], collateral: [], simulatedRoot: '' }),
}

t.test('a host that replays says what an exchange accepted last, and nothing of zeros or lies', async (t) => {
  const host = new TeeHost()
  const launch = { digest: new Uint8Array(48), basis: 'rehearsed', fields: {} } as const
  let asked = 0
  host.whenAsked(() => {
    asked += 1
  })
  const say = (byte: number) =>
    host.answer(ECHO, { reportData: Buffer.alloc(64, byte), launch, registers: [] }).outblob.toString()
  t.equal(say(0), '00 ')
  t.throws(() => host.lie(['replayed']), { code: 'bad-scenario' }, 'of zeros nothing was accepted')
  t.equal(say(1), '01 ')
  t.equal(say(2), '02 ')
  t.equal(say(0), '00 ')
  host.lie(['forged'])
  t.equal(say(3), '03 forged')
  host.lie(['replayed'])
  t.strictSame([say(0), say(4)], ['02 ', '02 '])
  host.lie([])
  t.equal(say(5), '05 ')
  t.equal(asked, 5, 'whoever asked for zeros asked for nothing')
})

t.test('the host of hardware is honest, and cannot be made to lie', async (t) => {
  const spec = { variant: { platform: 'sev-snp' }, basis: 'hardware' } as unknown as LabSpec
  const tee = new VmTee(spec, () => t.fail('nothing is launched') as never)
  t.doesNotThrow(() => tee.fault())
  t.throws(() => tee.fault('forged'), { constructor: HostError, code: 'emulation-required' })
})

t.test('what an owner made of evidence is in the record of the run', async (t) => {
  const events: unknown[] = []
  const spec = { variant: { platform: 'sev-snp' }, basis: 'hardware', name: 'owner' }
  const emit = (event: unknown) => events.push(event)
  const tee = new VmTee({ ...spec, emit } as unknown as LabSpec, () => t.fail('nothing is launched') as never)
  const evidence = { outblob: Buffer.from('no report'), auxblob: Buffer.alloc(0) }
  await verifyTeeEvidence(tee, evidence, { nonce: Buffer.alloc(64), policy: {} })
  const says = [{ title: 'Verdict', rows: [{ label: /policy/, value: 'not authentic' }, { label: /./ }] }]
  t.match(events, [{ type: 'evidence', vm: 'owner', page: { title: /: not authentic$/, says } }])
})

t.test('a claim about the launch rests on what the emulated processor rests on', async (t) => {
  const declared = { launch: { claim: 'a', about: 'launch' as const }, other: { claim: 'b' } }
  const basesOf = (basis: 'emulated' | 'hardware', ...launches: readonly ('rehearsed' | 'predicted')[]) => {
    const book = new ClaimBook(declared, basis)
    for (const launch of launches) book.launchRestsOn(launch)
    return [
      book.decide('launch', { expected: 1, got: 1 }),
      book.decide('other', { expected: 1, got: 1 }),
    ].map((claim) => claim.basis)
  }
  t.strictSame(basesOf('emulated', 'rehearsed'), ['rehearsed', 'emulated'])
  t.strictSame(basesOf('emulated', 'predicted', 'rehearsed'), ['predicted', 'emulated'], 'the weakest')
  t.strictSame(basesOf('hardware', 'rehearsed'), ['hardware', 'hardware'])
})
