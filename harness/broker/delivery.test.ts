import { type FlattenedJWE, flattenedDecrypt } from 'jose'
import t, { type Test } from 'tap'
import { activateCredential, makeEk } from '../evidence/testing/software-tpm.ts'
import { tpmName } from '../formats/tpm2/public.ts'
import type { CredentialDocument } from './delivery.ts'
import { snpGuest, snpRelease } from './testing/emulated-guests.ts'
import { brokerFixture, type Fixture, ROOT_KEY, SECRET } from './testing/fixture.ts'
import type { RcarClient } from './testing/rcar-client.ts'
import { pcrFile, type SoftwareTpm, softwareTpm, tpmPartText } from './testing/tpm-part.ts'

const RELEASE = snpRelease({}, { delivery: 'activate-credential' })

/** What the guest's TPM makes of what came. */
async function activated(document: CredentialDocument, { ek, ak }: SoftwareTpm): Promise<Buffer> {
  const sized = (text: string) => Buffer.from(text, 'base64').subarray(2)
  const credential = {
    idObject: sized(document.credentialBlob),
    encryptedSecret: sized(document.encryptedSecret),
  }
  const key = activateCredential(ek, tpmName(ak.area), credential)
  const { plaintext } = await flattenedDecrypt(document as unknown as FlattenedJWE, key)
  return Buffer.from(plaintext)
}

async function attested(fixture: Fixture, tpm: SoftwareTpm, change = {}): Promise<RcarClient> {
  const guest = fixture.client()
  await guest.attest(snpGuest({}, { additional: (bound) => tpmPartText(tpm, bound, change) }))
  return guest
}

for (const kind of ['rsa', 'P-256', 'P-384'] as const) {
  t.test(`a resource for a TPM with an EK on ${kind} opens with this EK and this AK alone`, async (t) => {
    await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: RELEASE } })
    const tpm = softwareTpm(kind)
    const guest = await attested(fixture, tpm)
    const answer = await guest.resource(ROOT_KEY)
    t.equal(answer.status, 200, answer.text)
    const plaintext = await guest.open(answer)
    t.notOk(plaintext.includes(SECRET), 'the key of the guest is not enough')
    const document = JSON.parse(plaintext.toString()) as CredentialDocument
    t.strictSame(await activated(document, tpm), SECRET)
    const other = softwareTpm(kind)
    await t.rejects(activated(document, { ...tpm, ak: other.ak }), 'another AK in the same TPM')
    await t.rejects(activated(document, { ...tpm, ek: other.ek }), 'another TPM')
  })
}

/** The guest is attested or not, and gets nothing; the log says why. */
async function withheld(
  t: Test,
  change: (tpm: SoftwareTpm) => Record<string, string | null>,
  finding: string,
): Promise<void> {
  await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: RELEASE } })
  const tpm = softwareTpm()
  const guest = await attested(fixture, tpm, change(tpm))
  t.not((await guest.resource(ROOT_KEY)).status, 200)
  const [, record] = fixture.records
  t.match(record, { event: 'attest', verdicts: [{ acceptable: false, findings: [{ code: finding }] }] })
}

t.test('a quote over another nonce is refused', async (t) => {
  await withheld(
    t,
    (tpm) => {
      const { tpm: other } = JSON.parse(tpmPartText(tpm, Buffer.alloc(48, 1))) as {
        tpm: Record<string, string>
      }
      return { quote: other['quote'] ?? '', signature: other['signature'] ?? '' }
    },
    'nonce-mismatch',
  )
})

t.test('a quote by another key than the AK is refused', async (t) => {
  const other = softwareTpm()
  await withheld(
    t,
    () => ({ akPublic: Buffer.from(other.ak.area.bytes).toString('base64') }),
    'quote-signature',
  )
})

t.test('an EK that decrypts anything, or names objects by SHA-1, makes no credential', async (t) => {
  const loose = makeEk({ kind: 'P-256', attributes: 0x0002_0072 })
  await withheld(t, () => ({ ekPublic: Buffer.from(loose.area.bytes).toString('base64') }), 'bad-signing-key')
  const sha1 = makeEk({ kind: 'rsa', nameHash: 'sha1' })
  await withheld(t, () => ({ ekPublic: Buffer.from(sha1.area.bytes).toString('base64') }), 'endorsement-key')
})

t.test('an EK that the report does not cover is refused: a host that puts its own TPM there', async (t) => {
  await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: RELEASE } })
  const [ours, hosts] = [softwareTpm(), softwareTpm()]
  const guest = fixture.client()
  const { nonce } = await guest.auth('snp')
  const message = guest.attestation(
    nonce,
    snpGuest({}, { additional: (bound) => tpmPartText(ours, bound) }),
  ) as {
    'tee-evidence': { additional_evidence: string }
  }
  const evidence = message['tee-evidence']
  const part = JSON.parse(evidence.additional_evidence) as { tpm: Record<string, string> }
  part.tpm['ekPublic'] = Buffer.from(hosts.ek.area.bytes).toString('base64')
  const forged = { ...message, 'tee-evidence': { ...evidence, additional_evidence: JSON.stringify(part) } }
  await guest.post('/kbs/v0/attest', forged)
  t.equal((await guest.resource(ROOT_KEY)).status, 403)
  t.match(fixture.records[1], { verdicts: [{ findings: [{ code: 'report-data' }] }] })
})

t.test('without a TPM there is nobody to deliver to', async (t) => {
  await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: RELEASE } })
  const guest = fixture.client()
  t.equal((await guest.attest(snpGuest())).status, 200)
  t.equal((await guest.resource(ROOT_KEY)).status, 403)
  t.match(fixture.records[1], { verdicts: [{ findings: [{ code: 'evidence-missing' }] }] })
})

t.test('rules about PCRs are held against the quote, and unmet without one', async (t) => {
  const { snp = {} } = RELEASE.policy
  const demanding = (value: string) => snpRelease({ snp, tpm: { pcrs: { sha256: { 7: [value] } } } })
  const pcrs = { pcrs: pcrFile().toString('base64') }
  const cases: readonly (readonly [string, string, Record<string, string> | undefined, number])[] = [
    ['the value that it has', '07'.repeat(32), pcrs, 200],
    ['another value', '08'.repeat(32), pcrs, 403],
    [
      'values that were not quoted',
      '07'.repeat(32),
      { pcrs: pcrFile(Buffer.alloc(32, 8)).toString('base64') },
      401,
    ],
    ['a quote without its values', '07'.repeat(32), {}, 403],
    ['no TPM at all', '07'.repeat(32), undefined, 403],
  ]
  for (const [name, value, change, status] of cases) {
    await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: demanding(value) } })
    const guest = fixture.client()
    const additional = (bound: Buffer) => tpmPartText(softwareTpm(), bound, change)
    await guest.attest(snpGuest({}, change ? { additional } : {}))
    t.equal((await guest.resource(ROOT_KEY)).status, status, name)
  }
})

t.test('a host that shows another TPM beside a good report is refused by the TPM part alone', async (t) => {
  await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: snpRelease() } })
  const guest = fixture.client()
  const stale = (): string => tpmPartText(softwareTpm(), Buffer.alloc(48, 1))
  t.equal((await guest.attest(snpGuest({}, { additional: stale }))).status, 401, 'a quote that is not fresh')
})
