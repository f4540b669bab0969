import t from 'tap'
import { FormatError, UsageError } from '../../base/errors.ts'
import { outcomeOf, refusesToParse, refusesTruncation } from '../../base/testing/rejects.ts'
import { encodePem } from '../../formats/pem.ts'
import { parseTdxQuote } from '../../formats/tdx/quote.ts'
import {
  collateralFiles,
  componentLevel,
  type Json,
  moduleIdentityOf,
  qeIdentity,
  SIMULATED_TIME,
  signedJson,
  tcbInfo,
  tcbLevel,
} from '../testing/tdx-collateral.ts'
import { makeTdxPki, SIMULATED_FMSPC } from '../testing/tdx-pki.ts'
import { makeTdxQuote } from '../testing/tdx-quote.ts'
import { mergeTdxCollateral, parseTdxCollateral } from './collateral.ts'
import { collateralRequests, fetchTdxCollateral, INTEL_PCS, platformSelector } from './pcs.ts'
import { verifyTdxQuote } from './verify.ts'

const pki = makeTdxPki()
const files = collateralFiles(pki)
const quote = makeTdxQuote(pki)
const read = (value: unknown) => parseTdxCollateral(Buffer.from(JSON.stringify(value)))
const statusWith = (...parts: readonly Uint8Array[]) =>
  verifyTdxQuote(quote, mergeTdxCollateral(...parts.map(parseTdxCollateral)), {
    ...{ at: SIMULATED_TIME, root: pki.root },
  })
const isComplete = ({ tcb, findings }: ReturnType<typeof statusWith>) =>
  tcb?.status === 'UpToDate' && findings.length === 0

/** What a tool makes of the PCS's answers: the value of a document, and its signature beside it. */
const value = (document: Buffer, name: string) => JSON.stringify(JSON.parse(document.toString())[name])
const signature = (document: Buffer): string => JSON.parse(document.toString()).signature

t.test('the answers of the service, one file each, in any order', async (t) => {
  t.ok(isComplete(statusWith(...Object.values(files))))
  t.ok(isComplete(statusWith(...Object.values(files).reverse())))
})

t.test('lists and certificates in every encoding', async (t) => {
  const { rootCrl, pckCrl, tcbInfo: info, qeIdentity: identity } = files
  const encodings: Readonly<Record<string, (der: Buffer, label: string) => Buffer>> = {
    DER: (der) => der,
    PEM: (der, label) => Buffer.from(encodePem(label, der)),
    hex: (der) => Buffer.from(`${der.toString('hex').toUpperCase()}\n`),
    base64: (der) => Buffer.from(der.toString('base64')),
  }
  for (const [name, encode] of Object.entries(encodings)) {
    const lists = [rootCrl, pckCrl].map((der) => encode(der, 'X509 CRL'))
    const signer = encode(pki.certificates.tcbSigning, 'CERTIFICATE')
    t.ok(isComplete(statusWith(info, identity, signer, ...lists)), name)
  }
})

t.test('one document with everything', async (t) => {
  const chain = files.signingChain.toString()
  const bundle = {
    ...{ tcb_info_issuer_chain: chain, qe_identity_issuer_chain: chain, pck_crl_issuer_chain: '' },
    ...{ root_ca_crl: files.rootCrl.toString('hex'), pck_crl: files.pckCrl.toString('hex') },
    ...{ tcb_info: value(files.tcbInfo, 'tcbInfo'), tcb_info_signature: signature(files.tcbInfo) },
    qe_identity: value(files.qeIdentity, 'enclaveIdentity'),
    qe_identity_signature: signature(files.qeIdentity),
  }
  const variants: Readonly<Record<string, Json>> = {
    'values as text, signatures beside them': bundle,
    'bytes as arrays of numbers': {
      ...bundle,
      ...{ root_ca_crl: [...files.rootCrl], pck_crl: [...files.pckCrl], pck_certificate_chain: null },
      tcb_info_signature: [...Buffer.from(signature(files.tcbInfo), 'hex')],
    },
    'whole answers as text': {
      ...bundle,
      tcb_info: files.tcbInfo.toString(),
      qe_identity: files.qeIdentity.toString(),
    },
    'whole answers as objects': { ...bundle, tcb_info: JSON.parse(files.tcbInfo.toString()) },
    'a chain as it stands in a header': { ...bundle, tcb_info_issuer_chain: encodeURIComponent(chain) },
  }
  for (const [name, variant] of Object.entries(variants))
    t.ok(isComplete(statusWith(Buffer.from(JSON.stringify(variant)))), name)
})

t.test('collateral of version 3.0, with lists in PEM and texts as C ends them', async (t) => {
  const chain = files.signingChain.toString()
  const [rootList, pckList] = [files.rootCrl, files.pckCrl].map((der) => encodePem('X509 CRL', der))
  const texts = {
    ...{ tcb_info_issuer_chain: chain, qe_identity_issuer_chain: chain, pck_crl_issuer_chain: chain },
    ...{ root_ca_crl: rootList ?? '', pck_crl: pckList ?? '' },
    ...{ tcb_info: files.tcbInfo.toString(), qe_identity: files.qeIdentity.toString() },
  }
  const lists = ['root_ca_crl', 'pck_crl']
  const each = (change: (text: string, name: string) => unknown) =>
    Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, change(text, name)]))
  const asArrays = (end: string) =>
    each((text, name) => (lists.includes(name) ? [...Buffer.from(text + end)] : text + end))
  const variants: Readonly<Record<string, object>> = {
    PEM: texts,
    'with the NUL of C': each((text) => `${text}\0`),
    'PEM as arrays of bytes': asArrays(''),
    'as arrays of bytes with their NUL': asArrays('\0'),
    'with the line ends of a network': each((text) => text.replaceAll('\n', '\r\n')),
    'hex with a NUL': { ...texts, root_ca_crl: `${files.rootCrl.toString('hex')}\0` },
    'a list with its issuers behind it': { ...texts, pck_crl: pckList + chain, pck_crl_issuer_chain: '\0' },
  }
  for (const [name, document] of Object.entries(variants))
    t.ok(isComplete(statusWith(Buffer.from(JSON.stringify({ version: 3, ...document })))), name)
  const hex = files.rootCrl.toString('hex')
  for (const nothing of ['', '\0', [], [0], null])
    t.equal(read({ ...texts, root_ca_crl: nothing }).crls.length, 1, 'what is empty stands for nothing')
  for (const list of [`${hex}\0\0`, `\0${hex}`, [...Buffer.from(hex), 0, 0]])
    refusesToParse(
      t,
      () => read({ ...texts, root_ca_crl: list }),
      { code: 'bad-value' },
      String(list).slice(0, 9),
    )
})

t.test(
  'lists and their issuers in one file of PEM blocks, in any order, with text between them',
  async (t) => {
    const lists = [files.rootCrl, files.pckCrl].map((der) => encodePem('X509 CRL', der))
    const [rootList, pckList] = lists
    const orders = [
      [rootList, files.signingChain, pckList],
      ['Certificate Revocation List (CRL):\n', pckList, 'of the root:\n', rootList, files.signingChain],
    ]
    for (const parts of orders)
      t.ok(isComplete(statusWith(files.tcbInfo, files.qeIdentity, Buffer.from(parts.join('')))))
    const broken = Buffer.from(`${rootList}${pckList}`.replace('-----END X509 CRL', '-----END X509 CRX'))
    refusesToParse(
      t,
      () => parseTdxCollateral(broken),
      { code: 'bad-value' },
      'the first has no end of its own',
    )
  },
)

t.test('documents of PCS API v3, and those for SGX, are refused by saying which are needed', async (t) => {
  const { tcbSigning } = pki.keys
  const { id: _, tdxModule: _module, tdxModuleIdentities: _identities, ...older } = tcbInfo({ version: 2 })
  const ofApi3 = {
    ...older,
    tcbLevels: [
      { tcb: { sgxtcbcomp01svn: 3, pcesvn: 11 }, tcbDate: '2024-03-13T00:00:00Z', tcbStatus: 'UpToDate' },
    ],
  }
  const documents = [
    ['tcbInfo', ofApi3, 'TCB info.id'],
    ['tcbInfo', tcbInfo({ id: 'SGX' }), 'TCB info.id'],
    ['tcbInfo', tcbInfo({ version: 2 }), 'TCB info.version'],
    ['enclaveIdentity', qeIdentity({ id: 'QE' }), 'QE identity.id'],
  ] as const
  for (const [name, content, field] of documents) {
    const signed = signedJson(name, JSON.stringify(content), tcbSigning)
    const hint = /for TDX, of API v4|says nothing of the one that signs quotes of TDs/
    t.match(
      outcomeOf(() => parseTdxCollateral(signed)),
      { name: 'FormatError', field, hint },
      field,
    )
  }
})

t.test("the documents of a PCCS's administrator", async (t) => {
  const document = {
    platforms: [],
    collaterals: {
      tcbinfos: [
        {
          fmspc: SIMULATED_FMSPC.toString('hex'),
          sgx_tcbinfo: {},
          tdx_tcbinfo: JSON.parse(files.tcbInfo.toString()),
        },
      ],
      ...{ tdqeidentity: files.qeIdentity.toString(), rootcacrl: files.rootCrl.toString('hex') },
      pckcacrl: { processorCrl: '', platformCrl: files.pckCrl.toString('hex') },
      certificates: {
        'SGX-TCB-Info-Issuer-Chain': encodeURIComponent(files.signingChain.toString()),
        'SGX-PCK-Certificate-Issuer-Chain': { PLATFORM: files.signingChain.toString() },
      },
    },
  }
  t.ok(isComplete(statusWith(Buffer.from(JSON.stringify(document)))))
})

t.test('a file of which nothing is known is no collateral', async (t) => {
  const refused = (bytes: string | Uint8Array, name: string) =>
    refusesToParse(t, () => parseTdxCollateral(Buffer.from(bytes)), { code: 'bad-value' }, name)
  refused('', 'nothing')
  refused('{}', 'an empty object')
  refused('{"tcbinfo":{}}', 'another spelling')
  refused('hello', 'text')
  refused('-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n', 'a key')
  refused(Buffer.from([0x30, 0x03, 0x02, 0x01, 0x00]), 'another DER structure')
  refused('{"tcb_info":"{}","tcb_info_signature":"00"}', 'a short signature')
  refused('{"tcb_info":"{}"}', 'no signature')
  refused(JSON.stringify({ root_ca_crl: [256] }), 'an array that is not of bytes')
  refused(`{"tcb_info_issuer_chain":"%E0%A4%A"}`, 'a broken header')
})

t.test('a look-alike of the signed value is not taken for it', async (t) => {
  const text = JSON.stringify(tcbInfo())
  const { tcbSigning } = pki.keys
  const signed = signedJson('tcbInfo', text, tcbSigning).toString()
  const forged = JSON.stringify(tcbInfo({ tcbLevels: [tcbLevel({ sgx: [], pceSvn: 0, tdx: [] })] }))
  const twice = [
    signed.replace('{"tcbInfo":', `{"tcbInfo":${forged},"tcbInfo":`),
    signed.replace('{"tcbInfo":', `{"\\u0074cbInfo":${forged},"tcbInfo":`),
    signed.replace('"version":3', '"version":3,"version":3'),
  ]
  for (const document of twice)
    refusesToParse(t, () => parseTdxCollateral(Buffer.from(document)), { code: 'bad-value' }, 'a key twice')
  const nested = [
    signed.replace('{"tcbInfo":', `{"note":{"tcbInfo":${forged}},"tcbInfo":`),
    signed.replace('{"tcbInfo":', `{"note":${JSON.stringify(`,"tcbInfo":${forged}`)},"tcbInfo":`),
    signed.replace('{"tcbInfo":', '{"note":"\\\\\\"{[","tcbInfo" \n:\t'),
  ]
  for (const document of nested) {
    const [found] = parseTdxCollateral(Buffer.from(document)).tcbInfos
    t.equal(Buffer.from(found?.signedBytes ?? []).toString(), text, 'the value beside the look-alike')
  }
})

t.test('every field of a document is needed, and of its type', async (t) => {
  const refused = (document: Json, name: string) =>
    t.ok(
      outcomeOf(() => read({ [name]: document, signature: '00'.repeat(64) })) instanceof FormatError,
      `${name} ${JSON.stringify(document).slice(-60)}`,
    )
  for (const [name, document] of [
    ['tcbInfo', tcbInfo()],
    ['enclaveIdentity', qeIdentity()],
  ] as const) {
    const optional = ['tdxModuleIdentities']
    for (const key of Object.keys(document).filter((key) => !optional.includes(key))) {
      const { [key]: _, ...rest } = document
      refused(rest, name)
      refused({ ...document, [key]: {} }, name)
      refused({ ...document, [key]: null }, name)
    }
    for (const issueDate of [
      '2025-02-30T00:00:00Z',
      '2025-06-19',
      '2025-06-19T10:16:03+00:00',
      '20250-06-19T10:16:03Z',
    ])
      refused({ ...document, issueDate }, name)
    refused({ ...document, tcbLevels: [] }, name)
  }
  const wrong: readonly Json[] = [
    ...[{ id: 'SGX' }, { version: 2 }, { tcbType: 1 }, { fmspc: '00' }, { tcbEvaluationDataNumber: -1 }],
    { tcbLevels: [tcbLevel({ sgx: [256] })] },
    { tcbLevels: [tcbLevel({ pceSvn: 65_536 })] },
    { tcbLevels: [tcbLevel({ status: 'Fine' })] },
    { tcbLevels: [tcbLevel({ advisoryIds: ['<b>'] })] },
    { tcbLevels: [tcbLevel(), tcbLevel({ status: 'OutOfDate' })] },
    { tdxModuleIdentities: [moduleIdentityOf('TDX_01', componentLevel(256))] },
    { tdxModuleIdentities: [moduleIdentityOf('TDX_01', componentLevel(1), componentLevel(1, 'Revoked'))] },
    {
      tdxModuleIdentities: [
        moduleIdentityOf('TDX_01', componentLevel(1)),
        moduleIdentityOf('tdx_01', componentLevel(2)),
      ],
    },
  ]
  for (const changes of wrong) refused(tcbInfo(changes), 'tcbInfo')
  for (const changes of [{ id: 'QE' }, { version: 3 }, { miscselect: '0' }])
    refused(qeIdentity(changes), 'enclaveIdentity')
})

t.test('what to ask a service for follows from the quote, and says nothing of the platform', async (t) => {
  const selector = platformSelector(parseTdxQuote(quote))
  t.strictSame(selector, { fmspc: SIMULATED_FMSPC.toString('hex'), authority: 'platform' })
  const urls = (service?: string) =>
    collateralRequests({ fmspc: 'b0c06f000000', authority: 'processor' }, service).map(({ url }) => url)
  t.strictSame(urls(), [
    'https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=b0c06f000000',
    'https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity',
    'https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=processor&encoding=der',
    'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der',
  ])
  const local = urls('https://localhost:8081/sgx/certification/v4/')
  t.equal(local[3], 'https://localhost:8081/sgx/certification/v4/rootcacrl')
  t.equal(local[0], 'https://localhost:8081/tdx/certification/v4/tcb?fmspc=b0c06f000000')
  t.ok(urls('http://127.0.0.1:8081/pccs')[1]?.startsWith('http://127.0.0.1:8081/pccs/tdx/'))
  for (const service of [
    'http://pccs.example',
    'ftp://pccs.example',
    'file:///x',
    'pccs',
    'https://a:b@pccs.example',
    `${INTEL_PCS}?x=1`,
  ])
    t.ok(outcomeOf(() => urls(service)) instanceof UsageError, service)
})

t.test('what a service answers becomes files that verify the quote', async (t) => {
  const selector = platformSelector(parseTdxQuote(quote))
  if (selector === undefined) throw new Error('the quote carries its chain')
  const chain = encodeURIComponent(files.signingChain.toString())
  const asked: string[] = []
  const answers: Readonly<Record<string, readonly [Buffer, string | undefined]>> = {
    tcb: [files.tcbInfo, 'TCB-Info-Issuer-Chain'],
    identity: [files.qeIdentity, 'SGX-Enclave-Identity-Issuer-Chain'],
    pckcrl: [files.pckCrl, 'SGX-PCK-CRL-Issuer-Chain'],
    rootcacrl: [Buffer.from(files.rootCrl.toString('hex')), undefined],
  }
  const fetched = await fetchTdxCollateral(selector, {
    service: 'https://pccs.example:8081',
    fetch: async (url) => {
      asked.push(url)
      const [body, name] = answers[new URL(url).pathname.split('/').at(-1) ?? ''] ?? [
        Buffer.alloc(0),
        undefined,
      ]
      return { body, header: (wanted) => (wanted === name ? chain : undefined) }
    },
  })
  t.equal(asked.length, 4)
  t.ok(isComplete(statusWith(...fetched.map(({ bytes }) => bytes))))
  t.equal(new Set(fetched.map(({ file }) => file)).size, fetched.length, 'each answer has a name of its own')
})

t.test('collateral that is cut off anywhere is refused', async (t) => {
  for (const name of ['tcbInfo', 'qeIdentity', 'rootCrl', 'pckCrl'] as const)
    refusesTruncation(t, files[name], parseTdxCollateral, name)
  const { tcbInfo: info, signingChain: chain } = files
  const { tcbInfo: value, signature } = JSON.parse(info.toString())
  const bundle = {
    tcb_info: JSON.stringify(value),
    tcb_info_signature: signature,
    root_ca_crl: files.rootCrl.toString('hex'),
  }
  const whole = Buffer.from(JSON.stringify({ ...bundle, tcb_info_issuer_chain: chain.toString() }))
  refusesTruncation(t, whole, parseTdxCollateral, 'a bundle')
})
