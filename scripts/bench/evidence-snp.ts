/**
 * SNP reports verified a second, as shares of what `openssl speed ecdsap384` says for bare verifications in the same
 * round, right before and right after: all by CPU time, so that a busy machine disturbs them alike. The report and its certificates are those of an
 * emulated processor with keys of AMD's sizes. With the whole chain everything is parsed and verified anew each time,
 * but for the imported keys of authorities, which a verifier keeps.
 */
import { verify as verifySignature } from 'node:crypto'
import { keyObject } from '../../harness/evidence/certificates/signature.ts'
import { verifySnpReport } from '../../harness/evidence/snp/verify.ts'
import { SnpSignerEmulation } from '../../harness/evidence/testing/snp-signer.ts'
import { parseSnpReport } from '../../harness/formats/snp/report.ts'
import { parseCertificate } from '../../harness/formats/x509.ts'
import type { Figure, Measure, MeasureOptions } from './figure.ts'
import { opensslVerifications } from './openssl-speed.ts'

const REPEAT = 7
const SECONDS = 1
const OPENSSL_SECONDS = 1
const AMD_RSA_BITS = 4096
const AT = new Date('2025-06-01T00:00:00Z')
const WHOLE_CHAIN = 0.6
const VERIFIED_CHAIN = 0.85
/** Between two looks at the clock. */
const BATCH = 16

export const evidenceSnp: Measure = {
  id: 'evidence-snp',
  title: 'SNP reports verified, beside bare P-384 verifications',
  run: async ({ repeat = REPEAT, tell, signal }) => {
    const work = prepare()
    const rounds: Round[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`SNP verification: ${i} of ${repeat}`)
      rounds.push(await takeRound(work, signal))
    }
    return { figures: figuresOf(rounds), notes: ['by CPU time, of the system’s openssl and of this process'] }
  },
}

type Job = 'whole' | 'reused' | 'bare'
/** Verifications a second of CPU time, and those of openssl around them. */
interface Rate {
  readonly ours: number
  readonly openssl: number
}
type Round = Readonly<Record<Job, Rate>>

function prepare(): Readonly<Record<Job, () => unknown>> {
  const processor = new SnpSignerEmulation({ rsaBits: AMD_RSA_BITS })
  const bytes = processor.report()
  const { leaf, intermediate } = processor.certificates
  const roots = [processor.root]
  const whole = () => {
    const certificates = [parseCertificate(leaf), parseCertificate(intermediate)]
    return verifySnpReport(parseSnpReport(bytes), { certificates, roots }, { at: AT })
  }
  const { chain, report } = whole()
  const key = { key: keyObject(chain.chain.leaf.publicKey), dsaEncoding: 'ieee-p1363' as const }
  const signature = Buffer.concat([report.signature.r, report.signature.s])
  return {
    whole,
    reused: () => verifySnpReport(parseSnpReport(bytes), chain, { at: AT }),
    bare: () => verifySignature('sha384', report.signed, key, signature),
  }
}

/** Each job between two looks at what the machine gives at the moment. */
async function takeRound(
  work: Readonly<Record<Job, () => unknown>>,
  signal: MeasureOptions['signal'],
): Promise<Round> {
  let before = await opensslVerifications({ seconds: OPENSSL_SECONDS, signal })
  const take = async (job: Job): Promise<Rate> => {
    const ours = rate(work[job])
    const after = await opensslVerifications({ seconds: OPENSSL_SECONDS, signal })
    const openssl = (before + after) / 2
    before = after
    return { ours, openssl }
  }
  return { whole: await take('whole'), reused: await take('reused'), bare: await take('bare') }
}

function rate(job: () => unknown): number {
  const start = process.cpuUsage()
  for (let count = 0; ; count += BATCH) {
    const { user, system } = process.cpuUsage(start)
    const seconds = (user + system) / 1e6
    if (seconds >= SECONDS) return count / seconds
    for (let i = 0; i < BATCH; i++) job()
  }
}

function figuresOf(rounds: readonly Round[]): readonly Figure[] {
  const share = (job: Job) => rounds.map((round) => round[job].ours / round[job].openssl)
  const milliseconds = (job: Job) => rounds.map((round) => 1000 / round[job].ours)
  return [
    {
      name: 'report with its whole chain',
      unit: 'ratio',
      samples: share('whole'),
      limit: { atLeast: WHOLE_CHAIN },
    },
    { name: 'each', unit: 'ms', samples: milliseconds('whole') },
    {
      name: 'report, chain verified before',
      unit: 'ratio',
      samples: share('reused'),
      limit: { atLeast: VERIFIED_CHAIN },
    },
    { name: 'each', unit: 'ms', samples: milliseconds('reused') },
    { name: 'bare verification, Node', unit: 'ms', samples: milliseconds('bare') },
    {
      name: 'bare verification, openssl',
      unit: 'ms',
      samples: rounds.map(({ whole }) => 1000 / whole.openssl),
    },
  ]
}
