import { generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { vector, vectorsMissing } from '../../base/testing/vectors.ts'
import { quoteFile, tpmRequest } from '../testing/emulated-requests.ts'
import { request, verdictOf } from '../testing/vector-requests.ts'
import { appraiseTpmQuotes } from '../tpm/appraise.ts'
import { parseTpmQuotes, verifyTpmQuotes } from '../tpm/examine.ts'
import { readAttestationKey } from '../tpm/quote-file.ts'
import { appraiseHclClaims } from './appraise.ts'

const { publicKey: ak } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const endorsement = {
  ...({ kind: 'hcl', hardware: 'snp', ak, ek: undefined } as const),
  vmConfiguration: { 'secure-boot': true, vmUniqueId: 'A\u001b[2J', 'tpm-enabled': 'true' },
  userData: Buffer.alloc(64, 3),
}

t.test('claims of the runtime data are compared strictly, and shown safely', async (t) => {
  const claims = (hcl: object) => appraiseHclClaims(endorsement, { policy: { hcl } })
  t.same(claims({ vmConfiguration: { 'secure-boot': true }, userData: '03'.repeat(64) }), [])
  const cases = [
    [{ vmConfiguration: { 'secure-boot': false } }, 'false', 'true'],
    [{ vmConfiguration: { 'tpm-enabled': true } }, 'true', '"true"'],
    [{ vmConfiguration: { absent: true } }, 'true', 'none'],
    [{ vmConfiguration: { constructor: 'x' } }, '"x"', 'none'],
    [{ vmConfiguration: { vmUniqueId: 'B' } }, '"B"', '"A\\u001b[2J"'],
    [{ userData: '04'.repeat(64) }, '04'.repeat(64), '03'.repeat(64)],
  ] as const
  for (const [hcl, expected, got] of cases)
    t.match(claims(hcl), [{ code: 'runtime-claim', expected, got }], JSON.stringify(hcl))
})

t.test('a clock that may have been set back is found where it must be safe', async (t) => {
  const made = tpmRequest()
  const key = readAttestationKey(made.ak ?? Buffer.alloc(0), made.at)
  const verified = verifyTpmQuotes(parseTpmQuotes(made.evidence, made), made, { key, from: 'the test' })
  const quotes = verified.quotes.map((quote) => ({
    ...quote,
    clockInfo: { ...quote.clockInfo, safe: false },
  }))
  const context = { policy: { tpm: { clockSafe: 'required' as const } }, at: made.at }
  t.same(appraiseTpmQuotes(verified, context), [])
  t.match(appraiseTpmQuotes({ ...verified, quotes }, context), [{ code: 'clock' }])
})

t.test('an HCL report is held against hardware and claims', { skip: vectorsMissing }, async (t) => {
  const file = vector('azure/hcl_snp_trustee.bin')
  const files = { certs: ['azure/az-snp-vtpm_vcek.pem'] }
  const found = async (policy: object, more: object = {}) =>
    (await verdictOf({ ...request(file, { ...files, policy }), ...more })).findings.map(({ code }) => code)
  t.same(await found({ snp: { vmpls: [0] }, hcl: { vmConfiguration: { 'secure-boot': true } } }), [])
  t.same(await found({ snp: { vmpls: [1] }, hcl: { vmConfiguration: { 'secure-boot': false } } }), [
    'vmpl',
    'runtime-claim',
  ])
  t.same(
    await found({ hcl: { vmConfiguration: { 'secure-boot': true } } }),
    ['policy-silent'],
    'nothing of the hardware',
  )
  t.same(await found({ snp: {} }, { nonce: Buffer.of(1) }), ['nonce-missing'], 'nothing answers a nonce')
  t.same(await found({ snp: {}, freshness: { nonce: 'required' } }), ['nonce-missing'])
  const bare = Buffer.from(JSON.parse(quoteFile().toString()).message, 'hex')
  t.same(
    await found({ snp: {} }, { quotes: [bare] }),
    ['endorsement-missing'],
    'a quote without its signature',
  )
})
