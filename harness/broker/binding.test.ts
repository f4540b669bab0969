/**
 * What REPORT_DATA binds, one part at a time. Each guest's evidence is honest: it is about a key, an EK and an AK that it
 * was made for, in the very session that it is sent to. Then one of them is another. No fault of the TEE is played, so a
 * broker that compared the nonce alone would give all of them the key.
 */
import t, { type Test } from 'tap'
import { snpGuest, snpRelease, tdxGuest, tdxRelease } from './testing/emulated-guests.ts'
import { brokerFixture, ROOT_KEY } from './testing/fixture.ts'
import { guestKey } from './testing/rcar-client.ts'
import { type SoftwareTpm, softwareTpm, tpmPartText } from './testing/tpm-part.ts'

t.setTimeout(120_000)

/** The message of a guest, to be changed after its evidence was collected. */
interface Message {
  readonly 'runtime-data': { nonce: string; 'tee-pubkey': object }
  readonly 'tee-evidence': { additional_evidence: string }
}

interface Part {
  readonly tpm: Record<string, string>
}

/** `tpm`: the guest's; `bound`: the digest that its quote is over. */
type Change = (message: Message, tpm: SoftwareTpm, bound: Buffer) => void

const rewritten = (message: Message, part: Part['tpm']): void => {
  const { tpm } = JSON.parse(message['tee-evidence'].additional_evidence) as Part
  message['tee-evidence'].additional_evidence = JSON.stringify({ tpm: { ...tpm, ...part } })
}

interface Swap {
  readonly change: Change
  /** Whether evidence of a vTPM came with it. */
  readonly vtpm: boolean
  readonly seen: { readonly statuses: readonly number[]; readonly codes: readonly string[] }
}

/** Authentic, of a guest that the policy lets have the resource, and about something else. */
const BOUND_ELSEWHERE = { statuses: [200, 403], codes: ['report-data'] }

const otherKey: Change = (message) => {
  message['runtime-data']['tee-pubkey'] = guestKey().jwk
}

const SWAPS: Readonly<Record<string, Swap>> = {
  'the key of the guest': { change: otherKey, vtpm: false, seen: BOUND_ELSEWHERE },
  'the key of the guest and of a quote': {
    ...{ change: otherKey, vtpm: true },
    seen: { statuses: [401, 401], codes: ['report-data', 'nonce-mismatch'] },
  },
  'the EK': {
    change: (message) =>
      rewritten(message, { ekPublic: Buffer.from(softwareTpm().ek.area.bytes).toString('base64') }),
    ...{ vtpm: true, seen: BOUND_ELSEWHERE },
  },
  'the AK, which signs the same quote': {
    change: (message, { ek }, bound) => {
      const other = { ek, ak: softwareTpm().ak }
      rewritten(message, (JSON.parse(tpmPartText(other, bound)) as Part).tpm)
    },
    ...{ vtpm: true, seen: BOUND_ELSEWHERE },
  },
}

/** Statuses of attest and of the resource, and the codes of the findings. */
async function asked(t: Test, kind: 'snp' | 'tdx', { change, vtpm }: Pick<Swap, 'vtpm'> & Partial<Swap>) {
  const more = vtpm ? ({ delivery: 'activate-credential' } as const) : {}
  const release = kind === 'snp' ? snpRelease({}, more) : { ...tdxRelease(), ...more }
  await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: release } })
  const tpm = softwareTpm()
  let quoted: Buffer = Buffer.alloc(0)
  const additional = (bound: Buffer) => {
    quoted = bound
    return vtpm ? tpmPartText(tpm, bound) : ''
  }
  const source = kind === 'snp' ? snpGuest({}, { additional }) : tdxGuest({}, { additional })
  const guest = fixture.client()
  const { nonce } = await guest.auth(kind)
  const message = guest.attestation(nonce, source) as Message
  change?.(message, tpm, quoted)
  const attested = await guest.post('/kbs/v0/attest', message)
  const resource = await guest.resource(ROOT_KEY)
  const record = fixture.records.find(({ event }) => event === 'attest')
  if (record?.event !== 'attest') return t.fail('no record of it')
  const codes = record.verdicts.flatMap(({ findings }) => findings.map(({ code }) => code))
  return { statuses: [attested.status, resource.status], codes }
}

for (const kind of ['snp', 'tdx'] as const) {
  t.test(`control: ${kind} evidence for its own keys gets the resource`, async (t) => {
    for (const vtpm of [false, true])
      t.strictSame(await asked(t, kind, { vtpm }), { statuses: [200, 200], codes: [] })
  })

  for (const [what, swap] of Object.entries(SWAPS))
    t.test(`${kind}: where ${what} is another than that of the evidence, nothing is released`, async (t) => {
      t.strictSame(await asked(t, kind, swap), swap.seen)
    })
}
