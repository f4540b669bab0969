import t from 'tap'
import type { LogEvent } from '../formats/event-log/event.ts'
import type { TpmPrediction } from '../measure/tpm/boot.ts'
import { action, eventDigest, type PredictedEvent, separator, unknown } from '../measure/tpm/event.ts'
import { foldEvents, foldRegisters } from '../measure/tpm/registers.ts'
import type { ObservedBoot } from '../verdict/measured-boot.ts'
import { compareBoot, rememberPrediction } from './boot-comparison.ts'
import { eventSchema } from './event-schema.ts'
import type { ScenarioEvent } from './lab-spec.ts'

const PCR = 4
const TYPES: Readonly<Record<string, number>> = { EV_SEPARATOR: 4, EV_EFI_ACTION: 0x80000007 }

const predictionOf = (events: readonly PredictedEvent[]) =>
  ({ events, registers: (bank: 'sha256') => foldRegisters(events, bank) }) as unknown as TpmPrediction

function observedOf(events: readonly PredictedEvent[]): ObservedBoot {
  const logged = events.map((event, number) => {
    const digests = [{ algorithm: 11, bank: 'sha256', bytes: eventDigest(event, 'sha256') }]
    return { number, offset: 0, register: event.pcr, type: TYPES[event.type], digests, data: Buffer.alloc(0) }
  })
  const register = foldEvents(PCR, events, 'sha256')
  return {
    log: {
      ...{ format: 'crypto-agile', specId: undefined, bytesUsed: 0, trailer: Buffer.alloc(0) },
      banks: [{ algorithm: 11, bank: 'sha256', digestBytes: 32 }],
      events: logged as unknown as readonly LogEvent[],
    },
    registers: new Map(register.known ? [[PCR, register.value]] : []),
  }
}

function record(predicted: readonly PredictedEvent[], happened: readonly PredictedEvent[]) {
  const emitted: ScenarioEvent[] = []
  const prediction = predictionOf(predicted)
  rememberPrediction(prediction, { name: 'owner', spec: { emit: (event) => emitted.push(event) } })
  const observed = observedOf(happened)
  const verdicts = compareBoot(prediction, observed)
  compareBoot(prediction, observed)
  const [event] = emitted
  const own = event?.type === 'registers' ? event.registers.find(({ name }) => name === 'PCR 4') : undefined
  return { verdict: verdicts[PCR]?.verdict, emitted, own }
}

const [one, two, three] = ['one', 'two', 'three'].map((text) => action(PCR, text)) as [
  PredictedEvent,
  PredictedEvent,
  PredictedEvent,
]
const words = (own: ReturnType<typeof record>['own']) =>
  own?.events.map(({ same, predicted, logged }) => [same, predicted?.what, logged !== undefined])

t.test('a boot as predicted is recorded once, as an event that the schema knows', async (t) => {
  const { verdict, emitted, own } = record([one, separator(PCR)], [one, separator(PCR)])
  t.equal(verdict, 'equal')
  t.equal(emitted.length, 1, 'a second comparison of the same says nothing new')
  t.equal(own?.predicted, own?.seen)
  t.same(words(own), [
    [true, '"one"', true],
    [true, 'separator', true],
  ])
  t.ok(eventSchema.safeParse({ ...emitted[0], at: 1, key: 'k' }).success)
})

t.test('an event too many, or too few, does not part those that follow it', async (t) => {
  const added = record([one, three, separator(PCR)], [one, two, three, separator(PCR)])
  t.equal(added.verdict, 'different')
  t.same(words(added.own), [
    [true, '"one"', true],
    [false, undefined, true],
    [true, '"three"', true],
    [true, 'separator', true],
  ])
  const missing = record([one, two, three], [one, three])
  t.same(words(missing.own), [
    [true, '"one"', true],
    [false, '"two"', false],
    [true, '"three"', true],
  ])
})

t.test('an event in the place of another stands beside it', async (t) => {
  const { own } = record([one, two, separator(PCR)], [one, three, separator(PCR)])
  t.same(words(own), [
    [true, '"one"', true],
    [false, '"two"', true],
    [true, 'separator', true],
  ])
  t.not(own?.predicted, own?.seen)
})

t.test('what cannot be predicted fits an event of its type, and its register is not known', async (t) => {
  const open: PredictedEvent = { ...one, content: unknown('the tables are not given') }
  const { verdict, own } = record([open, separator(PCR)], [two, separator(PCR)])
  t.equal(verdict, 'unknown')
  t.same(words(own)?.[0], [true, '"one"', true])
  t.equal(own?.predicted, undefined)
})

t.test('a prediction that is no VM of a run is compared and not recorded', async (t) => {
  t.equal(compareBoot(predictionOf([one]), observedOf([one]))[PCR]?.verdict, 'equal')
})
