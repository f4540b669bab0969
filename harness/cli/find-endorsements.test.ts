/** What key services are asked for, beside what was given and a cache that has part of it; and what the cache lets in. */
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { sha256Hex } from '../base/digest.ts'
import type { VerifyRequest } from '../evidence/request.ts'
import { snpRequest } from '../evidence/testing/emulated-requests.ts'
import { commonNameOf, ecKeyPair, makeCertificate, makeCrl, publicKeyInfo } from '../evidence/testing/pki.ts'
import { SnpSignerEmulation } from '../evidence/testing/snp-signer.ts'
import { collateralFiles, qeIdentity, SIMULATED_TIME, tcbInfo } from '../evidence/testing/tdx-collateral.ts'
import { makeTdxPki, SIMULATED_FMSPC } from '../evidence/testing/tdx-pki.ts'
import { makeTdxQuote } from '../evidence/testing/tdx-quote.ts'
import { verifyEvidence } from '../evidence/verify-evidence.ts'
import { CERTIFICATE_GUIDS, encodeCertificateTable } from '../formats/snp/certificate-table.ts'
import { parseCertificate } from '../formats/x509.ts'
import { EndorsementCache } from './endorsement-cache.ts'
import { withFoundEndorsements } from './find-endorsements.ts'

const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
t.teardown(() => rm(directory, { recursive: true }))
let caches = 0
const newDirectory = () => join(directory, `cache-${caches++}`)

const emulation = new SnpSignerEmulation()
const { root, intermediate, leaf } = emulation.certificates
const snp = snpRequest({
  policy: { snp: {}, simulatedRoots: [emulation.root.keyId] },
  more: { evidence: emulation.report(), certificates: [] },
})
const rootName = parseCertificate(root).subject.raw
const list = (nextUpdate: string, thisUpdate = '2025-01-01', revoked: readonly { serial: number }[] = []) =>
  makeCrl({
    ...{ issuer: rootName, signer: emulation.keys.root, algorithm: 'rsa-pss-sha384', revoked },
    ...{ thisUpdate: new Date(thisUpdate), nextUpdate: new Date(nextUpdate) },
  })

interface Service {
  readonly address: string
  readonly asked: string[]
}

/** On loopback; `answer` writes what it has for a path of the whole address. */
async function service(
  t: Test,
  answer: (path: string, response: ServerResponse, address: string) => Uint8Array | undefined,
): Promise<Service> {
  const asked: string[] = []
  const handle = ({ url = '' }: IncomingMessage, response: ServerResponse) => {
    const [, what = ''] = /(cert_chain|pckcrl|rootcacrl|crl|tcb|identity|[0-9a-f]{128})/.exec(url) ?? []
    asked.push(what.length === 128 ? 'vcek' : what)
    const body = answer(asked.at(-1) ?? '', response, url)
    response.writeHead(body ? 200 : 404).end(body)
  }
  const server = createServer(handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

const AMD: Readonly<Record<string, Buffer>> = {
  ...{ crl: list('2027-01-01'), cert_chain: Buffer.concat([intermediate, root]), vcek: leaf },
}

t.test('SNP: what was given comes first, then the cache, and only the rest is asked for', async (t) => {
  const kds = await service(t, (what) => AMD[what])
  const ask = async (cache: EndorsementCache, more: Partial<VerifyRequest> = {}) => {
    kds.asked.length = 0
    const { request, failures } = await withFoundEndorsements(
      { ...snp, ...more },
      { cache, services: { kds: kds.address } },
    )
    t.match(await verifyEvidence(request), { authentic: true, acceptable: true })
    t.same(failures, [])
    return kds.asked.join(' ')
  }
  const cacheWith = async (...files: readonly Uint8Array[]) => {
    const cache = new EndorsementCache({ directory: newDirectory(), simulatedRoots: [emulation.root.keyId] })
    t.same((await cache.import(files)).refused, [])
    return cache
  }
  const empty = await cacheWith()
  t.equal(await ask(empty), 'cert_chain vcek crl')
  t.equal(await ask(empty), '', 'everything is there')
  t.equal(
    await ask(await cacheWith(intermediate, root, list('2025-12-31'), leaf)),
    'crl',
    'the list has ended',
  )
  t.equal(await ask(await cacheWith(leaf, intermediate, root)), 'crl')
  const certificates = [leaf, intermediate, root]
  t.equal(await ask(await cacheWith(), { certificates }), 'crl', 'the certificates are given')
  t.equal(await ask(await cacheWith(), { certificates, crls: [list('2027-01-01')] }), '', 'all is given')
})

const REVOKED = [{ serial: 0x10001 }]

t.test('what evidence carries itself keeps no list from being asked for', async (t) => {
  const ofMilan: Readonly<Record<string, Buffer>> = { ...AMD, crl: list('2027-01-01', '2025-01-01', REVOKED) }
  const kds = await service(t, (what, _response, url) =>
    url.includes('/Milan/') ? ofMilan[what] : undefined,
  )
  const stranger = ecKeyPair('P-384')
  const nobody = commonNameOf('nobody')
  const authority = makeCertificate({
    ...{ subject: parseCertificate(intermediate).subject.raw, issuer: nobody, serial: 1 },
    ...{ publicKey: publicKeyInfo(stranger), signer: stranger },
  })
  const table = encodeCertificateTable([
    { guid: CERTIFICATE_GUIDS.ask, bytes: authority },
    { guid: CERTIFICATE_GUIDS.crl, bytes: makeCrl({ issuer: nobody, signer: stranger }) },
  ])
  const hwId = emulation.report().subarray(0x1a0, 0x1e0)
  const genoa = new SnpSignerEmulation({ product: 'genoa', hwId })
  const otherLine = encodeCertificateTable([{ guid: CERTIFICATE_GUIDS.vcek, bytes: genoa.certificates.leaf }])
  for (const evidence of [
    Buffer.concat([snp.evidence, table]),
    Buffer.concat([emulation.report({ version: 2 }), otherLine]),
  ]) {
    kds.asked.length = 0
    const cache = new EndorsementCache({ directory: newDirectory(), simulatedRoots: [emulation.root.keyId] })
    const certificates = [leaf, intermediate, root]
    const { request } = await withFoundEndorsements(
      { ...snp, certificates, evidence },
      { cache, services: { kds: kds.address } },
    )
    t.match(await verifyEvidence(request), { authentic: false, findings: [{ code: 'revoked' }] })
  }
})

t.test('version 2 names no product: chain and list of each line that it may be', async (t) => {
  const genoa = new SnpSignerEmulation({ product: 'genoa', keys: emulation.keys })
  const { certificates } = genoa
  const genoaList = makeCrl({
    ...{ issuer: parseCertificate(certificates.root).subject.raw, signer: genoa.keys.root },
    ...{ algorithm: 'rsa-pss-sha384', nextUpdate: new Date('2027-01-01') },
  })
  const GENOA: Readonly<Record<string, Buffer>> = {
    cert_chain: Buffer.concat([certificates.intermediate, certificates.root]),
    ...{ crl: genoaList, vcek: certificates.leaf },
  }
  const { vcek: _, ...ofMilan } = AMD
  const kds = await service(t, (what, _response, url) =>
    url.includes('/Genoa/') ? GENOA[what] : (ofMilan as typeof AMD)[what],
  )
  const simulatedRoots = [emulation.root.keyId]
  const ask = async (...cached: readonly Uint8Array[]) => {
    const cache = new EndorsementCache({ directory: newDirectory(), simulatedRoots })
    await cache.import(cached)
    const asked: string[] = []
    for (const _time of [1, 2]) {
      kds.asked.length = 0
      const { request, failures } = await withFoundEndorsements(
        { ...snp, evidence: genoa.report({ version: 2 }) },
        { cache, services: { kds: kds.address } },
      )
      t.match(await verifyEvidence(request), { authentic: true, acceptable: true })
      t.match(
        request.found?.crls.some((each) => genoaList.equals(each)),
        true,
      )
      t.same(failures, [])
      asked.push(kds.asked.join(' '))
    }
    return asked
  }
  t.same(await ask(), ['cert_chain cert_chain vcek vcek crl crl', ''])
  t.same(await ask(intermediate, root, list('2027-01-01')), ['cert_chain vcek vcek crl', ''])
})

t.test('a service that cannot be asked is only a failure where something is missing', async (t) => {
  const services = { kds: 'http://127.0.0.1:9' }
  const cache = new EndorsementCache({ directory: newDirectory() })
  const certificates = [leaf, intermediate, root]
  const { request, failures } = await withFoundEndorsements({ ...snp, certificates }, { cache, services })
  t.equal(failures.length, 1, 'the list')
  t.match(failures[0], { name: 'HostError', code: 'no-network' })
  t.match(await verifyEvidence(request), { acceptable: true })
})

const pki = makeTdxPki()
const files = collateralFiles(pki)
const tdxRoots = [sha256Hex(parseCertificate(pki.certificates.root).publicKey.raw)]
const tdx: VerifyRequest = {
  ...{
    evidence: makeTdxQuote(pki),
    certificates: [pki.certificates.root],
    crls: [],
    collateral: [],
    quotes: [],
  },
  ...{ policy: { tdx: {}, simulatedRoots: tdxRoots }, at: SIMULATED_TIME },
}
const ended = new Date('2025-06-30T00:00:00Z')
const chain = encodeURIComponent(files.signingChain.toString())
const HEADERS: Readonly<Record<string, string>> = {
  ...{ tcb: 'TCB-Info-Issuer-Chain', identity: 'SGX-Enclave-Identity-Issuer-Chain' },
}
const INTEL: Readonly<Record<string, Buffer>> = {
  ...{ tcb: files.tcbInfo, identity: files.qeIdentity, pckcrl: files.pckCrl },
  rootcacrl: Buffer.from(files.rootCrl.toString('hex')),
}

t.test('TDX: each part of the collateral is renewed on its own', async (t) => {
  const pcs = await service(t, (what, response) => {
    if (HEADERS[what]) response.setHeader(HEADERS[what], chain)
    return INTEL[what]
  })
  const ask = async (...cached: readonly Uint8Array[]) => {
    pcs.asked.length = 0
    const cache = new EndorsementCache({ directory: newDirectory(), simulatedRoots: tdxRoots })
    const { refused } = await cache.import(cached)
    t.same(refused, [])
    const { request, failures } = await withFoundEndorsements(tdx, { cache, services: { pcs: pcs.address } })
    const { acceptable, findings } = await verifyEvidence(request)
    t.ok(acceptable && failures.length === 0, JSON.stringify([findings, failures]))
    return pcs.asked.join(' ')
  }
  const authorities = [files.signingChain, pki.certificates.pckAuthority]
  const { tcbInfo: info, qeIdentity: identity, pckCrl, rootCrl } = files
  t.equal(await ask(), 'tcb identity pckcrl rootcacrl')
  t.equal(await ask(...authorities, info, identity, pckCrl, rootCrl), '')
  const staleCrl = pki.pckCrl({ nextUpdate: ended })
  t.equal(await ask(...authorities, info, identity, staleCrl, rootCrl), 'pckcrl')
  t.equal(await ask(...authorities, info, identity, pckCrl, pki.rootCrl({ nextUpdate: ended })), 'rootcacrl')
  const nextUpdate = '2025-06-30T00:00:00Z'
  const old = collateralFiles(pki, {
    qeIdentity: qeIdentity({ nextUpdate }),
    tcbInfo: tcbInfo({ nextUpdate }),
  })
  t.equal(await ask(...authorities, info, old.qeIdentity, pckCrl, rootCrl), 'identity')
  t.equal(await ask(...authorities, old.tcbInfo, identity, pckCrl, rootCrl), 'tcb')
})

t.test('a service that answers with what no root vouches for has not answered', async (t) => {
  const stranger = new SnpSignerEmulation()
  const kds = await service(t, (what) => (what === 'vcek' ? stranger.certificates.leaf : AMD[what]))
  const cache = new EndorsementCache({ directory: newDirectory(), simulatedRoots: [emulation.root.keyId] })
  const { failures } = await withFoundEndorsements(snp, { cache, services: { kds: kds.address } })
  t.match(failures, [{ code: 'no-network', message: /no pinned root vouches for VCEK for Milan/ }])
})

t.test('nothing enters the cache, or leaves it, that no pinned root vouches for', async (t) => {
  const place = newDirectory()
  const simulatedRoots = [emulation.root.keyId]
  const cache = new EndorsementCache({ directory: place, simulatedRoots })
  // A forger's chain has every name right.
  const claims = { hwId: emulation.report().subarray(0x1a0, 0x1e0) }
  const forger = new SnpSignerEmulation({ ...claims, change: { leaf: { notAfter: new Date('2049-01-01') } } })
  const forged = Object.values(forger.certificates)
  const forgedList = makeCrl({
    ...{ issuer: rootName, signer: forger.keys.root, algorithm: 'rsa-pss-sha384' },
    nextUpdate: new Date('2049-01-01'),
  })
  const other = makeCrl({ issuer: commonNameOf('anybody'), signer: ecKeyPair() })
  await cache.import([leaf, intermediate, root, list('2027-01-01')])
  const before = await readdir(place)
  const { vouched, refused } = await cache.import([...forged, forgedList, other])
  t.same([vouched.length, refused.length], [0, 5])
  t.same(await readdir(place), before)
  const pinned = await new EndorsementCache({ directory: newDirectory() }).import([leaf, intermediate, root])
  t.equal(pinned.vouched.length, 0, 'an emulated root that nobody named')

  // Whoever can write there can only take away.
  const names = new Map(
    (await new EndorsementCache({ directory: place }).list()).map((each) => [each.about, each.name]),
  )
  const vcek = [...names].find(([about]) => about.startsWith('VCEK'))?.[1] ?? ''
  await mkdir(place, { recursive: true })
  await writeFile(join(place, vcek), forger.certificates.leaf)
  for (let index = 0; index < 40; index++) {
    const { certificates } = new SnpSignerEmulation({ keys: forger.keys, hwId: claims.hwId })
    await writeFile(join(place, `ca-${sha256Hex(certificates.root).slice(0, 16)}.der`), certificates.root)
  }
  const { request } = await withFoundEndorsements(snp, { cache, services: undefined })
  t.equal(request.found?.certificates.length, 2, 'the authorities of AMD, and no forged leaf')
  await cache.import([leaf])
  const healed = await withFoundEndorsements(snp, { cache, services: undefined })
  t.match(await verifyEvidence(healed.request), { acceptable: true })
})

t.test(
  'documents enter the cache, and leave it, by the signature of a vouched TCB signer alone',
  async (t) => {
    const pki = makeTdxPki()
    const simulatedRoots = [sha256Hex(parseCertificate(pki.certificates.root).publicKey.raw)]
    const place = newDirectory()
    const cache = new EndorsementCache({ directory: place, simulatedRoots })
    const genuine = [...Object.values(collateralFiles(pki)), pki.certificates.pckAuthority]
    t.equal((await cache.import(genuine)).refused.length, 0)
    const newer = { issueDate: '2025-06-30T00:00:00Z' }
    const documents = { tcbInfo: tcbInfo(newer), qeIdentity: qeIdentity(newer) }
    const stranger = makeTdxPki()
    for (const [who, signer, beside] of [
      ['nobody', ecKeyPair('P-256'), []],
      ["a stranger's TCB signer", stranger.keys.tcbSigning, [stranger.certificates.tcbSigning]],
      ['a PCK of the vendor', pki.keys.pck, [pki.certificates.pck]],
    ] as const) {
      const forged = collateralFiles(pki, { ...documents, signer })
      const { refused } = await cache.import([forged.tcbInfo, forged.qeIdentity, ...beside])
      t.equal(refused.filter(({ content }) => content.kind === 'document').length, 2, who)
      // Whoever can write there can only take away.
      for (const { name, bytes } of refused) await writeFile(join(place, name), bytes)
      const found = await cache.forPlatform(SIMULATED_FMSPC.toString('hex'), { at: SIMULATED_TIME })
      t.equal(found.filter(({ content }) => content.kind === 'document').length, 0, who)
      await cache.import(genuine)
      const healed = await cache.forPlatform(SIMULATED_FMSPC.toString('hex'), { at: SIMULATED_TIME })
      t.equal(healed.filter(({ content }) => content.kind === 'document').length, 2, `${who}, and back`)
    }
  },
)

t.test('of two that a root vouches for the newer stays', async (t) => {
  const cache = new EndorsementCache({ directory: newDirectory(), simulatedRoots: [emulation.root.keyId] })
  const newer = list('2027-01-01', '2025-12-01')
  await cache.import([root, newer])
  await cache.import([list('2029-01-01', '2025-02-01')])
  const kept = (await cache.list()).find(({ name }) => name.startsWith('crl-'))
  t.same(kept?.bytes, newer, 'not the one that would be valid longer')
  t.same(
    (await cache.import([root, leaf])).refused.map(({ about }) => about.slice(0, 4)),
    ['VCEK'],
    'no issuer',
  )
})

t.test('a cached list that revokes is heeded when the next one is due, another is not', async (t) => {
  const verdictWith = async (request: VerifyRequest, ...files: readonly Uint8Array[]) => {
    const cache = new EndorsementCache({ directory: newDirectory(), simulatedRoots: [emulation.root.keyId] })
    t.same((await cache.import(files, [parseCertificate(root)])).refused, [])
    return verifyEvidence((await withFoundEndorsements(request, { cache, services: undefined })).request)
  }
  const ended = list('2025-12-31', '2025-01-01', REVOKED)
  const certificates = [leaf, intermediate, root]
  const revoked = { authentic: false, findings: [{ code: 'revoked' }] }
  t.match(await verdictWith(snp, ...certificates, ended), revoked)
  t.match(await verdictWith({ ...snp, certificates }, ended), revoked, 'the chain is given')
  const extended = Buffer.concat([snp.evidence, emulation.certificateTable()])
  t.match(await verdictWith({ ...snp, evidence: extended }, ended), revoked, 'the evidence has it')
  const ofAnother = list('2025-12-31', '2025-01-01', [{ serial: 0x20000 }])
  t.match(await verdictWith(snp, ...certificates, ofAnother), { acceptable: true })
})
