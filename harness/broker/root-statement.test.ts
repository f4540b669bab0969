/** What a guest says of its root: which resources it gets for that, and what the log has of it. */
import t from 'tap'
import type { AcceptedRoot } from './evidence/root-statement.ts'
import { snpGuest, snpRelease } from './testing/emulated-guests.ts'
import { brokerFixture, ROOT_KEY, SECRET } from './testing/fixture.ts'

const RECEIPT = 'default/root/receipt'
const IMAGE = 'ab'.repeat(32)
const HEADER = 'cd'.repeat(32)
const OTHER = 'ef'.repeat(32)

/** Of the key, of the receipt. */
type Demands = readonly [key: readonly AcceptedRoot[], receipt: readonly AcceptedRoot[]]
const BEFORE: Demands = [
  [{ state: 'plain', digest: IMAGE }, { state: 'partial' }, { state: 'whole' }],
  [{ state: 'whole', digest: IMAGE }],
]
const AFTER: Demands = [[{ state: 'whole', header: HEADER }], [{ state: 'whole', header: HEADER }]]

interface Said {
  readonly demands?: Demands
  /** Put in the place of what the evidence was made for. */
  readonly replacedBy?: unknown
}

/** Statuses of attest, key and receipt, and what the log has. */
async function asked(root: unknown, { demands = BEFORE, replacedBy }: Said = {}) {
  const [key, receipt] = demands
  await using fixture = await brokerFixture({
    policies: { [ROOT_KEY]: snpRelease({}, { root: key }), [RECEIPT]: snpRelease({}, { root: receipt }) },
    resources: { [ROOT_KEY]: SECRET, [RECEIPT]: Buffer.from('recorded') },
  })
  const guest = fixture.client()
  const { nonce } = await guest.auth('snp')
  const additional = () => (root === undefined ? '' : JSON.stringify({ root }))
  const message = guest.attestation(nonce, snpGuest({}, { additional })) as {
    readonly 'tee-evidence': { additional_evidence: string }
  }
  if (replacedBy !== undefined)
    message['tee-evidence'].additional_evidence = JSON.stringify({ root: replacedBy })
  const attested = await guest.post('/kbs/v0/attest', message)
  const statuses = [attested.status]
  for (const path of [ROOT_KEY, RECEIPT]) statuses.push((await guest.resource(path)).status)
  const record = fixture.records.find(({ event }) => event === 'attest')
  if (record?.event !== 'attest') return { statuses }
  const met = record.verdicts.filter(({ acceptable }) => acceptable).flatMap(({ resources }) => resources)
  const codes = [
    ...new Set(record.verdicts.flatMap(({ findings }) => findings.map(({ code }) => code))),
  ].sort()
  return { statuses, said: record.root, met: met.sort(), codes }
}

t.test('before the proof each state gets the key, the proof alone the receipt', async (t) => {
  const plain = { state: 'plain', digest: IMAGE }
  const proof = { state: 'whole', digest: IMAGE, header: HEADER }
  for (const said of [plain, { state: 'partial' }, { state: 'whole', header: HEADER }])
    t.strictSame(await asked(said), {
      ...{ statuses: [200, 200, 403], said, met: [ROOT_KEY], codes: ['root-state'] },
    })
  t.strictSame(await asked(proof), {
    ...{ statuses: [200, 200, 200], said: proof, met: [ROOT_KEY, RECEIPT].sort(), codes: [] },
  })
})

t.test('another image gets neither', async (t) => {
  for (const said of [{ state: 'plain', digest: OTHER }, { state: 'plain' }])
    t.strictSame(await asked(said), {
      ...{ statuses: [200, 403, 403], said, met: [], codes: ['root-state'] },
    })
})

t.test('after the proof the one header gets both, and no other state of the disk anything', async (t) => {
  const whole = { state: 'whole', header: HEADER }
  t.strictSame((await asked(whole, { demands: AFTER })).statuses, [200, 200, 200])
  const others = [
    { state: 'plain', digest: IMAGE },
    { state: 'partial' },
    { state: 'partial', header: HEADER },
    { state: 'whole' },
    { state: 'whole', header: OTHER, digest: IMAGE },
  ]
  for (const said of others) {
    const { statuses, codes } = await asked(said, { demands: AFTER })
    t.strictSame({ statuses, codes }, { statuses: [200, 403, 403], codes: ['root-state'] }, said.state)
  }
})

t.test('who says nothing of a root gets nothing that is about one', async (t) => {
  t.strictSame(await asked(undefined), {
    ...{ statuses: [200, 403, 403], said: undefined, met: [], codes: ['evidence-missing'] },
  })
})

t.test('a statement that the evidence was not made for counts for nothing', async (t) => {
  const replacedBy = { state: 'whole', digest: IMAGE, header: HEADER }
  const { statuses, codes, met } = await asked({ state: 'partial' }, { replacedBy })
  t.strictSame({ statuses, codes, met }, { statuses: [200, 403, 403], codes: ['report-data'], met: [] })
})

t.test('what is no statement is malformed', async (t) => {
  const wrong = [
    ...['whole', null, [], {}, { state: 'encrypted' }, { state: 'whole', more: 1 }],
    ...[
      { state: 'whole', digest: '' },
      { state: 'whole', header: HEADER.toUpperCase() },
    ],
    { state: 'whole', digest: `${IMAGE}00` },
  ]
  for (const each of wrong) t.equal((await asked(each)).statuses[0], 400, JSON.stringify(each))
})
