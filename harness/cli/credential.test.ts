/** `attestbed credential make`, and what comes back for it in `attestbed verify`: as a verifier runs them around a guest. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { emulatedAkArea, tpmRequest } from '../evidence/testing/emulated-requests.ts'
import { activateCredential, makeEk } from '../evidence/testing/software-tpm.ts'
import { encodeCredentialRecord } from '../evidence/tpm/activation.ts'
import { parseCredentialFile } from '../formats/tpm2/credential.ts'
import { parseTpmPublic, publicKeyObject, tpmName } from '../formats/tpm2/public.ts'
import { type CredentialFlags, makeCredentialFiles } from './credential.ts'
import { refuseIdleFlags } from './evidence-flags.ts'
import { verify } from './verify.ts'

const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
t.teardown(() => rm(directory, { recursive: true }))
const path = (name: string): string => join(directory, name)

const ek = makeEk({ kind: 'rsa' })
const ak = emulatedAkArea()
await writeFile(path('ek.pub'), ek.area.bytes)
await writeFile(path('ak.pub'), tpmRequest().ak ?? '')
await writeFile(path('ak.pem'), publicKeyObject(ak).export({ type: 'spki', format: 'pem' }))
await writeFile(path('quote.json'), tpmRequest().evidence)
await writeFile(path('policy.yaml'), 'tpm:\n  banks: [sha256]\n')

let count = 0
function flags(more: Partial<CredentialFlags> = {}): CredentialFlags {
  count += 1
  const [out, record] = [path(`credential-${count}`), path(`record-${count}`)]
  return { ek: path('ek.pub'), ak: path('ak.pub'), out, record, ...more }
}

/** What was written to standard output. */
async function quietly<Result>(job: () => Promise<Result>): Promise<{ result: Result; output: string }> {
  const { write } = process.stdout
  let output = ''
  process.stdout.write = ((text: string) => {
    output += text
    return true
  }) as typeof write
  try {
    return { result: await job(), output }
  } finally {
    process.stdout.write = write
  }
}

t.test(
  'a credential is made, opened by the TPM with the EK, and vouches for the AK of a quote',
  async (t) => {
    const { out, record } = flags()
    const made = await quietly(() => makeCredentialFiles({ ...flags(), out, record }))
    t.equal(made.result, 0)
    t.match(made.output, `EK ${tpmName(ek.area).toString('hex')}\nAK ${tpmName(ak).toString('hex')}\n`)
    t.equal((await stat(out)).mode & 0o077, 0, 'nobody else reads it')
    const returned = activateCredential(ek, tpmName(ak), parseCredentialFile(await readFile(out)))
    t.equal(returned.length, 32)
    t.notMatch(await readFile(record, 'utf8'), returned.toString('hex'), 'the secret is not in the record')
    await writeFile(path('returned'), returned)
    await writeFile(path('guessed'), Buffer.alloc(32))
    const common = {
      kind: 'tpm-quote',
      ak: path('ak.pub'),
      credential: record,
      policy: path('policy.yaml'),
    } as const
    const verified = async (activated: string) =>
      quietly(() => verify(path('quote.json'), { ...common, activated: path(activated), json: true }))
    const good = await verified('returned')
    t.equal(good.result, 0)
    t.match(JSON.parse(good.output), {
      acceptable: true,
      fields: { ek_name: tpmName(ek.area).toString('hex') },
    })
    const bad = await verified('guessed')
    t.equal(bad.result, 5)
    t.match(JSON.parse(bad.output), { authentic: false, findings: [{ code: 'bad-credential' }] })
  },
)

t.test("a secret of the user's own is wrapped where it fits", async (t) => {
  await writeFile(path('secret'), 'a key of the user')
  const given = flags({ secretFile: path('secret') })
  await quietly(() => makeCredentialFiles(given))
  const opened = activateCredential(ek, tpmName(ak), parseCredentialFile(await readFile(given.out)))
  t.equal(opened.toString(), 'a key of the user')
  await writeFile(path('long'), Buffer.alloc(33))
  await writeFile(path('none'), '')
  await writeFile(path('short'), Buffer.alloc(15))
  for (const name of ['long', 'none', 'short'])
    await t.rejects(makeCredentialFiles(flags({ secretFile: path(name) })), {
      name: 'UsageError',
      message: /16 to 32/,
    })
  t.throws(() => encodeCredentialRecord({ ek: ek.area, ak, secret: Buffer.alloc(15) }), {
    name: 'UsageError',
    message: /15 bytes, 16 are needed/,
  })
})

t.test('a name by SHA-1 is refused: an attacker can choose two keys for it', async (t) => {
  const weak = Buffer.from(ek.area.bytes)
  weak.writeUInt16BE(0x0004, 2)
  await writeFile(path('weak.pub'), weak)
  const refusal = { name: 'UsageError', code: 'bad-value', message: /the EK is by .*SHA-256/i }
  const given = flags({ ek: path('weak.pub') })
  await t.rejects(makeCredentialFiles(given), refusal)
  await t.rejects(stat(given.record), { code: 'ENOENT' })
  const areas = { ek: parseTpmPublic(weak), ak, secret: Buffer.alloc(32) }
  t.throws(() => encodeCredentialRecord(areas), refusal)
  t.throws(() => encodeCredentialRecord({ ...areas, ek: ek.area, ak: areas.ek }), { message: /AK/ })
})

t.test('where one of the two files is there, neither is written', async (t) => {
  await writeFile(path('there'), 'x')
  const [one, other] = [flags({ out: path('there') }), flags({ record: path('there') })]
  for (const given of [one, other])
    await t.rejects(makeCredentialFiles(given), { name: 'UsageError', message: /there/ })
  await t.rejects(stat(one.record), { code: 'ENOENT' })
  await t.rejects(stat(other.out), { code: 'ENOENT' })
  t.equal(await readFile(path('there'), 'utf8'), 'x')
})

t.test('what is no EK, no public area, or a file that is there, is refused', async (t) => {
  await t.rejects(makeCredentialFiles(flags({ ek: path('ak.pub') })), { code: 'bad-signing-key' })
  await t.rejects(makeCredentialFiles(flags({ ak: path('ak.pem') })), {
    name: 'UsageError',
    message: /public area/,
  })
  await t.rejects(makeCredentialFiles(flags({ ek: path('quote.json') })), { name: 'FormatError' })
  const again = flags({ out: path('ek.pub') })
  await t.rejects(makeCredentialFiles(again), { name: 'UsageError', message: /ek.pub/ })
  t.same(await readFile(path('ek.pub')), Buffer.from(ek.area.bytes), 'nothing is overwritten')
})

t.test('a credential and what came back for it are given together, with the AK', async (t) => {
  const refuses = (
    given: Parameters<typeof refuseIdleFlags>[0],
    message: RegExp,
    kind = 'tpm-quote' as const,
  ) => t.throws(() => refuseIdleFlags(given, { evidence: Buffer.alloc(8), kind, quotes: [] }), { message })
  refuses({ credential: 'x', activated: 'x' }, /--credential has no meaning without --ak/)
  refuses({ ak: 'x', credential: 'x' }, /--credential has no meaning without --activated/)
  refuses({ ak: 'x', activated: 'x' }, /--activated has no meaning without --credential/)
  refuses(
    { ak: 'x', akRoot: ['x'], credential: 'x', activated: 'x' },
    /--ak-root has no meaning with --credential/,
  )
  const report = { evidence: Buffer.alloc(8), kind: 'snp-report', quotes: [] } as const
  const proof = { ak: 'x', credential: 'x', activated: 'x' }
  const guest = { svsmManifest: 'x', quote: ['x'], eventLog: 'x', pcrs: 'x', signature: 'x', ...proof }
  t.doesNotThrow(() => refuseIdleFlags(guest, report), 'the vTPM of an SVSM')
  t.throws(() => refuseIdleFlags({ quote: ['x'] }, report), {
    message: /--quote has no meaning for snp-report/,
  })
  t.throws(() => refuseIdleFlags({ svsmManifest: 'x', ...proof }, report), { message: /--ak has no meaning/ })
})
