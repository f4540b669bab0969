import {
  type AtTheEnd,
  type Boot,
  defineScenario,
  type LabBroker,
  type LabGuest,
  type OwnersWishes,
  ownersPolicy,
  plantCanary,
  type Release,
  type ScenarioVm,
  type TeeFault,
} from '../../harness/run/index.ts'

/** What keeps the key back, and by which words of the audit log, or of the guest where it never came to an exchange. */
interface Refusal {
  readonly what: string
  readonly faults?: readonly TeeFault[]
  readonly wishes?: OwnersWishes
  /** The owner expects this one, which is another than the one that boots. */
  readonly expects?: 'other-firmware' | 'other-uki' | 'other-command-line'
  readonly end?: AtTheEnd
  /** The broker's clock moves on by this while the guest collects its evidence. */
  readonly clockMs?: number
  readonly codes: Readonly<Record<'sev-snp' | 'tdx', readonly string[]>>
  /** Why, as the attester says it. */
  readonly why: string | Readonly<Record<'sev-snp' | 'tdx', string>>
}

const both = (...codes: readonly string[]) => ({ 'sev-snp': codes, tdx: codes })
const DENIED = 'http-403'
const NOT_AUTHENTIC = 'http-401'

const OTHER_UKI = {
  'sev-snp': ['image-not-allowed', 'launch-digest', 'pcr'],
  tdx: ['image-not-allowed', 'pcr', 'rtmr'],
}

const REFUSALS = {
  firmware: {
    what: 'other firmware than the owner expects',
    ...{ expects: 'other-firmware', codes: { 'sev-snp': ['launch-digest'], tdx: ['mrtd'] }, why: DENIED },
  },
  uki: {
    what: 'another UKI, which the TEE shows (on TDX by RTMRs), the vTPM, and the log of the boot',
    ...{ expects: 'other-uki', codes: OTHER_UKI, why: DENIED },
  },
  commandLine: {
    what: 'another command line, which all of them show: it is in the UKI',
    ...{ expects: 'other-command-line', codes: OTHER_UKI, why: DENIED },
  },
  meaning: {
    what: 'a boot without Secure Boot, by its log, where the owner demands it',
    ...{ wishes: { log: 'secure-boot' }, codes: both('secure-boot'), why: DENIED },
  },
  debug: {
    what: 'a policy that allows debugging',
    faults: ['debug-policy'],
    codes: both('debug'),
    why: DENIED,
  },
  tcb: {
    what: 'an old TCB',
    ...{ faults: ['old-tcb'], codes: { 'sev-snp': ['reported-tcb'], tdx: ['tcb-status'] }, why: DENIED },
  },
  chip: {
    what: 'another chip',
    ...{ faults: ['other-chip'], codes: { 'sev-snp': ['chip-id'], tdx: ['fmspc-mismatch'] } },
    // The collateral of another kind of platform says nothing of this one.
    why: { 'sev-snp': DENIED, tdx: NOT_AUTHENTIC },
  },
  kind: {
    what: "evidence of another kind than is demanded: by the cloud's key (VLEK) where the chip's (VCEK) is, a quote of version 4 where 5 is",
    ...{ faults: ['vlek'], wishes: { quoteVersion: 5 } },
    ...{ codes: { 'sev-snp': ['chip-id', 'signing-key'], tdx: ['quote-version'] }, why: DENIED },
  },
  replayed: {
    what: 'the very evidence that the exchange before was given the key for',
    faults: ['replayed'],
    codes: both('report-data'),
    why: DENIED,
  },
  key: {
    what: 'evidence whose REPORT_DATA is not that of the session and the key (inverted)',
    ...{ faults: ['other-report-data'], codes: both('report-data'), why: DENIED },
  },
  forged: {
    what: 'evidence that was changed after it was signed',
    ...{ faults: ['forged'], codes: { 'sev-snp': ['report-signature'], tdx: ['quote-signature'] } },
    why: NOT_AUTHENTIC,
  },
  revoked: {
    what: 'a revoked key',
    ...{ wishes: { endorsements: ['revoked-key'] }, codes: both('revoked'), why: NOT_AUTHENTIC },
  },
  expired: {
    what: 'expired collateral',
    wishes: { endorsements: ['expired-collateral'] },
    ...{ codes: { 'sev-snp': ['crl-expired'], tdx: ['collateral-expired'] }, why: NOT_AUTHENTIC },
  },
  simulated: {
    what: 'a simulated root, under a policy that does not name it',
    ...{ wishes: { trust: 'default' }, codes: both('unknown-root'), why: NOT_AUTHENTIC },
  },
  stale: {
    what: 'a nonce whose session has ended, with its cookie',
    ...{ clockMs: 6 * 60_000, codes: both('session-expired'), why: NOT_AUTHENTIC },
  },
  intercepted: {
    what: 'a man in the middle',
    end: 'man-in-the-middle',
    codes: both(),
    why: 'not-the-broker',
  },
  impostor: { what: 'an impostor of the broker', end: 'impostor', codes: both(), why: 'not-the-broker' },
} as const satisfies Readonly<Record<string, Refusal>>

/** What only a host can do that lies at will, or the owner of an emulated TEE. */
function needsEmulation({ faults, wishes, clockMs }: Refusal): boolean {
  const { endorsements, trust } = wishes ?? {}
  return [faults, endorsements, trust, clockMs].some((each) => each !== undefined)
}

type Name = keyof typeof REFUSALS
const NAMES = Object.keys(REFUSALS) as readonly Name[]
const CLAIMS = Object.fromEntries(
  NAMES.map((name) => [
    name,
    {
      claim: `${REFUSALS[name].what}: nothing is released, the key is nowhere in the run directory, and it is said why; without it the root opens`,
      ...(needsEmulation(REFUSALS[name]) && { requires: 'emulation' }),
    },
  ]),
) as Readonly<Record<Name, { readonly claim: string; readonly requires?: 'emulation' }>>

export const scenario = defineScenario({
  title: 'the broker withholds the root key for each cause, and releases it when the cause is gone',
  images: ['attester'],
  vtpms: ['stateful'],
  tees: ['sev-snp', 'tdx'],
  needs: {
    secureBoot: false,
    persistentVariables: false,
    image: ['attester', 'recovery-key', 'login', 'own-uki'],
  },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 1500 },
  claims: {
    control: { claim: 'control: without any cause the root opens' },
    ...CLAIMS,
    overheard: { claim: 'each that stood in the place of the broker was connected to, and asked nothing' },
    nowhere: {
      claim: 'the key is in no file of the run directory: no console, no log of broker or vTPM, no disk',
    },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console and to its vTPM, what it writes in clear on its disk, and what broker and harness record',
    },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const options = { recoveryKey: 'enrolled', kernel: 'direct', network: broker.network } as const
    const words = `${broker.commandLine} attestbed.after=shell`
    const vm = await lab.vm('owner', { ...options, uki: { extraCommandLine: words } })
    const others = {
      'other-firmware': await lab.vm('firmware', {
        ...options,
        firmware: 'altered',
        uki: { extraCommandLine: words },
      }),
      'other-uki': await lab.vm('uki', { ...options, uki: { extraCommandLine: words, version: '2' } }),
      'other-command-line': await lab.vm('words', {
        ...options,
        uki: { extraCommandLine: `${words} quiet=2` },
      }),
    }
    const policyOf = async (of: ScenarioVm, wishes: OwnersWishes = {}): Promise<Release> => ({
      ...(await ownersPolicy(of, { vtpm: 'required', log: 'this-boot', ...wishes })),
      secret: vm.recoveryKey,
    })
    const honest = await policyOf(vm)
    await broker.serve(honest)
    const boot = await vm.boot()
    await boot.unlock()
    const guest = await boot.login()
    const attempt = new Attempts(boot, guest, broker)
    lab.claim('control', { expected: OPENED, got: await attempt.once() })

    for (const name of NAMES) {
      const cause: Refusal = REFUSALS[name]
      if (needsEmulation(cause) && !vm.tee.isEmulated) {
        lab.skip(name, 'emulation-required: the host of a real TEE cannot be made to lie')
        continue
      }
      const platform = vm.tee.platform as 'sev-snp' | 'tdx'
      const codes = cause.codes[platform]
      if (cause.wishes || cause.expects)
        await broker.serve(await policyOf(cause.expects ? others[cause.expects] : vm, cause.wishes))
      const { clockMs } = cause
      if (clockMs !== undefined) vm.tee.whenAsked(() => broker.advance(clockMs))
      if (cause.end) await broker.put(cause.end)
      // A TDX platform has no such key.
      vm.tee.fault(...(cause.faults ?? []).filter((fault) => fault !== 'vlek' || platform === 'sev-snp'))
      const accepted = broker.attestations.filter(({ released }) => released).at(-1)?.evidence
      const refused = await attempt.once()
      const sent = broker.attestations.at(-1)?.evidence
      const found = await lab.findInRun(vm.recoveryKey)
      vm.tee.fault()
      vm.tee.whenAsked(undefined)
      await broker.serve(honest)
      const why = typeof cause.why === 'string' ? cause.why : cause.why[platform]
      lab.claim(name, {
        expected: {
          refused: { root: 'closed', released: 0, why, codes, found: [] },
          ...(name === 'replayed' && { sent: accepted ?? 'none was accepted before' }),
          afterwards: OPENED,
        },
        got: {
          refused: { ...refused, found },
          ...(name === 'replayed' && { sent }),
          afterwards: await attempt.once(),
        },
      })
    }
    lab.claim('overheard', {
      expected: { between: UNHEARD, impostor: UNHEARD },
      got: { between: broker.overheard('man-in-the-middle'), impostor: broker.overheard('impostor') },
    })
    lab.claim('nowhere', { expected: [], got: await lab.findInRun(vm.recoveryKey) })
    const planted = await plantCanary(guest, ['console', 'disk', 'vtpm'])
    const logged = broker.attestations.at(-1)?.evidence ?? 'no evidence'
    lab.claim('planted', {
      expected: { planted: ['console', 'disk', 'record', 'vtpm'], logged: true },
      got: {
        planted: await lab.placesInRun(planted),
        logged: (await lab.placesInRun(logged)).includes('broker'),
      },
    })
    await boot.cut()
  },
})

const UNHEARD = { knocked: true, requests: 0 }
const OPENED = { root: 'open', released: 1, why: '', codes: [] }
const REFUSED = /attest refused why=(\S+)/
const UNLOCK = 'systemd-cryptsetup detach root 2>/dev/null; systemctl restart attestbed-root.service'

/** The guest tries to open its root again and again, in one boot, each time as at its start. */
class Attempts {
  readonly #boot: Boot
  readonly #guest: LabGuest
  readonly #broker: LabBroker

  constructor(boot: Boot, guest: LabGuest, broker: LabBroker) {
    this.#boot = boot
    this.#guest = guest
    this.#broker = broker
    broker.exchanges()
  }

  async once() {
    const before = this.#boot.lines.length
    await this.#guest.run(['sh', '-c', UNLOCK], { timeoutMs: 120_000 })
    const { exitCode } = await this.#guest.run(['test', '-e', '/dev/mapper/root'])
    const { released, codes } = this.#broker.exchanges()
    const said = this.#boot.lines.slice(before).flatMap((line) => REFUSED.exec(line)?.[1] ?? [])
    return { root: exitCode === 0 ? 'open' : 'closed', released, why: said.at(-1) ?? '', codes }
  }
}
