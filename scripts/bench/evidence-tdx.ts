/**
 * How many TDX quotes a core verifies, with their collateral, beside an independent verifier from the npm registry in
 * the same process on the same bytes, in turns: what disturbs one disturbs the other. Counted in CPU time, so a busy
 * machine does not make it slower.
 */
import { verify as verifySignature } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { QuoteVerifier } from '@phala/dcap-qvl'
import { vector, vectorsMissing, vectorText } from '../../harness/base/testing/vectors.ts'
import { parseTdxCollateral, type TdxCollateral } from '../../harness/evidence/tdx/collateral.ts'
import { INTEL_TDX_ROOT, type TdxRoot } from '../../harness/evidence/tdx/root.ts'
import { verifyTdxQuote } from '../../harness/evidence/tdx/verify.ts'
import { ecKeyPair } from '../../harness/evidence/testing/pki.ts'
import { collateralFiles, SIMULATED_TIME } from '../../harness/evidence/testing/tdx-collateral.ts'
import { makeTdxPki } from '../../harness/evidence/testing/tdx-pki.ts'
import { makeTdxQuote, rawSignature } from '../../harness/evidence/testing/tdx-quote.ts'
import type { Figure, Measure } from './figure.ts'

const REPEAT = 7
const QUOTES_A_SAMPLE = 100
const WARM_UP = 50
const QUOTES_A_SECOND = 150

/** A quote and its collateral, as both verifiers take them. */
interface Case {
  readonly origin: string
  readonly quote: Uint8Array
  readonly collateral: Buffer
  readonly root: TdxRoot
  readonly at: Date
  readonly independent: QuoteVerifier
}

export const evidenceTdx: Measure = {
  id: 'evidence-tdx',
  title: 'TDX quotes verified with their collateral, beside @phala/dcap-qvl',
  run: async ({ repeat = REPEAT, signal, tell }) => {
    const subject = vectorsMissing ? emulatedCase() : recordedCase()
    const works = worksOf(subject)
    for (const work of works) await rate(work.run, WARM_UP)
    const samples = new Map<string, number[]>(works.map(({ name }) => [name, []]))
    for (let round = 1; round <= repeat; round++) {
      signal.throwIfAborted()
      tell(`evidence-tdx: ${round} of ${repeat}`)
      for (const { name, run } of works) samples.get(name)?.push(await rate(run, QUOTES_A_SAMPLE))
    }
    return {
      figures: figuresOf(works, samples),
      notes: [`one quote of version 4: ${subject.origin}`, 'in CPU time of one process, whatever else runs'],
    }
  },
}

interface Work {
  readonly name: string
  readonly run: () => void
  readonly limit?: Figure['limit']
}

const OURS = 'quote and collateral read and verified'
const THEIRS = 'the same by @phala/dcap-qvl'

function worksOf({ quote, collateral, root, at, independent }: Case): readonly Work[] {
  const read: TdxCollateral = parseTdxCollateral(collateral)
  const bundle = JSON.parse(collateral.toString('utf8'))
  const seconds = at.getTime() / 1000
  const key = ecKeyPair('P-256')
  const signature = rawSignature(quote, key)
  const options = { key: key.publicKey, dsaEncoding: 'ieee-p1363' } as const
  return [
    {
      name: OURS,
      run: () =>
        expectUpToDate(verifyTdxQuote(quote, parseTdxCollateral(collateral), { at, root }).tcb?.status),
      limit: { atLeast: QUOTES_A_SECOND },
    },
    {
      name: 'collateral read once',
      run: () => expectUpToDate(verifyTdxQuote(quote, read, { at, root }).tcb?.status),
    },
    {
      name: THEIRS,
      run: () => expectUpToDate(independent.verify(Buffer.from(quote), bundle, seconds).status),
    },
    {
      name: 'ECDSA P-256 signatures over a quote, alone',
      run: () =>
        expectUpToDate(verifySignature('sha256', quote, options, signature) ? 'UpToDate' : 'refused'),
    },
  ]
}

/** A verifier that refuses is fast, and no figure. */
function expectUpToDate(status: string | undefined): void {
  if (status !== 'UpToDate') throw new Error(`a quote is ${status}, UpToDate is required`)
}

function figuresOf(
  works: readonly Work[],
  samples: ReadonlyMap<string, readonly number[]>,
): readonly Figure[] {
  const rates = works.map(
    ({ name, limit }): Figure => ({
      name,
      unit: '/s',
      samples: samples.get(name) ?? [],
      ...(limit && { limit }),
    }),
  )
  const theirs = samples.get(THEIRS) ?? []
  const ratio = (samples.get(OURS) ?? []).map((ours, index) => ours / (theirs[index] ?? Number.NaN))
  return [...rates, { name: 'ours to theirs', unit: 'ratio', samples: ratio }]
}

/** Times a second of CPU. */
async function rate(run: () => void, times: number): Promise<number> {
  // Work that another left to the loop is not charged to this one.
  await setImmediate()
  const before = process.cpuUsage()
  for (let i = 0; i < times; i++) run()
  const { user, system } = process.cpuUsage(before)
  return times / ((user + system) / 1e6)
}

function recordedCase(): Case {
  return {
    origin: 'a recorded one, with 3 KiB of TCB info and a revocation list of 57 entries',
    quote: vector('tdx/v4_uptodate.quote.bin'),
    collateral: Buffer.from(vectorText('tdx/v4_uptodate.collateral.json')),
    root: INTEL_TDX_ROOT,
    at: new Date('2025-07-01T00:00:00Z'),
    independent: QuoteVerifier.newProd(),
  }
}

function emulatedCase(): Case {
  const pki = makeTdxPki()
  const files = collateralFiles(pki)
  const split = (document: Buffer, name: string) => {
    const parsed = JSON.parse(document.toString('utf8'))
    return [JSON.stringify(parsed[name]), parsed.signature]
  }
  const [tcb_info, tcb_info_signature] = split(files.tcbInfo, 'tcbInfo')
  const [qe_identity, qe_identity_signature] = split(files.qeIdentity, 'enclaveIdentity')
  const chain = files.signingChain.toString('latin1')
  const bundle = {
    ...{ tcb_info, tcb_info_signature, tcb_info_issuer_chain: chain },
    ...{ qe_identity, qe_identity_signature, qe_identity_issuer_chain: chain },
    ...{ root_ca_crl: files.rootCrl.toString('hex'), pck_crl: files.pckCrl.toString('hex') },
  }
  return {
    origin: 'an emulated one, with collateral smaller than a real platform has',
    quote: makeTdxQuote(pki),
    collateral: Buffer.from(JSON.stringify(bundle)),
    root: pki.root,
    at: SIMULATED_TIME,
    independent: QuoteVerifier.newWithRootCa(pki.certificates.root),
  }
}
