import { createHash } from 'node:crypto'
import t from 'tap'
import { eventDigest, known, type PredictedEvent, unknown } from './event.ts'

const event = (content: PredictedEvent['content']): PredictedEvent => ({
  ...{ pcr: 4, type: 'EV_EFI_BOOT_SERVICES_APPLICATION', what: 'UKI', from: 'uki' },
  content,
})

t.test('the digest of an event is of all its parts, for each bank, and the caller’s own', async (t) => {
  const uki = event(known('first', 'second'))
  for (const bank of ['sha256', 'sha384', 'sha256'] as const) {
    const digest = eventDigest(uki, bank)
    t.equal(digest?.toString('hex'), createHash(bank).update('firstsecond').digest('hex'), bank)
    digest?.fill(0)
  }
  t.equal(eventDigest(event(unknown('not at hand')), 'sha256'), undefined)
})

t.test('what has megabytes is hashed once', async (t) => {
  const content = known('a UKI')
  if (!content.known) throw new Error('it is known')
  let read = 0
  const watched = {
    known: true as const,
    get parts() {
      read++
      return content.parts
    },
  }
  for (let pair = 0; pair < 9; pair++) eventDigest(event(watched), 'sha256')
  t.equal(read, 1)
})
