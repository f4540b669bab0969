import { createHash, generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import t from 'tap'
import { vector, vectorNames, vectorsMissing, vectorText } from '../base/testing/vectors.ts'
import { parseSnpEvidence } from '../evidence/snp/parse.ts'
import {
  authority,
  commonNameOf,
  ecKeyPair,
  makeCertificate,
  publicKeyInfo,
} from '../evidence/testing/pki.ts'
import { verifyEvidence } from '../evidence/verify-evidence.ts'
import { encodePem } from '../formats/pem.ts'
import { supportedTee } from './evidence/primary-evidence.ts'
import { canonicalJson } from './protocol/canonical-json.ts'
import { parseAttestation, parseAuthRequest } from './protocol/messages.ts'
import { type TokenJwk, verifyAttestationToken, verifyTokenKey } from './relying-party.ts'
import { snpGuest } from './testing/emulated-guests.ts'
import { brokerFixture } from './testing/fixture.ts'
import { ephemeralTokenKey, Tokens } from './tokens.ts'

const skip = vectorsMissing
/** Within the validity of Trustee's test certificates. */
const AT = new Date('2026-06-01T00:00:00Z')

/** What the title of each case in Trustee's own test says (kbs/src/crypto/jwt.rs). */
const SCENARIOS = {
  '01': undefined,
  '02': { code: 'binding-mismatch' },
  '03': { code: 'endorsement-missing' },
  '04': { name: 'VerifyError' },
} as const

t.test('a token’s key is trusted as Trustee trusts it', { skip }, (t) => {
  for (const [id, failure] of Object.entries(SCENARIOS)) {
    const jwk = JSON.parse(vectorText(`kbs/jwk_scenario${id}-jwk.json`)) as TokenJwk
    const anchorsPem = vector(`kbs/jwk_scenario${id}-trust.pem`)
    const check = () => verifyTokenKey(jwk, { anchorsPem, at: AT })
    if (failure === undefined) t.equal(check().algorithm, 'RS256', id)
    else t.throws(check, failure as never, id)
  }
  const names = vectorNames('kbs').filter((name) => name.includes('jwk_scenario'))
  t.equal(names.length, 2 * Object.keys(SCENARIOS).length, 'every scenario that there is')
  t.end()
})

t.test('the digest over runtime data is Trustee’s', { skip }, (t) => {
  const { structured, digest } = JSON.parse(vectorText('kbs/report_data_vector.json')) as {
    structured: unknown
    digest: string
  }
  t.equal(createHash('sha384').update(canonicalJson(structured)).digest('hex'), digest)
  t.end()
})

t.test('a key set is Trustee’s, certificates included', { skip }, (t) => {
  const expected = JSON.parse(vectorText('kbs/expected-jwks.json')) as { keys: [Record<string, unknown>] }
  const certificate = new X509Certificate(vector('kbs/cert-chain.pem'))
  // Whose key it is, only its maker can sign for; the set has the public half.
  const key = { ...ephemeralTokenKey(), publicKey: certificate.publicKey, certificates: [certificate.raw] }
  const { keys } = new Tokens({ key, issuer: 'x', lifetimeMs: 1 }).keys
  t.match(keys[0], expected.keys[0])
  t.end()
})

t.test(
  'a report in the form of Trustee’s attester is the one that AMD’s processor signed',
  { skip },
  async (t) => {
    const value = JSON.parse(vectorText('kbs/evidence.json')) as {
      attestation_report: { report_data: number[] }
    }
    const { bytes } = supportedTee('snp').read(value)
    const request = {
      evidence: bytes,
      kind: 'snp-report',
      crls: [],
      collateral: [],
      quotes: [],
      policy: { snp: {} },
    } as const
    // The ASK is AMD's own, which Trustee's verifier has built in.
    const [ask] = vectorNames('snp/certs').filter((name) => /genoa/i.test(name) && /ask|chain/i.test(name))
    const certificates = ask === undefined ? [] : [vector(ask)]
    const verdict = await verifyEvidence({ ...request, certificates, at: AT })
    t.equal(verdict.authentic, true, JSON.stringify(verdict.findings))
    value.attestation_report.report_data[0] = 0
    const changed = await verifyEvidence({
      ...request,
      evidence: supportedTee('snp').read(value).bytes,
      certificates,
      at: AT,
    })
    t.match(changed, { authentic: false, findings: [{ code: 'report-signature' }] }, 'one byte of the JSON')
    t.equal(parseSnpEvidence(bytes).report.version, 3)
  },
)

t.test('messages of older clients are refused, as Trustee refuses them', { skip }, (t) => {
  t.equal(parseAuthRequest(vector('kbs/auth.json'), 4096).version, '0.1.0')
  t.throws(() => parseAttestation(vector('kbs/attest.json'), 4096), { code: 'malformed-request' } as never)
  const { verification_requests: requests } = JSON.parse(vectorText('kbs/request.json')) as {
    verification_requests: { tee: string }[]
  }
  for (const { tee } of requests) t.throws(() => supportedTee(tee), { code: 'unsupported-tee' } as never, tee)
  t.end()
})

/** Names of all members, at every depth; arrays and what a TEE says of itself left out. */
function shape(value: unknown, skipped: readonly string[]): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  return Object.entries(value).flatMap(([key, member]) =>
    skipped.includes(key) ? [] : [key, ...shape(member, skipped).map((inner) => `${key}/${inner}`)],
  )
}

t.test('a token has the claims of Trustee’s example, where they are there', { skip }, async (t) => {
  await using fixture = await brokerFixture()
  const guest = fixture.client()
  await guest.attest(snpGuest())
  const claims: unknown = JSON.parse(
    Buffer.from((guest.token ?? '').split('.')[1] ?? '', 'base64url').toString(),
  )
  const example: unknown = JSON.parse(vectorText('kbs/example.token.json'))
  // Of init data only where there was some; of SGX where it is one.
  const skipped = ['sgx', 'init_data', 'init_data_claims']
  const ours = shape(claims, skipped)
  t.strictSame(
    shape(example, skipped).filter((name) => !ours.includes(name)),
    [],
  )
})

t.test('a relying party takes a token by its key set, or by an authority, and by nothing else', async (t) => {
  const root = ecKeyPair('P-256')
  const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = commonNameOf('Attestbed SIMULATED tokens')
  const rootDer = makeCertificate({
    ...{
      subject: name,
      issuer: name,
      publicKey: publicKeyInfo(root),
      signer: root,
      serial: 1,
      extensions: [authority()],
    },
  })
  const leafDer = makeCertificate({
    ...{
      subject: commonNameOf('broker'),
      issuer: name,
      publicKey: publicKeyInfo(leaf),
      signer: root,
      serial: 2,
      extensions: [],
    },
  })
  const tokens = new Tokens({
    key: { ...leaf, certificates: [leafDer] },
    issuer: 'broker',
    lifetimeMs: 60_000,
  })
  const content = {
    tee: 'snp',
    nonce: 'n',
    teePubkey: { kty: 'EC', crv: 'P-256', alg: '', x: '', y: '' } as const,
  }
  const { token } = tokens.issue(
    { ...content, reportData: Buffer.alloc(48), verdicts: [], tpm: undefined },
    AT,
  )
  const anchorsPem = Buffer.from(encodePem('CERTIFICATE', rootDer))
  const keySet = Buffer.from(JSON.stringify(tokens.keys))
  t.match(await verifyAttestationToken(token, { anchorsPem, at: AT }), { iss: 'broker' })
  t.match(await verifyAttestationToken(token, { keySet, at: AT }), { iss: 'broker' })
  const later = new Date(AT.getTime() + 61_000)
  await t.rejects(verifyAttestationToken(token, { keySet, at: later }), { code: 'bad-token' } as never)
  const stranger = makeCertificate({
    ...{
      subject: name,
      issuer: name,
      publicKey: publicKeyInfo(leaf),
      signer: { ...leaf },
      serial: 1,
      extensions: [authority()],
    },
  })
  const others = Buffer.from(encodePem('CERTIFICATE', stranger))
  await t.rejects(verifyAttestationToken(token, { anchorsPem: others, at: AT }), {
    name: 'VerifyError',
  } as never)
  const empty = Buffer.from('{"keys":[]}')
  await t.rejects(verifyAttestationToken(token, { keySet: empty, at: AT }), { code: 'bad-token' } as never)
  const [, body = ''] = token.split('.')
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...own.publicKey.export({ format: 'jwk' }), alg: 'ES256' }
  const input = `${Buffer.from(JSON.stringify({ alg: 'ES256', jwk })).toString('base64url')}.${body}`
  const signature = sign('sha256', Buffer.from(input), {
    key: own.privateKey,
    dsaEncoding: 'ieee-p1363',
  }).toString('base64url')
  await t.rejects(verifyAttestationToken(`${input}.${signature}`, { anchorsPem, at: AT }), {
    code: 'endorsement-missing',
  } as never)
})
