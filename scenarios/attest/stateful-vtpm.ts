import {
  type Boot,
  defineScenario,
  type LabBroker,
  type LabGuest,
  ownersPolicy,
  plantCanary,
  rollBackVtpm,
  UNLOCKED_BY_BROKER,
  UNLOCKED_BY_TPM,
} from '../../harness/run/index.ts'

const RELEASED = { attested: 1, refused: 0, released: 1, codes: [] }
const NOTHING = { attested: 0, refused: 0, released: 0, codes: [] }
/** How often the guest knocks at a broker that is not there before it comes up. */
const KNOCKS = 4
const WAITS = [1, 2, 4]
const HEADER = '/run/header-of-before'

export const scenario = defineScenario({
  title:
    'attested at its first boot, the guest seals the root key to its vTPM, and later boots need no broker',
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
    waits: {
      claim:
        'while the broker is down at the first boot the guest knocks again and again, and waits twice as long each time, as its listener sees',
    },
    closed: {
      claim: 'meanwhile nothing else opens the root: it asks for no key, and the vTPM gives none',
    },
    opens: { claim: 'when the broker comes up it is asked once, and the root opens with its key' },
    reset: { claim: 'after a reset the vTPM opens the root, and nobody knocks at the broker, which is down' },
    relaunch: { claim: 'so it is in a new QEMU process' },
    stripped: {
      claim:
        'with the token stripped from the header the guest attests again: closed while the broker is down',
    },
    resealed: { claim: 'when it is up the root opens with its key, and is sealed anew' },
    olderHeader: {
      claim: 'an older header, whose token this vTPM would unseal, is not taken either: the broker is asked',
    },
    otherRegisters: {
      claim: 'in a boot that measured something else the seal does not count, and the broker is asked',
    },
    cleared: {
      claim: 'so it is with a vTPM that remembers nothing, and has another storage root key (TPM2_Clear)',
    },
    rolledBack: {
      claim: 'with a vTPM rolled back to an older seal the guest attests: closed while the broker is down',
    },
    rolledBackOpens: { claim: 'control: and it opens when the broker is up' },
    unsealed: {
      claim:
        'the vTPM opened the root at the two boots that it was sealed for, and at no other; nothing was ever typed',
    },
    nowhere: {
      claim:
        'the key of the broker is in no file of the run directory: no console, no log of broker or vTPM, no disk',
    },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console and to its vTPM, what it writes in clear on its disk, and what broker and harness record',
    },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const vm = await lab.vm('owner', {
      ...{ recoveryKey: 'enrolled', kernel: 'direct', network: broker.network },
      uki: { extraCommandLine: `${broker.commandLine} attestbed.unlock=sealed attestbed.after=shell` },
    })
    await broker.serve({ ...(await ownersPolicy(vm, { vtpm: 'required' })), secret: vm.recoveryKey })
    await broker.put('nobody')

    const first = await vm.boot()
    await broker.nextArrivals(KNOCKS)
    // The last one's wait is still to be announced.
    const { waits, intervals } = knocks(first, broker)
    lab.claim('waits', {
      expected: { waits: WAITS, intervals: WAITS.map((seconds) => `at least ${seconds} s`) },
      got: { waits, intervals },
      holds: same(waits, WAITS) && WAITS.every((seconds, index) => (intervals[index] ?? 0) >= seconds),
    })
    const silent = {
      opened: hasOpened(first),
      exchanges: broker.exchanges(),
      unseals: await vm.unsealsPerBoot(),
    }
    await broker.put('broker')
    const unlock = await first.unlock()
    lab.claim('closed', {
      expected: { opened: false, exchanges: NOTHING, unseals: [0], asksForKey: false },
      got: {
        ...silent,
        asksForKey: unlock.asksForKey || first.lines.some((line) => /enter (the )?(pass|recov)/i.test(line)),
      },
    })
    lab.claim('opens', {
      expected: { result: UNLOCKED_BY_BROKER, ...RELEASED, seal: ['nothing-sealed', 'sealed'] },
      got: { result: unlock.result, ...broker.exchanges(), seal: await sealing(first) },
    })

    await broker.put('nobody')
    const quiet = broker.arrivals.length
    const second = await first.reboot()
    lab.claim('reset', {
      expected: { result: UNLOCKED_BY_TPM, knocks: 0 },
      got: { result: (await second.unlock()).result, knocks: broker.arrivals.length - quiet },
    })
    await second.powerOff()
    const older = await vm.snapshotVtpm()

    const third = await vm.boot()
    lab.claim('relaunch', {
      expected: { result: UNLOCKED_BY_TPM, knocks: 0 },
      got: { result: (await third.unlock()).result, knocks: broker.arrivals.length - quiet },
    })
    const guest = await third.login()
    const again = new Again({ boot: third, guest, broker })
    await again.copyHeader('keep')
    await guest.succeed(['sh', '-c', `systemd-cryptenroll --wipe-slot=tpm2 ${await again.disk()}`])
    lab.claim('stripped', {
      expected: { root: 'closed', seal: 'other-header', knocked: true },
      got: await again.whileDown(),
    })
    lab.claim('resealed', {
      expected: { root: 'open', ...RELEASED, seal: ['sealed'] },
      got: await again.whenUp(),
    })
    await again.copyHeader('restore')
    lab.claim('olderHeader', {
      expected: {
        down: { root: 'closed', seal: 'other-header', knocked: true },
        up: { root: 'open', ...RELEASED, seal: ['sealed'] },
      },
      got: { down: await again.whileDown(), up: await again.whenUp() },
    })
    await guest.succeed(['tpm2', 'pcrextend', `7:sha256=${'11'.repeat(32)}`])
    lab.claim('otherRegisters', {
      expected: { root: 'closed', seal: 'sealed-by-others', knocked: true },
      got: await again.whileDown(),
    })
    await guest.succeed(['tpm2', 'clear', '-c', 'l'])
    lab.claim('cleared', {
      expected: { root: 'closed', seal: 'nothing-sealed', knocked: true },
      got: await again.whileDown(),
    })
    const planted = await plantCanary(guest, ['console', 'disk', 'vtpm'])
    await third.cut()

    await lab.interfere(rollBackVtpm(older), vm)
    const fourth = await vm.boot()
    const knocked = await broker.nextArrivals(1)
    lab.claim('rolledBack', {
      expected: { opened: false, seal: ['other-header'], knocked: true },
      got: { opened: hasOpened(fourth), seal: sealWords(fourth), knocked },
    })
    await broker.put('broker')
    lab.claim('rolledBackOpens', {
      expected: { result: UNLOCKED_BY_BROKER, ...RELEASED },
      got: { result: (await fourth.unlock()).result, ...broker.exchanges() },
    })
    await fourth.cut()

    const seals = await vm.tpmSuccessesPerBoot('TPM2_NV_Write')
    const unseals = await vm.unsealsPerBoot()
    lab.claim('unsealed', {
      expected: { seals: [1, 0, 2, 1], opened: [0, 1, 1, 0], typed: [0, 0, 0, 0] },
      got: {
        seals,
        // systemd-cryptenroll unseals what it has sealed once, to see that it can.
        opened: unseals.map((count, boot) => count - (seals[boot] ?? 0)),
        typed: [first, second, third, fourth].map(({ typedBytes }) => typedBytes),
      },
    })
    lab.claim('nowhere', { expected: [], got: await lab.findInRun(vm.recoveryKey) })
    const logged = broker.attestations.at(-1)?.evidence ?? 'no evidence'
    lab.claim('planted', {
      expected: { planted: ['console', 'disk', 'record', 'vtpm'], logged: true },
      got: {
        planted: await lab.placesInRun(planted),
        logged: (await lab.placesInRun(logged)).includes('broker'),
      },
    })
  },
})

const UNREACHABLE = /attestbed-initrd: \S+ attest unreachable attempt=\d+ why=\S+ wait=(\d+)/
const SEAL = /attestbed-initrd: \S+ (?:seal unused why=(\S+)|(sealed) pcrs=|(seal failed) )/

/** How long the guest said that it would wait, and how long its next knock took; seconds. */
function knocks({ lines }: Boot, { arrivals }: LabBroker) {
  const announced = lines.flatMap((line) => UNREACHABLE.exec(line)?.[1] ?? []).map(Number)
  const intervals = arrivals.slice(1).map((at, index) => (at - (arrivals[index] ?? at)) / 1000)
  return {
    waits: announced.slice(0, WAITS.length),
    intervals: intervals.slice(0, WAITS.length).map((seconds) => Math.round(seconds * 10) / 10),
  }
}

function hasOpened({ lines }: Boot): boolean {
  return lines.some((line) => /attestbed-initrd: \S+ (unlocked|seal holds)/.test(line))
}

/** What the guest said of its seal, oldest first. */
function sealWords({ lines }: Pick<Boot, 'lines'>): readonly string[] {
  return lines.flatMap((line) => SEAL.exec(line)?.slice(1).find(Boolean) ?? [])
}

/** The same when the guest is done with it. */
async function sealing(boot: Boot): Promise<readonly string[]> {
  await boot.login()
  return sealWords(boot)
}

function same(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((value, index) => value === right[index])
}

interface Parts {
  readonly boot: Boot
  readonly guest: LabGuest
  readonly broker: LabBroker
}

/** The guest tries to open its root once more in the same boot, each time as at its start. */
class Again {
  readonly #parts: Parts
  #before = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async disk(): Promise<string> {
    return this.#parts.guest.text(['sh', '-c', DISK])
  }

  /** The part of the disk that whoever has it can put back. */
  async copyHeader(how: 'keep' | 'restore'): Promise<void> {
    const disk = await this.disk()
    const [from, to] = how === 'keep' ? [disk, HEADER] : [HEADER, disk]
    await this.#parts.guest.succeed(['dd', `if=${from}`, `of=${to}`, 'bs=1M', 'count=16', 'conv=notrunc'])
  }

  /** Until it has knocked at the broker, which is not there, for the second time. */
  async whileDown() {
    const { boot, guest, broker } = this.#parts
    await broker.put('nobody')
    broker.exchanges()
    this.#before = boot.lines.length
    const knocked = broker.nextArrivals(2)
    await guest.succeed(['sh', '-c', AGAIN], { timeoutMs: 120_000 })
    const isAsked = await knocked
    const seal = sealWords({ lines: boot.lines.slice(this.#before) }).join(' ')
    return { root: await this.#root(), seal, knocked: isAsked }
  }

  async whenUp() {
    const { boot, guest, broker } = this.#parts
    this.#before = boot.lines.length
    await broker.put('broker')
    // Joins the start that is under way.
    await guest.run(['systemctl', 'start', 'attestbed-root.service'], { timeoutMs: 240_000 })
    const seal = sealWords({ lines: boot.lines.slice(this.#before) })
    return { root: await this.#root(), ...broker.exchanges(), seal }
  }

  async #root(): Promise<string> {
    const { exitCode } = await this.#parts.guest.run(['test', '-e', '/dev/mapper/root'])
    return exitCode === 0 ? 'open' : 'closed'
  }
}

const AGAIN =
  'systemd-cryptsetup detach root 2>/dev/null; systemctl restart --no-block attestbed-root.service'
const DISK = 'grep -lxF PARTNAME=root /sys/class/block/*/uevent | cut -d/ -f5 | sed s,^,/dev/,'
