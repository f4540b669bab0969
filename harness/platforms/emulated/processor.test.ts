/** Emulated processors against our own verifier, Node's OpenSSL and an independent verifier of TDX quotes. */
import { randomBytes, verify, X509Certificate } from 'node:crypto'
import { QuoteVerifier } from '@phala/dcap-qvl'
import t from 'tap'
import { UsageError } from '../../base/errors.ts'
import type { ResolvedPolicy } from '../../evidence/policy/resolve.ts'
import { verifyEvidence } from '../../evidence/verify-evidence.ts'
import { parseCertificateTable } from '../../formats/snp/certificate-table.ts'
import { parseSnpReport } from '../../formats/snp/report.ts'
import { parseTdxQuote } from '../../formats/tdx/quote.ts'
import type { EmulatedProcessor, EndorsementFault, TeeFault, TeeLaunch } from './processor.ts'
import { makeSnpProcessor } from './snp-processor.ts'
import { makeTdxProcessor } from './tdx-processor.ts'

const NOW = new Date()
const HOST_DATA = Buffer.alloc(32, 0x11)
const CONFIG_ID = Buffer.alloc(48, 0x22)
const LAUNCH: TeeLaunch = {
  digest: randomBytes(48),
  basis: 'rehearsed',
  fields: {
    ...{ POLICY: '0x30000', HOST_DATA: HOST_DATA.toString('hex'), MRCONFIGID: CONFIG_ID.toString('hex') },
    TDATTRIBUTES: '0x10000000',
  },
}
const REGISTERS = [1, 2, 3, 0].map((value) => Buffer.alloc(48, value))
const snp = makeSnpProcessor({ now: NOW })
const tdx = makeTdxProcessor({ now: NOW })

/** What an owner of the VM demands. */
const policies: Readonly<Record<'sev-snp' | 'tdx', ResolvedPolicy>> = {
  'sev-snp': {
    snp: {
      launchDigests: [hex(LAUNCH.digest)],
      chipIds: [snp.chip],
      signingKeys: ['vcek'],
      hostData: [hex(HOST_DATA)],
      minimumReportedTcb: { genoa: { bootloader: 4, snp: 24 }, turin: { fmc: 1 }, milan: { snp: 24 } },
    },
    revocation: 'required',
  },
  tdx: {
    tdx: {
      ...{ mrtd: [hex(LAUNCH.digest)], mrConfigId: [hex(CONFIG_ID)] },
      ...{ rtmr0: [hex(REGISTERS[0])], rtmr1: [hex(REGISTERS[1])], rtmr2: [hex(REGISTERS[2])] },
    },
  },
}

function hex(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString('hex')
}

interface Case {
  readonly faults?: readonly TeeFault[]
  readonly endorsements?: readonly EndorsementFault[]
  readonly policy?: ResolvedPolicy
  /** The policy names no simulated root. */
  readonly trust?: 'default'
}

async function verdictOf(
  processor: EmulatedProcessor,
  { faults = [], endorsements = [], ...rest }: Case = {},
) {
  const nonce = randomBytes(64)
  const question = { reportData: nonce, launch: LAUNCH, registers: REGISTERS, faults: new Set(faults) }
  const { outblob, auxblob } = processor.answer(question)
  const { certificates, crls, collateral, simulatedRoot } = processor.endorsements(endorsements)
  const policy = rest.policy ?? policies[processor.platform as 'sev-snp' | 'tdx']
  const verdict = await verifyEvidence({
    evidence: outblob,
    certificates: auxblob.length > 0 ? [...certificates, auxblob] : certificates,
    ...{ crls, collateral, quotes: [], nonce, at: NOW },
    policy: rest.trust === 'default' ? policy : { ...policy, simulatedRoots: [simulatedRoot] },
  })
  return { ...verdict, codes: verdict.findings.map(({ code }) => code) }
}

for (const processor of [snp, tdx]) {
  const { platform } = processor
  t.test(`${platform}: honest evidence is accepted by the policy that names its root`, async (t) => {
    const { authentic, acceptable, findings } = await verdictOf(processor)
    t.strictSame({ authentic, acceptable, findings }, { authentic: true, acceptable: true, findings: [] })
  })

  t.test(`${platform}: no default trusts it, and the reason says SIMULATED`, async (t) => {
    for (const policy of [undefined, { snp: {} }, { tdx: {} }]) {
      const { authentic, codes, findings } = await verdictOf(processor, {
        trust: 'default',
        ...(policy && { policy }),
      })
      t.equal(authentic, false)
      t.strictSame(codes, ['unknown-root'])
      t.match(findings[0]?.got, /SIMULATED/)
    }
  })
}

/** One cause, one finding: a policy that is strict in all of them tells which. */
const FAULTS: Readonly<Record<'sev-snp' | 'tdx', Partial<Record<TeeFault | EndorsementFault, string>>>> = {
  'sev-snp': {
    ...{ 'debug-policy': 'debug', 'old-tcb': 'reported-tcb', 'other-chip': 'chip-id' },
    ...{
      'other-host-data': 'host-data',
      'other-report-data': 'report-data',
      'other-launch': 'launch-digest',
    },
    ...{ forged: 'report-signature', 'revoked-key': 'revoked', 'expired-collateral': 'crl-expired' },
    'no-revocation-lists': 'revocation-unchecked',
  },
  tdx: {
    ...{ 'debug-policy': 'debug', 'old-tcb': 'tcb-status', 'other-chip': 'fmspc-mismatch' },
    ...{ 'other-host-data': 'mr-config-id', 'other-report-data': 'report-data', 'other-launch': 'mrtd' },
    ...{ forged: 'quote-signature', 'revoked-key': 'revoked', 'expired-collateral': 'collateral-expired' },
    'no-revocation-lists': 'crl-missing',
  },
}
const ENDORSEMENTS: readonly string[] = ['revoked-key', 'expired-collateral', 'no-revocation-lists']

for (const processor of [snp, tdx])
  t.test(`${processor.platform}: each fault of the host is one finding`, async (t) => {
    for (const [fault, code] of Object.entries(FAULTS[processor.platform as 'sev-snp' | 'tdx'])) {
      const isOwners = ENDORSEMENTS.includes(fault)
      const { codes } = await verdictOf(
        processor,
        isOwners ? { endorsements: [fault as EndorsementFault] } : { faults: [fault as TeeFault] },
      )
      t.strictSame([...new Set(codes)], [code], fault)
    }
    t.strictSame((await verdictOf(processor)).codes, [], 'and without one again none')
  })

t.test('sev-snp: a VLEK is told from a VCEK, and names no chip', async (t) => {
  const { authentic, codes } = await verdictOf(snp, { faults: ['vlek'] })
  t.equal(authentic, true)
  t.strictSame(codes.toSorted(), ['chip-id', 'signing-key'])
})

t.test('tdx: the kind of key that only SEV-SNP has is refused', async (t) => {
  await t.rejects(verdictOf(tdx, { faults: ['vlek'] }), { constructor: UsageError, code: 'bad-value' })
})

t.test('the generations of processors have reports and quotes of their own versions', async (t) => {
  for (const [product, version] of [
    ['milan', 2],
    ['genoa', 3],
    ['turin', 5],
  ] as const) {
    const processor = makeSnpProcessor({ now: NOW, product, ...(version === 2 && { reportVersion: 2 }) })
    const question = {
      reportData: Buffer.alloc(64),
      launch: LAUNCH,
      registers: [],
      faults: new Set<TeeFault>(),
    }
    t.equal(parseSnpReport(processor.answer(question).outblob).version, version)
    const policy = { snp: { ...policies['sev-snp'].snp, chipIds: [processor.chip] } }
    t.strictSame((await verdictOf(processor, { policy })).codes, [], product)
  }
  const fifth = makeTdxProcessor({ now: NOW, quoteVersion: 5 })
  t.strictSame((await verdictOf(fifth)).codes, [])
  t.notSame(snp.chip, makeSnpProcessor({ now: NOW }).chip, 'no two are the same')
  t.notSame(snp.endorsements().simulatedRoot, makeSnpProcessor({ now: NOW }).endorsements().simulatedRoot)
})

t.test('sev-snp: OpenSSL finds the chain whole and the signature right', async (t) => {
  const question = {
    reportData: Buffer.alloc(64),
    launch: LAUNCH,
    registers: [],
    faults: new Set<TeeFault>(),
  }
  const { outblob, auxblob } = snp.answer(question)
  const [root, intermediate, leaf] = parseCertificateTable(auxblob).map(
    ({ bytes }) => new X509Certificate(bytes),
  )
  if (!(root && intermediate && leaf)) throw new Error('three certificates')
  t.ok(
    root.verify(root.publicKey) && intermediate.verify(root.publicKey) && leaf.verify(intermediate.publicKey),
  )
  t.match(root.subject, /O=Attestbed SIMULATED\nCN=SIMULATED ARK-Genoa/)
  const component = (at: number) => Buffer.from(outblob.subarray(at, at + 48)).reverse()
  const signature = Buffer.concat([component(0x2a0), component(0x2a0 + 72)])
  const key = { key: leaf.publicKey, dsaEncoding: 'ieee-p1363' as const }
  t.ok(verify('sha384', outblob.subarray(0, 0x2a0), key, signature))
  t.notOk(verify('sha384', outblob.subarray(1, 0x2a1), key, signature))
})

t.test(
  'tdx: an independent verifier finds the quote right under the simulated root, and up to date',
  async (t) => {
    const nonce = randomBytes(64)
    const ask = (...faults: TeeFault[]) =>
      tdx.answer({ reportData: nonce, launch: LAUNCH, registers: REGISTERS, faults: new Set(faults) }).outblob
    const { certificates, crls, collateral } = tdx.endorsements()
    const [tcbInfo, qeIdentity, chain] = collateral.map(String)
    const seconds = Math.floor(NOW.getTime() / 1000)
    const [tcb_info, tcb_info_signature] = signed(tcbInfo)
    const [qe_identity, qe_identity_signature] = signed(qeIdentity)
    const bundle = {
      ...{ tcb_info, tcb_info_signature, tcb_info_issuer_chain: chain ?? '' },
      ...{ qe_identity, qe_identity_signature, qe_identity_issuer_chain: chain ?? '' },
      ...{ root_ca_crl: hex(crls[0]), pck_crl: hex(crls[1]), pck_crl_issuer_chain: '' },
    }
    const theirs = QuoteVerifier.newWithRootCa(certificates[0] ?? Buffer.alloc(0))
    t.equal(theirs.verify(ask(), bundle, seconds).status, 'UpToDate')
    t.equal(theirs.verify(ask('old-tcb'), bundle, seconds).status, 'OutOfDate')
    t.throws(() => theirs.verify(ask('forged'), bundle, seconds))
    t.throws(() => new QuoteVerifier().verify(ask(), bundle, seconds), "Intel's root is none of ours")
    const { body } = parseTdxQuote(ask())
    t.strictSame(body.rtmrs.map(hex), REGISTERS.map(hex))
  },
)

/** A document and its signature, as the PCS answers: the text that was signed must stay as it is. */
function signed(text = '{}'): readonly [document: string, signature: string] {
  const [, document = '', signature = ''] = /^\{"\w+":(.*),"signature":"([0-9a-f]+)"\}$/.exec(text) ?? []
  return [document, signature]
}
