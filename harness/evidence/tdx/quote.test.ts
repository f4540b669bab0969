import { QuoteVerifier } from '@phala/dcap-qvl'
import t from 'tap'
import { FormatError, VerifyError } from '../../base/errors.ts'
import { outcomeOf, refusesToParse, refusesTruncation } from '../../base/testing/rejects.ts'
import { parseTdxQuote } from '../../formats/tdx/quote.ts'
import { decodeTdAttributes, isUnderDebug } from '../../formats/tdx/td-report.ts'
import { collateralFiles, SIMULATED_TIME } from '../testing/tdx-collateral.ts'
import { makeTdxPki } from '../testing/tdx-pki.ts'
import { makeTdxQuote, pckChain, type QuoteSpec } from '../testing/tdx-quote.ts'
import { verifyTdxQuote } from './verify.ts'

const pki = makeTdxPki()
const verify = (bytes: Uint8Array) => verifyTdxQuote(bytes, undefined, { at: SIMULATED_TIME, root: pki.root })

const BODY = 48
const V4_SIGNATURE_DATA = BODY + 584
const V5_SIGNATURE_DATA = BODY + 6 + 648
/** Offsets within the signature data, its length first: Intel TDX DCAP Quoting Library API, appendix A.3.8. */
const OUTER_TYPE = 4 + 64 + 64
const QE_REPORT = OUTER_TYPE + 6
const AUTH_SIZE = QE_REPORT + 384 + 64
const INNER_TYPE = AUTH_SIZE + 2 + 32

t.test('a quote gives back what it was made of', async (t) => {
  const register = (fill: number) => Buffer.alloc(48, fill)
  const body = {
    ...{ mrSeam: register(1), mrTd: register(2), mrConfigId: register(3), mrOwner: register(4) },
    ...{ mrOwnerConfig: register(5), rtmrs: [6, 7, 8, 9].map(register), reportData: Buffer.alloc(64, 10) },
    ...{ tdAttributes: 0x8000_0000_1000_0001n, xfam: 0xe7n, seamAttributes: Buffer.alloc(8, 11) },
    mrSignerSeam: register(12),
  }
  const spec: QuoteSpec = { body, trailing: Buffer.from('rest'), authenticationData: Buffer.alloc(0) }
  const quote = parseTdxQuote(makeTdxQuote(pki, spec))
  t.match(quote.body, { ...body, version: '1.0', teeTcbSvn2: undefined, mrServiceTd: undefined })
  t.match(quote, { trailingBytes: 4, certificationData: { type: 5, data: pckChain(pki) } })
  t.equal(quote.qeAuthenticationData.length, 0)
  const later = { ...body, teeTcbSvn2: Buffer.alloc(16, 13), mrServiceTd: register(14) }
  const fifteen = parseTdxQuote(makeTdxQuote(pki, { version: 5, body: later }))
  t.match(fifteen.body, { ...later, version: '1.5' })
  const ten = makeTdxQuote(pki, { version: 5, bodyVersion: '1.0', body })
  t.match(parseTdxQuote(ten), { header: { version: 5 }, body: { ...body, version: '1.0' } })
  for (const bytes of [
    makeTdxQuote(pki, { version: 5, bodyVersion: '1.0' }),
    makeTdxQuote(pki, { version: 5 }),
  ])
    t.ok(verify(bytes), 'version 5 is authentic with either body')
})

t.test('attributes of a TD are read by name, and reserved ones stand out', async (t) => {
  t.strictSame(decodeTdAttributes(0x8000_0000_1000_0001n), {
    ...{ names: ['debug', 'septVeDisable', 'perfmon'], reservedBits: 0n },
  })
  t.strictSame(decodeTdAttributes(0x0000_0100_0000_0002n), {
    names: [],
    reservedBits: 0x0000_0100_0000_0002n,
  })
  t.strictSame([0n, 1n, 0x10n, 0x80n, 0x1000_0000n].map(isUnderDebug), [false, true, true, true, false])
})

t.test('a quote cut off anywhere is refused', async (t) => {
  for (const version of [4, 5] as const)
    refusesTruncation(t, makeTdxQuote(pki, { version }), parseTdxQuote, `v${version}`)
})

t.test('what is no TDX quote of a known kind is refused by field and offset', async (t) => {
  const cases: readonly [string, 4 | 5, number, number, number][] = [
    ['Version', 4, 0, 3, 0],
    ['Version', 4, 0, 6, 0],
    ['Attestation Key Type', 4, 2, 3, 2],
    ['TEE Type', 4, 4, 0, 4],
    ['TEE Type', 4, 4, 0x82, 4],
    ['Body Type', 5, BODY, 1, BODY],
    ['Body Type', 5, BODY, 4, BODY],
    ['Body Size', 5, BODY, 2, BODY + 2],
    ['certification data type', 4, V4_SIGNATURE_DATA + OUTER_TYPE, 5, V4_SIGNATURE_DATA + OUTER_TYPE],
    ['QE certification data type', 4, V4_SIGNATURE_DATA + INNER_TYPE, 6, V4_SIGNATURE_DATA + INNER_TYPE],
    ['QE certification data type', 4, V4_SIGNATURE_DATA + INNER_TYPE, 0, V4_SIGNATURE_DATA + INNER_TYPE],
    ['QE certification data type', 4, V4_SIGNATURE_DATA + INNER_TYPE, 8, V4_SIGNATURE_DATA + INNER_TYPE],
  ]
  for (const [field, version, at, value, offset] of cases) {
    const bytes = makeTdxQuote(pki, { version })
    bytes[at] = value
    refusesToParse(t, () => parseTdxQuote(bytes), { code: 'bad-value', field, offset }, `${field} ${value}`)
  }
  refusesToParse(t, () => parseTdxQuote(Buffer.alloc(65_537)), { code: 'too-large' })
})

t.test('every length at 0, 1, one off and the maximum is refused', async (t) => {
  const lengths: readonly [string, 4 | 5, number, 2 | 4][] = [
    ['signature data length', 4, V4_SIGNATURE_DATA, 4],
    ['signature data length', 5, V5_SIGNATURE_DATA, 4],
    ['certification data size', 4, V4_SIGNATURE_DATA + OUTER_TYPE + 2, 4],
    ['QE authentication data size', 4, V4_SIGNATURE_DATA + AUTH_SIZE, 2],
    ['QE certification data size', 4, V4_SIGNATURE_DATA + INNER_TYPE + 2, 4],
    ['Body Size', 5, BODY + 2, 4],
  ]
  for (const [field, version, at, size] of lengths) {
    const good = makeTdxQuote(pki, { version })
    const value = good.readUIntLE(at, size)
    for (const wrong of [0, 1, value - 1, value + 1, 2 ** (8 * size) - 1]) {
      const bytes = Buffer.from(good)
      bytes.writeUIntLE(wrong, at, size)
      t.ok(outcomeOf(() => parseTdxQuote(bytes)) instanceof FormatError, `${field} ${wrong}`)
    }
  }
})

t.test('bytes may follow the signature data, and none may lie within it unread', async (t) => {
  const slack = Buffer.alloc(1)
  t.equal(parseTdxQuote(makeTdxQuote(pki, { trailing: Buffer.alloc(3065) })).trailingBytes, 3065)
  for (const spec of [{ slack }, { nestedSlack: slack }])
    refusesToParse(
      t,
      () => parseTdxQuote(makeTdxQuote(pki, spec)),
      { code: 'trailing-bytes' },
      Object.keys(spec)[0],
    )
})

t.test('every reserved bit of the QE report is refused where it stands', async (t) => {
  const good = makeTdxQuote(pki)
  const start = V4_SIGNATURE_DATA + QE_REPORT
  const reserved = [20, 12, 96, 32, 160, 32, 262, 42]
  for (let index = 0; index < reserved.length; index += 2) {
    const [from = 0, length = 0] = reserved.slice(index)
    const wrong: number[] = []
    for (let bit = 0; bit < length * 8; bit++) {
      const bytes = Buffer.from(good)
      const at = start + from + (bit >> 3)
      bytes[at] = 1 << (bit & 7)
      const outcome = outcomeOf(() => parseTdxQuote(bytes))
      if (!(outcome instanceof FormatError && outcome.code === 'reserved-bit' && outcome.offset === at))
        wrong.push(bit)
    }
    t.strictSame(wrong, [], `${length} bytes at ${from}`)
  }
})

t.test('a bit flipped in any byte outside of the certificates is never authentic', async (t) => {
  const good = makeTdxQuote(pki)
  t.ok(verify(good))
  const accepted: number[] = []
  const end = V4_SIGNATURE_DATA + INNER_TYPE + 6
  for (let at = 0; at < end; at++) {
    const bytes = Buffer.from(good)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
    const outcome = outcomeOf(() => verify(bytes))
    if (!(outcome instanceof FormatError || outcome instanceof VerifyError)) accepted.push(at)
  }
  t.strictSame(accepted, [], `${end} bytes`)
})

t.test('an independent verifier takes the emulated platform for a real one with another root', async (t) => {
  const files = collateralFiles(pki)
  const document = (bytes: Buffer) => JSON.parse(bytes.toString('utf8'))
  const chain = files.signingChain.toString('latin1')
  const bundle = {
    tcb_info: JSON.stringify(document(files.tcbInfo).tcbInfo),
    tcb_info_signature: document(files.tcbInfo).signature,
    qe_identity: JSON.stringify(document(files.qeIdentity).enclaveIdentity),
    qe_identity_signature: document(files.qeIdentity).signature,
    ...{ tcb_info_issuer_chain: chain, qe_identity_issuer_chain: chain, pck_crl_issuer_chain: chain },
    ...{ root_ca_crl: files.rootCrl, pck_crl: files.pckCrl, pck_certificate_chain: null },
  }
  const verifier = QuoteVerifier.newWithRootCa(pki.certificates.root)
  const seconds = SIMULATED_TIME.getTime() / 1000
  for (const version of [4, 5] as const) {
    const quote = makeTdxQuote(pki, { version })
    t.equal(verifier.verify(quote, bundle as never, seconds).status, 'UpToDate')
    quote[100] = (quote[100] ?? 0) ^ 1
    t.throws(() => verifier.verify(quote, bundle as never, seconds), 'and not when its body is changed')
  }
})
