/** How tests say that a request was refused, and which codes they have seen. */
import type { Test } from 'tap'
import { type Fixture, SECRET } from './fixture.ts'
import { type Answer, problemOf } from './rcar-client.ts'

/** What the client is told. */
export interface Refused {
  readonly status: number
  readonly type: string
}

/** Collects codes: at the end each must have been provoked once. */
export function refusals() {
  const seen = new Set<string>()
  /** Fails where the answer is any other, or says anything of the secret; `code` is what the broker itself counted. */
  const refused = async (
    t: Test,
    fixture: Fixture,
    answer: Answer,
    code: string,
    expected: Refused,
  ): Promise<void> => {
    t.equal(answer.status, expected.status, `${code}: ${answer.text}`)
    t.equal(problemOf(answer).type, expected.type)
    t.match(answer.headers['content-type'], 'application/json')
    t.notOk(answer.text.includes(SECRET.toString('base64url')))
    seen.add(code)
    await fixture.broker.close()
    const stop = fixture.records.find(({ event }) => event === 'stop')
    t.match(stop, { refusals: { [code]: 1 } })
  }
  return { refused, seen }
}
