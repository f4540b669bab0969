/** A boot beside its prediction: the verdict for the scenario, and the same for the record. */
import type { DigestAlgorithm } from '../base/digest.ts'
import { digestIn } from '../formats/event-log/event.ts'
import { eventTypeName } from '../formats/event-log/event-types.ts'
import type { TpmPrediction } from '../measure/tpm/boot.ts'
import { eventDigest } from '../measure/tpm/event.ts'
import {
  compareBoot as compare,
  type ObservedBoot,
  type PairedEvent,
  pairEvents,
  type RegisterComparison,
} from '../verdict/measured-boot.ts'
import type { EventPair, RegisterDifference } from './events.ts'
import type { VmSpec } from './lab-spec.ts'

interface PredictedVm {
  readonly name: string
  readonly spec: Pick<VmSpec, 'emit'>
}

/** Whose boot each prediction is about. */
const predictedVms = new WeakMap<TpmPrediction, PredictedVm>()
/** A scenario compares again for each claim; the record needs it once. */
const recorded = new WeakMap<TpmPrediction, WeakSet<ObservedBoot>>()

export function rememberPrediction(prediction: TpmPrediction, vm: PredictedVm): void {
  predictedVms.set(prediction, vm)
  recorded.set(prediction, new WeakSet())
}

/** As `compareBoot` of the room verdict; a prediction of `predictBoot` is also recorded beside what was seen. */
export function compareBoot(
  prediction: TpmPrediction,
  observed: ObservedBoot,
  bank: DigestAlgorithm = 'sha256',
): readonly RegisterComparison[] {
  const comparison = compare(prediction, observed, bank)
  const vm = predictedVms.get(prediction)
  const seen = recorded.get(prediction)
  if (vm && seen && !seen.has(observed)) {
    seen.add(observed)
    const registers = differencesFor(prediction, observed, { bank, comparison })
    vm.spec.emit({ type: 'registers', vm: vm.name, bank, registers })
  }
  return comparison
}

/** Registers that nothing was extended into, as predicted, say nothing. */
function differencesFor(
  prediction: TpmPrediction,
  observed: ObservedBoot,
  { bank, comparison }: { bank: DigestAlgorithm; comparison: readonly RegisterComparison[] },
): readonly RegisterDifference[] {
  const predicted = prediction.registers(bank)
  return comparison
    .map(({ index, verdict }) => {
      const register = predicted.find((each) => each.index === index)
      const value = register?.known ? register.value.toString('hex') : undefined
      const inTpm = observed.registers.get(index)
      return {
        ...{ name: `PCR ${index}`, verdict },
        ...(value !== undefined && { predicted: value }),
        ...(inTpm && { seen: Buffer.from(inTpm).toString('hex') }),
        events: pairEvents(prediction, observed, { index, bank }).map((pair) => textOf(pair, bank)),
      }
    })
    .filter(({ verdict, events, predicted = '' }) => {
      return verdict !== 'equal' || events.length > 0 || !/^0*$/.test(predicted)
    })
}

function textOf({ expected, got, same }: PairedEvent, bank: DigestAlgorithm): EventPair {
  const digest = expected && eventDigest(expected, bank)?.toString('hex')
  const logged = got && Buffer.from(digestIn(got, bank) ?? []).toString('hex')
  return {
    same,
    ...(expected && {
      predicted: { type: expected.type, what: expected.what, ...(digest !== undefined && { digest }) },
    }),
    ...(got && { logged: { type: eventTypeName(got.type), digest: logged ?? '' } }),
  }
}
