/** RTMRs of a guest whose host sits on the bus of its TPM and lies. */
import { createHash } from 'node:crypto'
import t from 'tap'
import type { BusDecision, TpmBusHost } from '../machine/vtpm/tpm-bus.ts'
import { registersFromBus } from './guest-registers.ts'

const STARTUP = Buffer.from('80010000000c000001440000', 'hex')
const RANDOM = Buffer.from('80010000000c0000017b0008', 'hex')
const DONE = Buffer.from('80010000000a00000000', 'hex')
const REFUSED = Buffer.from('80010000000a00000100', 'hex')
/** PCR 11. */
const PCR_EVENT = Buffer.from('8002000000210000013c0000000b0000000940000009000001000000000004616263', 'hex')

const DIGESTS = { a: Buffer.alloc(48, 1), b: Buffer.alloc(48, 2) }
const ZERO = Buffer.alloc(48)
const fold = (...digests: readonly Uint8Array[]) =>
  digests
    .reduce<Buffer>((value, each) => createHash('sha384').update(value).update(each).digest(), ZERO)
    .toString('hex')

/** TPM2_PCR_Extend of PCR 11 with a digest of SHA-384. */
function extend(digest: Uint8Array): Buffer {
  const head = '80020000005100000182' + '0000000b' + '00000009400000090000010000'
  return Buffer.concat([Buffer.from(`${head}00000001000c`, 'hex'), digest])
}

/** What the guest says, and RTMR2 afterwards. `onCommand`: what the host makes of it. */
async function rtmr2(
  onCommand: TpmBusHost['onCommand'],
  commands: readonly Buffer[],
  tpm: (command: Buffer) => Buffer = () => DONE,
): Promise<string> {
  const registers = registersFromBus(onCommand ? { onCommand } : {})
  const say = (command: Buffer) => {
    const decision = registers.host.onCommand?.(command) ?? { forward: command }
    registers.host.onExchange?.(command, 'answer' in decision ? decision.answer : tpm(decision.forward))
  }
  for (const command of commands) say(command)
  return (await registers.now())[2]?.toString('hex') ?? ''
}

const { a, b } = DIGESTS
const pass = (command: Buffer): BusDecision => ({ forward: command })
const isExtend = (command: Buffer) => command.readUInt32BE(6) === 0x182

t.test('what the guest extends counts, whatever its host makes of it', async (t) => {
  const guest = [STARTUP, extend(a), RANDOM, extend(b)]
  t.equal(await rtmr2(undefined, guest), fold(a, b))
  t.equal(await rtmr2(pass, guest), fold(a, b))
  const other = (command: Buffer): BusDecision => ({ forward: isExtend(command) ? extend(ZERO) : command })
  t.equal(await rtmr2(other, guest), fold(a, b), 'another is done')
  for (const answer of [DONE, REFUSED, Buffer.alloc(0)])
    t.equal(
      await rtmr2((command) => (isExtend(command) ? { answer } : pass(command)), guest),
      fold(a, b),
      'none is done',
    )
})

t.test('a start counts where the TPM did it, and not where the host says so', async (t) => {
  const guest = [STARTUP, extend(a), STARTUP, extend(b)]
  t.equal(await rtmr2(undefined, guest), fold(b), 'a reset')
  let starts = 0
  const started = (command: Buffer) => (command.equals(STARTUP) && starts++ > 0 ? REFUSED : DONE)
  t.equal(await rtmr2(undefined, guest, started), fold(a, b), 'of a TPM that is started')
  t.equal(
    await rtmr2((command) => (command.equals(STARTUP) ? { answer: DONE } : pass(command)), guest),
    fold(a, b),
  )
  const forRandom = (command: Buffer): BusDecision => ({
    forward: command.equals(RANDOM) ? STARTUP : command,
  })
  t.equal(
    await rtmr2(forRandom, [extend(a), RANDOM, extend(b)]),
    fold(a, b),
    'of which the guest knows nothing',
  )
})

t.test('a digest that the host answers is in no register', async (t) => {
  const answer = Buffer.concat([
    Buffer.from('80020000004f000000000000003800000001000c', 'hex'),
    a,
    Buffer.from('0000010000', 'hex'),
  ])
  t.equal(await rtmr2(undefined, [STARTUP, PCR_EVENT], () => answer), fold(a), 'the TPM makes it')
  const lying = (command: Buffer): BusDecision => (command.equals(PCR_EVENT) ? { answer } : pass(command))
  const told = await rtmr2(lying, [STARTUP, PCR_EVENT])
  t.notOk([fold(), fold(a)].includes(told), 'the register is one that nobody expects')
})
