/** A guest over an SVSM: report, manifest with the EK, credential for the AK, its quotes, and the log, held together. */
import { createPublicKey, type JsonWebKey } from 'node:crypto'
import t from 'tap'
import { digest } from '../../base/digest.ts'
import { refusesToParse } from '../../base/testing/rejects.ts'
import { tpmName } from '../../formats/tpm2/public.ts'
import type { ResolvedPolicy } from '../policy/resolve.ts'
import type { VerifyRequest } from '../request.ts'
import { logRequest, snpRequest, tpmRequest } from '../testing/emulated-requests.ts'
import { bytes, finds } from '../testing/finds.ts'
import { ukiBoot } from '../testing/measured-boot.ts'
import { activateCredential, makeAk, makeEk, type SoftwareKey } from '../testing/software-tpm.ts'
import { encodeCredentialRecord, parseCredentialRecord } from '../tpm/activation.ts'
import { makeCredential } from '../tpm/credential.ts'
import { verifyEvidence } from '../verify-evidence.ts'

const ek = makeEk({ kind: 'P-256' })
const ak = makeAk({ scheme: 'ecdsa' })
const NONCE = bytes(3, 64)
const SECRET = bytes(5, 32)
const events = ukiBoot('pcr')
const WHOLE: ResolvedPolicy = {
  freshness: { nonce: 'required' },
  snp: { vmpls: [0] },
  tpm: { banks: ['sha256'] },
  eventLog: { secureBoot: 'on' },
}

/** The record, and what the TPM with `holder` returns for the credential. */
function proof(holder: SoftwareKey = ek, key: SoftwareKey = ak): Partial<VerifyRequest> {
  const credential = makeCredential({ ek: holder.area, akName: tpmName(key.area), secret: SECRET })
  return {
    ak: key.area.bytes,
    credential: Buffer.from(encodeCredentialRecord({ ek: holder.area, ak: key.area, secret: SECRET })),
    activated: activateCredential(holder, tpmName(key.area), credential),
  }
}

const proven = proof()

function guest(
  more: Partial<VerifyRequest> = {},
  policy: ResolvedPolicy = WHOLE,
  signer = ak,
): VerifyRequest {
  const { evidence: eventLog, quotes } = logRequest({ events, signer, nonce: NONCE })
  const claims = { reportData: digest('sha512', NONCE, ek.area.bytes), vmpl: 0 }
  const beside = { svsmManifest: ek.area.bytes, nonce: NONCE, quotes, eventLog, ...proven }
  return snpRequest({ claims, policy, more: { ...beside, ...more } })
}
const codesOf = async (request: VerifyRequest) =>
  (await verifyEvidence(request)).findings.map(({ code }) => code)

t.test('hardware, EK, AK, quote and log together meet a policy that has a section for each', async (t) => {
  await finds(t, guest())
  const { kind, fields, page } = await verifyEvidence(guest())
  t.equal(kind, 'snp-report')
  t.match(fields, {
    svsm_vtpm_ek_name: tpmName(ek.area).toString('hex'),
    tpm: { ek_name: tpmName(ek.area).toString('hex') },
    event_log: { bank: 'sha256', secure_boot: { value: true, covered: true } },
  })
  t.notOk(page.vouchedBy.some(({ state, text }) => state === 'open' && text.includes('AK')))
  const { eventLog, ...silent } = WHOLE
  await finds(t, guest({ eventLog: undefined }, silent))
})

t.test('each part is held against its own section', async (t) => {
  await finds(t, guest({}, { ...WHOLE, eventLog: { secureBoot: 'off' } }), 'secure-boot')
  await finds(t, guest({}, { ...WHOLE, tpm: { banks: ['sha384'] } }), 'bank', 'bank')
  await finds(t, guest({}, { ...WHOLE, snp: { vmpls: [1] } }), 'vmpl')
  await finds(t, guest({ eventLog: undefined }), 'evidence-missing')
  const { tpm, ...silent } = WHOLE
  await finds(t, guest({}, silent))
})

t.test("a quote counts only by an AK that the manifest's EK is shown to hold", async (t) => {
  t.same(
    await codesOf(guest({ credential: undefined, activated: undefined })),
    ['endorsement-missing'],
    'an AK alone',
  )
  t.same(
    await codesOf(guest({ ...proof(makeEk({ kind: 'P-256' })) })),
    ['binding-mismatch'],
    "another TPM's EK",
  )
  t.same(await codesOf(guest({ activated: bytes(6, 32) })), ['bad-credential'], 'another secret')
  t.same(
    await codesOf(guest({ ak: makeAk({ scheme: 'ecdsa' }).area.bytes })),
    ['bad-credential'],
    'another AK',
  )
  t.same(
    await codesOf(guest({}, WHOLE, makeAk({ scheme: 'ecdsa' }))),
    ['quote-signature'],
    "another AK's quote",
  )
  t.same(await codesOf(guest({ quotes: [] })), ['endorsement-missing'], 'a log without a quote')
  const stale = logRequest({ events, signer: ak, nonce: bytes(4, 64) }).quotes
  t.same(await codesOf(guest({ quotes: stale })), ['nonce-mismatch'], 'an old quote')
  const other = logRequest({ events: events.slice(0, -1), signer: ak, nonce: NONCE }).quotes
  t.same(await codesOf(guest({ quotes: other })), ['replay-mismatch'], 'the quote of another boot')
  t.same(
    await codesOf(guest({ svsmManifest: makeEk({ kind: 'P-256' }).area.bytes })),
    ['binding-mismatch'],
    'another manifest',
  )
})

t.test('a TPM quote is trusted for the credential that its AK came back with', async (t) => {
  const quote = (more: Partial<VerifyRequest>) => tpmRequest({ signer: ak, more: { ...proven, ...more } })
  await finds(t, quote({}))
  const { fields, page } = await verifyEvidence(quote({}))
  t.equal(fields['ek_name'], tpmName(ek.area).toString('hex'))
  t.ok(page.vouchedBy.some(({ text }) => text.includes(`EK ${tpmName(ek.area).toString('hex')}`)))
  t.same(await codesOf(quote({ activated: undefined })), ['endorsement-missing'])
  t.same(await codesOf(quote({ credential: undefined })), ['endorsement-missing'])
  t.same(await codesOf(quote({ akRoots: [] })), ['endorsement-missing'])
  t.same(await codesOf(quote({ activated: new Uint8Array() })), ['bad-credential'])
  t.same(await codesOf(quote({ credential: Buffer.from('{}') })), ['bad-value'])
  const bare = publicPem(ak)
  t.same(await codesOf(quote({ ak: bare })), ['bad-signing-key'], 'a key without a name')
})

const publicPem = ({ privateKey }: SoftwareKey): Buffer => {
  const { kty, crv, x, y } = privateKey.export({ format: 'jwk' })
  return Buffer.from(
    createPublicKey({ key: { kty, crv, x, y } as JsonWebKey, format: 'jwk' }).export({
      format: 'pem',
      type: 'spki',
    }),
  )
}

t.test('a record that is none is refused with its member', async (t) => {
  const good = {
    version: 1,
    ek_name: '00'.repeat(34),
    ak_name: '00'.repeat(66),
    secret_sha256: '00'.repeat(32),
  }
  t.match(parseCredentialRecord(Buffer.from(JSON.stringify(good))), { secretSha256: Buffer.alloc(32) })
  const cases: [string, unknown][] = [
    ['version', 2],
    ['ek_name', '00'.repeat(22)],
    ['ak_name', 'zz'.repeat(34)],
    ['ak_name', '0'.repeat(67)],
    ['secret_sha256', undefined],
    ['secret_sha256', '00'.repeat(31)],
  ]
  for (const [field, value] of cases) {
    const record = Buffer.from(JSON.stringify({ ...good, [field]: value }))
    refusesToParse(t, () => parseCredentialRecord(record), { code: 'bad-value', field }, `${field} ${value}`)
  }
  refusesToParse(t, () => parseCredentialRecord(Buffer.alloc(5000, 0x20)), { code: 'too-large' })
})
