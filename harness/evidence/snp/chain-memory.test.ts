import { randomBytes } from 'node:crypto'
import t from 'tap'
import { CERTIFICATE_GUIDS, encodeCertificateTable } from '../../formats/snp/certificate-table.ts'
import { parseSnpReport } from '../../formats/snp/report.ts'
import { parseCertificate } from '../../formats/x509.ts'
import type { VerifyRequest } from '../request.ts'
import { makeCrl } from '../testing/pki.ts'
import { SnpSignerEmulation } from '../testing/snp-signer.ts'
import { verifyEvidence } from '../verify-evidence.ts'
import type { VerifiedSnpChain } from './chain.ts'
import { type ChainInputs, SnpChainMemory } from './chain-memory.ts'

const AT = new Date('2025-06-01T00:00:00Z')
const milan = new SnpSignerEmulation()

/** As a guest sends it: the report with the host's table. */
function extended(emulation: SnpSignerEmulation, report: Uint8Array): Buffer {
  const { root, intermediate, leaf } = emulation.certificates
  const entries = [
    { guid: CERTIFICATE_GUIDS.ark, bytes: root },
    { guid: CERTIFICATE_GUIDS.ask, bytes: intermediate },
    { guid: CERTIFICATE_GUIDS.vcek, bytes: leaf },
  ]
  return Buffer.concat([report, encodeCertificateTable(entries)])
}

function requestOf(emulation: SnpSignerEmulation, more: Partial<VerifyRequest> = {}): VerifyRequest {
  const files = { certificates: [], crls: [], collateral: [], quotes: [] }
  const policy = { simulatedRoots: [emulation.root.keyId] }
  return { evidence: extended(emulation, emulation.report()), ...files, policy, at: AT, ...more }
}

/** Counts how often a chain was taken over. */
class Watched extends SnpChainMemory {
  taken = 0
  override find(inputs: ChainInputs, at: Date): VerifiedSnpChain | undefined {
    const found = super.find(inputs, at)
    if (found) this.taken += 1
    return found
  }
}

async function warmed(request = requestOf(milan)): Promise<Watched> {
  const snpChains = new Watched()
  const { authentic } = await verifyEvidence({ ...request, snpChains })
  if (!authentic) throw new Error('the first one is not authentic')
  return snpChains
}

t.test('a further report of the same key takes the chain over', async (t) => {
  const snpChains = await warmed()
  t.equal(snpChains.taken, 0)
  const report = milan.report({ reportData: Buffer.alloc(64, 7) })
  const request = requestOf(milan, { evidence: extended(milan, report) })
  const verdict = await verifyEvidence({ ...request, snpChains })
  t.equal(snpChains.taken, 1)
  t.same(verdict, await verifyEvidence(request))
  t.equal(verdict.authentic, true)
})

t.test(
  'what differs in anything that decides is verified anew, and judged as without a memory',
  async (t) => {
    const { root, intermediate, leaf } = milan.certificates
    const issuer = parseCertificate(root).subject.raw
    const list = (revoked: readonly Uint8Array[]) =>
      makeCrl({ issuer, signer: milan.keys.root, revoked: revoked.map((serial) => ({ serial })) })
    const serial = Buffer.from(parseCertificate(intermediate).serial, 'hex')
    const stranger = new SnpSignerEmulation()
    const impostor = new SnpSignerEmulation({
      keys: stranger.keys,
      hwId: parseSnpReport(milan.report()).chipId,
    })
    const forged = Buffer.from(milan.report())
    forged[0x50] = (forged[0x50] ?? 0) ^ 1
    const otherChip = milan.report({ chipId: randomBytes(64) })
    const cases: Readonly<Record<string, Partial<VerifyRequest>>> = {
      'AMD’s roots alone': { policy: {} },
      'another simulated root': { policy: { simulatedRoots: [stranger.root.keyId] } },
      'after the end': { at: new Date('2060-01-01T00:00:00Z') },
      'before the beginning': { at: new Date('2000-01-01T00:00:00Z') },
      'the intermediate revoked': { crls: [list([serial])] },
      'a list that revokes nobody': { crls: [list([])] },
      'a chip of somebody else': { evidence: extended(milan, otherChip) },
      'the chain of a stranger with this chip’s name': { evidence: extended(stranger, impostor.report()) },
      'no intermediate': { evidence: milan.report(), certificates: [leaf, root] },
    }
    const snpChains = await warmed()
    for (const [name, change] of Object.entries(cases)) {
      const request = requestOf(milan, change)
      const before = snpChains.taken
      const verdict = await verifyEvidence({ ...request, snpChains })
      t.equal(snpChains.taken, before, `${name}: not taken over`)
      t.same(verdict, await verifyEvidence(request), name)
      await verifyEvidence({ ...requestOf(milan), snpChains })
    }
  },
)

t.test('a chain vouches for no report: one that its key did not sign is refused', async (t) => {
  const snpChains = await warmed()
  const forged = Buffer.from(milan.report())
  // REPORT_DATA.
  forged[0x50] = (forged[0x50] ?? 0) ^ 1
  const verdict = await verifyEvidence({
    ...requestOf(milan, { evidence: extended(milan, forged) }),
    snpChains,
  })
  t.equal(snpChains.taken, 1)
  t.same([verdict.authentic, verdict.findings.map(({ code }) => code)], [false, ['report-signature']])
})

t.test('what was not authentic is not kept', async (t) => {
  const snpChains = new Watched()
  const forged = Buffer.from(milan.report())
  forged[0x50] = (forged[0x50] ?? 0) ^ 1
  await verifyEvidence({ ...requestOf(milan, { evidence: extended(milan, forged) }), snpChains })
  await verifyEvidence({ ...requestOf(milan), snpChains })
  t.equal(snpChains.taken, 0)
})

t.test('a chain that came in a large table is not kept, since it would hold all of it', async (t) => {
  const snpChains = new Watched()
  const { root, intermediate, leaf } = milan.certificates
  const entries = [
    { guid: CERTIFICATE_GUIDS.ark, bytes: root },
    { guid: CERTIFICATE_GUIDS.ask, bytes: intermediate },
    { guid: CERTIFICATE_GUIDS.vcek, bytes: leaf },
    { guid: '00000000-0000-4000-8000-000000000001', bytes: Buffer.alloc(64 * 1024) },
  ]
  const evidence = Buffer.concat([milan.report(), encodeCertificateTable(entries)])
  for (const _ of [1, 2]) {
    const { authentic } = await verifyEvidence({ ...requestOf(milan, { evidence }), snpChains })
    t.equal(authentic, true)
  }
  t.equal(snpChains.taken, 0)
})

t.test('of more chains than there is room for the longest unused is forgotten', async (t) => {
  const memory = new SnpChainMemory(2)
  const chain = await new Promise<VerifiedSnpChain>((resolve) => {
    class Told extends SnpChainMemory {
      override keep(_: ChainInputs, kept: VerifiedSnpChain): void {
        resolve(kept)
      }
    }
    void verifyEvidence({ ...requestOf(milan), snpChains: new Told() })
  })
  const inputs = (id: string): ChainInputs => ({
    ...{ report: parseSnpReport(milan.report()), certificates: [], crls: [], simulatedRoots: [id] },
  })
  memory.keep(inputs('a'), chain)
  memory.keep(inputs('b'), chain)
  t.equal(memory.find(inputs('a'), AT), chain)
  memory.keep(inputs('c'), chain)
  t.same(
    ['a', 'b', 'c'].map((id) => memory.find(inputs(id), AT) !== undefined),
    [true, false, true],
  )
})
