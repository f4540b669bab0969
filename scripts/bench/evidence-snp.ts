/**
 * How many SNP reports a core verifies, as a share of the bare P-384 verifications that `openssl speed` counts in the
 * same run, round by round: what disturbs one disturbs the other. Both count CPU time.
 */
import { verify as verifySignature } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { execa } from 'execa'
import { vector, vectorsMissing } from '../../harness/base/testing/vectors.ts'
import { readEndorsementFiles } from '../../harness/evidence/endorsements.ts'
import { AMD_ROOTS } from '../../harness/evidence/snp/roots.ts'
import { type SnpEndorsements, verifySnpReport } from '../../harness/evidence/snp/verify.ts'
import { SnpSignerEmulation } from '../../harness/evidence/testing/snp-signer.ts'
import { parseSnpReport } from '../../harness/formats/snp/report.ts'
import { parseCertificate } from '../../harness/formats/x509.ts'
import type { Figure, Measure } from './figure.ts'

const REPEAT = 5
const REPORTS_A_SAMPLE = 300
const WARM_UP = 100
const OPENSSL_SECONDS = 2
const WHOLE_CHAIN = 0.6
const KNOWN_CHAIN = 0.85

interface Case {
  readonly origin: string
  readonly report: Uint8Array
  readonly files: readonly Uint8Array[]
  readonly endorsements: Pick<SnpEndorsements, 'roots'>
  readonly at: Date
}

export const evidenceSnp: Measure = {
  id: 'evidence-snp',
  title: 'SNP reports verified, as a share of bare P-384 verifications by openssl',
  run: async ({ repeat = REPEAT, signal, tell }) => {
    const subject = vectorsMissing ? emulated() : recorded()
    const works = worksOf(subject)
    for (const { run } of works) await rate(run, WARM_UP)
    const samples = new Map<string, number[]>(
      [BARE, ...works.map(({ name }) => name)].map((name) => [name, []]),
    )
    for (let round = 1; round <= repeat; round++) {
      signal.throwIfAborted()
      tell(`evidence-snp: ${round} of ${repeat}`)
      samples.get(BARE)?.push(await opensslVerifications(signal))
      for (const { name, run } of works) samples.get(name)?.push(await rate(run, REPORTS_A_SAMPLE))
    }
    return {
      figures: figuresOf(works, samples),
      notes: [subject.origin, 'parsing of report and certificates included', 'in CPU time of one process'],
    }
  },
}

interface Work {
  readonly name: string
  readonly run: () => void
  readonly atLeast?: number
}

const BARE = 'openssl speed ecdsap384, verifications'

function worksOf({ report, files, endorsements, at }: Case): readonly Work[] {
  const verifyWhole = () =>
    verifySnpReport(
      parseSnpReport(report),
      { ...endorsements, ...readEndorsementFiles({ certificates: files, crls: [] }) },
      { at },
    )
  const { chain } = verifyWhole()
  const parsed = parseSnpReport(report)
  const { r, s } = parsed.signature
  const key = {
    key: chain.chain.leaf.publicKey.raw,
    format: 'der',
    type: 'spki',
    dsaEncoding: 'ieee-p1363',
  } as const
  return [
    { name: 'report with its whole chain', run: verifyWhole, atLeast: WHOLE_CHAIN },
    {
      name: 'report with a chain that was verified before',
      run: () => verifySnpReport(parseSnpReport(report), chain, { at }),
      atLeast: KNOWN_CHAIN,
    },
    {
      name: 'the same signature by node:crypto, key read each time',
      run: () => {
        if (!verifySignature('sha384', parsed.signed, key, Buffer.concat([r, s]))) throw new Error('refused')
      },
    },
  ]
}

function figuresOf(
  works: readonly Work[],
  samples: ReadonlyMap<string, readonly number[]>,
): readonly Figure[] {
  const bare = samples.get(BARE) ?? []
  const rates = [BARE, ...works.map(({ name }) => name)].map(
    (name): Figure => ({ name, unit: '/s', samples: samples.get(name) ?? [] }),
  )
  const shares = works.map(({ name, atLeast }): Figure => {
    const share = (samples.get(name) ?? []).map((value, index) => value / (bare[index] ?? Number.NaN))
    return {
      name: `${name}: share`,
      unit: 'ratio',
      samples: share,
      ...(atLeast !== undefined && { limit: { atLeast } }),
    }
  })
  return [...shares, ...rates]
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

/** `+F4:…:bits:signatures a second:verifications a second`, the machine-readable output; it counts user time. */
async function opensslVerifications(signal: AbortSignal): Promise<number> {
  const args = ['speed', '-mr', '-seconds', String(OPENSSL_SECONDS), 'ecdsap384']
  const { stdout } = await execa('openssl', args, { cancelSignal: signal, stdin: 'ignore', stderr: 'ignore' })
  const fields =
    stdout
      .split('\n')
      .find((line) => line.startsWith('+F4:'))
      ?.split(':') ?? []
  const verifications = Number(fields.at(-1))
  if (!(verifications > 1)) throw new Error(`openssl speed says ${stdout.slice(0, 200)}, +F4 is required`)
  return verifications
}

function recorded(): Case {
  return {
    origin: 'a recorded report of a Genoa, VCEK and ASK given beside the pinned ARK',
    report: vector('snp/genoa_v3_vcek.report.bin'),
    files: [vector('snp/genoa_v3_vcek.cert.der'), vector('snp/certs/genoa_ask.der')],
    endorsements: { roots: AMD_ROOTS },
    at: new Date('2026-06-01T00:00:00Z'),
  }
}

/** With RSA keys as long as AMD's. */
function emulated(): Case {
  const emulation = new SnpSignerEmulation({ rsaBits: 4096 })
  const { leaf, intermediate } = emulation.certificates
  return {
    origin: 'an emulated platform',
    report: emulation.report(),
    files: [leaf, intermediate],
    endorsements: { roots: [emulation.root] },
    at: parseCertificate(leaf).notBefore,
  }
}
