import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { EVIDENCE_KINDS } from '../evidence/kind.ts'
import { logRequest, snpRequest, tdxRequest } from '../evidence/testing/emulated-requests.ts'
import { ukiBoot } from '../evidence/testing/measured-boot.ts'
import { refuseIdleFlags } from './evidence-flags.ts'
import { main } from './program.ts'
import type { VerifyFlags } from './verify-flags.ts'

const FILES = ['x']
const EVERY: VerifyFlags = {
  ...{ certs: FILES, collateral: FILES, crl: FILES, quote: FILES },
  ...{ ak: 'x', signature: 'x', pcrs: 'x', eventLog: 'x', userspaceLog: 'x' },
  ...{ akRoot: FILES, credential: 'x', activated: 'x', svsmManifest: 'x', idBlock: 'x', idAuth: 'x' },
  ...{ network: true, kds: 'https://x', pcs: 'https://x' },
}
const quote = tdxRequest().evidence
const tpmQuotes = logRequest({ events: ukiBoot('pcr') }).quotes

/** The flags that are heeded, alphabetically. */
function heeded(request: Parameters<typeof refuseIdleFlags>[1]): string {
  const flags = Object.keys(EVERY) as (keyof VerifyFlags)[]
  const network = { network: true }
  const isHeeded = (flag: keyof VerifyFlags) => {
    const needsNetwork = flag === 'kds' || flag === 'pcs'
    const needsAk = flag === 'akRoot' && { ak: 'x' }
    try {
      refuseIdleFlags({ ...(needsNetwork && network), ...needsAk, [flag]: EVERY[flag] }, request)
      return true
    } catch {
      return false
    }
  }
  return flags.filter(isHeeded).sort().join(' ')
}

t.test('a flag that has no meaning for a kind of evidence is refused', async (t) => {
  const evidence = Buffer.alloc(8)
  const of = (kind: (typeof EVIDENCE_KINDS)[number], quotes: readonly Uint8Array[] = []) =>
    heeded({ evidence, kind, quotes })
  t.equal(of('snp-report'), 'certs crl idAuth idBlock kds network svsmManifest')
  t.equal(of('tpm-quote'), 'ak akRoot pcrs signature')
  t.equal(of('hcl-report'), 'certs collateral crl eventLog kds network pcrs pcs quote signature userspaceLog')
  t.equal(of('event-log', tpmQuotes), 'ak akRoot pcrs quote signature userspaceLog')
  t.equal(of('event-log', [quote]), 'certs collateral crl network pcs quote userspaceLog')
  t.equal(heeded({ evidence: quote, quotes: [] }), 'certs collateral crl network pcs', 'of a kind detected')
  t.equal(heeded({ evidence: snpRequest().evidence, quotes: [] }), of('snp-report'))
  t.equal(heeded({ evidence, quotes: [] }).split(' ').length, Object.keys(EVERY).length, 'of no kind')
  for (const kind of EVIDENCE_KINDS) t.doesNotThrow(() => refuseIdleFlags({}, { evidence, kind, quotes: [] }))
  const tpm = { evidence, kind: 'tpm-quote', quotes: [] } as const
  const certified = { ak: 'x', akRoot: FILES, certs: FILES, crl: FILES }
  t.doesNotThrow(() => refuseIdleFlags(certified, tpm), 'an authority of the caller vouches for the AK')
  const alone = () => refuseIdleFlags({ akRoot: FILES }, tpm)
  t.throws(alone, { name: 'UsageError', message: /--ak-root has no meaning without --ak/ })
  const kds = () => refuseIdleFlags({ kds: 'https://x' }, { evidence, kind: 'snp-report', quotes: [] })
  t.throws(kds, { name: 'UsageError', message: '--kds has no meaning without --network' })
  const both = () =>
    refuseIdleFlags({ quote: FILES }, { evidence, kind: 'event-log', quotes: [quote, ...tpmQuotes] })
  t.throws(both, { name: 'UsageError', message: /2 are given/ })
})

t.test('a time that does not exist and a nonce that binds nothing are wrong usage', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const file = join(directory, 'report.bin')
  await writeFile(file, snpRequest().evidence)
  t.capture(process.stdout, 'write')
  t.capture(process.stderr, 'write')
  const codeOf = (...flags: readonly string[]) => main(['verify', file, ...flags])
  for (const at of ['2025-02-30', '2025-07-01T24:00:00Z', '2025-13-01', '2025-07-01T12:00:00'])
    t.equal(await codeOf('--at', at), 2, at)
  for (const at of ['2028-02-29', '2025-07-01T23:30:00-05:00']) t.equal(await codeOf('--at', at), 5, at)
  for (const nonce of ['00', '0x0000', '0', '']) t.equal(await codeOf('--nonce', nonce), 2, nonce)
  t.equal(await codeOf('--collateral', file), 2)
})

t.test('a directory without files is wrong usage: what is given must count', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  await mkdir(join(directory, 'empty', 'further'), { recursive: true })
  const file = join(directory, 'evidence')
  await writeFile(file, snpRequest().evidence)
  t.capture(process.stdout, 'write')
  const written = t.capture(process.stderr, 'write')
  for (const flag of ['--crl', '--certs', '--quote', '--ak-root', '--collateral']) {
    t.equal(await main(['verify', file, flag, join(directory, 'empty')]), 2, flag)
    const text = written().map(({ args }) => String(args[0]))
    t.match(text.join(''), /the directory has no files/, flag)
  }
})
