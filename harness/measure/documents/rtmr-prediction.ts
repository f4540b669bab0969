/** The prediction of a TD's registers, as fields of its document. */
import type { RtmrPrediction } from '../tdx/rtmr.ts'
import { eventDigest } from '../tpm/event.ts'
import type { MeasuredDocument } from './document.ts'
import type { UnknownRegister } from './tpm-prediction.ts'

export interface RtmrFields extends Pick<MeasuredDocument, 'events'> {
  readonly rtmr: readonly string[]
  /** `rtmr` can only hold those before the first that is not known. */
  readonly rtmrs: Readonly<Record<string, string>>
  readonly unknown: readonly UnknownRegister[]
}

/** An event that is not known has no digest, and its description says why. */
export function rtmrFields({ registers, events }: RtmrPrediction): RtmrFields {
  const values = registers.map((each) => (each.known ? each.value.toString('hex') : undefined))
  const firstUnknown = values.indexOf(undefined)
  const prefix = values.slice(0, firstUnknown < 0 ? values.length : firstUnknown)
  return {
    rtmr: prefix.flatMap((value) => value ?? []),
    rtmrs: Object.fromEntries(values.flatMap((value, index) => (value ? [[String(index), value]] : []))),
    unknown: registers.flatMap((each) =>
      each.known ? [] : [{ register: `rtmr${each.index}`, reasons: each.reasons }],
    ),
    events: events.map((event) => {
      const digest = eventDigest(event, 'sha384')
      return {
        ...{ register: `rtmr${event.rtmr}`, type: event.type },
        description: event.content.known ? event.what : `${event.what}: not known, ${event.content.reason}`,
        digests: digest ? { sha384: digest.toString('hex') } : {},
      }
    }),
  }
}
