/** What a host makes of a guest's extends, command by command. */
import t from 'tap'
import type { TpmBusHost } from '../machine/vtpm/tpm-bus.ts'
import type { Victim } from './attack.ts'
import { fakeExtends, recordExtends } from './tpm-bus.ts'

const STARTUP = Buffer.from('80010000000c000001440000', 'hex')
const RANDOM = Buffer.from('80010000000c0000017b0008', 'hex')
const DONE = Buffer.from('80010000000a00000000', 'hex')
/** TPM_RC_INITIALIZE: of a TPM that was started before. */
const REFUSED = Buffer.from('80010000000a00000100', 'hex')

function extend(pcr: number, by: string): Buffer {
  const head = `80020000002400000182${pcr.toString(16).padStart(8, '0')}`
  return Buffer.from(`${head}0000000940000009000001000000000000${by}`, 'hex')
}

/** A TPM that does all but a second start. */
class Guest {
  readonly #host: TpmBusHost
  readonly reached: string[] = []
  #started = false

  constructor(host: TpmBusHost) {
    this.#host = host
  }

  say(command: Buffer): Buffer {
    const decision = this.#host.onCommand?.(command) ?? { forward: command }
    const response = 'answer' in decision ? decision.answer : this.#tpm(decision.forward)
    this.#host.onExchange?.(command, response)
    return response
  }

  reset(): void {
    this.#started = false
    this.say(STARTUP)
  }

  #tpm(command: Buffer): Buffer {
    if (command.equals(STARTUP)) {
      if (this.#started) return REFUSED
      this.#started = true
      return DONE
    }
    this.reached.push(command.toString('hex').slice(-2))
    return DONE
  }
}

async function attacked(recorded: Parameters<typeof fakeExtends>[0]): Promise<Guest> {
  const victim = {} as Victim
  await fakeExtends(recorded).apply(victim)
  return new Guest(victim.tpmBus ?? {})
}

t.test(
  'the n-th extend of a register becomes that of the honest boot, and one too many is not done',
  async (t) => {
    const recorder = recordExtends()
    const honest = new Guest(recorder)
    honest.reset()
    for (const [pcr, by] of [
      [11, 'a1'],
      [4, 'b1'],
      [11, 'a2'],
    ] as const)
      honest.say(extend(pcr, by))
    const guest = await attacked(recorder.recorded)
    guest.reset()
    for (const [pcr, by] of [
      [4, '01'],
      [11, '02'],
      [11, '03'],
      [11, '04'],
      [12, '05'],
    ] as const)
      t.equal(guest.say(extend(pcr, by)).readUInt32BE(6), 0, 'the guest hears of success')
    t.strictSame(guest.reached, ['b1', 'a1', 'a2'])
    t.equal(guest.say(RANDOM), DONE)
  },
)

t.test(
  'a start that the TPM refuses begins nothing anew, and one that it does begins at the first',
  async (t) => {
    const recorder = recordExtends()
    const honest = new Guest(recorder)
    honest.reset()
    honest.say(extend(11, 'a1'))
    honest.say(extend(11, 'a2'))
    const guest = await attacked(recorder.recorded)
    guest.reset()
    guest.say(extend(11, '01'))
    guest.say(STARTUP)
    guest.say(extend(11, '02'))
    t.strictSame(guest.reached, ['a1', 'a2'])
    guest.reset()
    guest.say(extend(11, '03'))
    t.strictSame(guest.reached, ['a1', 'a2', 'a1'])
  },
)
