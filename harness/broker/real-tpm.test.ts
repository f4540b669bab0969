/**
 * The whole way with a real TPM 2.0 (swtpm) and tpm2-tools as the guest has them: what they write goes to the broker as
 * it is, and what comes back goes to tpm2_activatecredential. Skipped by name where set-up has not run.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FlattenedJWE, flattenedDecrypt } from 'jose'
import t, { type Test } from 'tap'
import { sha256Hex } from '../base/digest.ts'
import { ukiBoot } from '../evidence/testing/measured-boot.ts'
import { type SyntheticEvent, syntheticLog } from '../formats/event-log/testing/synthetic-log.ts'
import { WITH_TPM } from '../system/testing/swtpm-script.ts'
import { openTools, type Tools } from '../system/tools.ts'
import type { CredentialDocument } from './delivery.ts'
import { snpGuest, snpRelease } from './testing/emulated-guests.ts'
import { brokerFixture, ROOT_KEY, SECRET } from './testing/fixture.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
t.setTimeout(180_000)

/** A directory, and lines of shell with a TPM beside them whose state stays; swtpm ends with its sandbox. */
async function lab(
  t: Test,
): Promise<{ readonly directory: string; readonly shell: (script: string) => Promise<string> }> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-real-tpm-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const shell = async (script: string): Promise<string> => {
    if (!tools) throw new Error('skipped without tools')
    const whole = `${WITH_TPM}\n${script}\ntpm2_shutdown -c`
    return (await tools.run('bash', ['-c', whole], { cwd: directory })).stdout.toString()
  }
  return { directory, shell }
}

const KEYS = {
  rsa: { ek: 'rsa', ak: '-G rsa -s rsassa -g sha256' },
  ecc: { ek: 'ecc', ak: '-G ecc -s ecdsa -g sha256' },
}

const createKeys = ({ ek, ak }: { readonly ek: string; readonly ak: string }): string => `
  tpm2_createek -G ${ek} -c 0x81010001 -u ek.pub >/dev/null
  tpm2_createak -C 0x81010001 -c ak.ctx ${ak} -u ak.pub -n ak.name >/dev/null
  tpm2_evictcontrol -c ak.ctx 0x81010011 >/dev/null
  tpm2_flushcontext -t`

const ACTIVATE = `
  tpm2_startauthsession --policy-session -S session.ctx >/dev/null
  tpm2_policysecret -S session.ctx -c e >/dev/null
  tpm2_activatecredential -c 0x81010011 -C 0x81010001 -i credential -o activated -P session:session.ctx >/dev/null
  tpm2_flushcontext session.ctx`

for (const [name, keys] of Object.entries(KEYS)) {
  t.test(`a real TPM with ${name} keys gets a resource that another does not open`, { skip }, async (t) => {
    const { directory, shell } = await lab(t)
    const file = (path: string) => readFile(join(directory, path))
    await shell(createKeys(keys))
    const value = '00'.repeat(32)
    const policy = { tpm: { pcrs: { sha256: { 23: [value] } } } }
    const {
      policy: { snp = {} },
    } = snpRelease()
    const release = snpRelease({ snp, ...policy }, { delivery: 'activate-credential' })
    await using fixture = await brokerFixture({ policies: { [ROOT_KEY]: release } })
    const guest = fixture.client()
    const { nonce } = await guest.auth('snp')
    const bound: Buffer[] = []
    const remember = (digest: Buffer): string => {
      bound.push(digest)
      return ''
    }
    guest.attestation(nonce, snpGuest({}, { additional: remember }))
    await shell(
      `tpm2_quote -c 0x81010011 -l sha256:7,23 -q ${bound[0]?.toString('hex')} -g sha256 -m quote -s signature -o pcrs >/dev/null`,
    )
    const files = {
      ekPublic: 'ek.pub',
      akPublic: 'ak.pub',
      quote: 'quote',
      signature: 'signature',
      pcrs: 'pcrs',
    }
    const part = Object.fromEntries(
      await Promise.all(
        Object.entries(files).map(async ([key, path]) => [key, (await file(path)).toString('base64')]),
      ),
    ) as Record<string, string>
    const additional = () => JSON.stringify({ tpm: part })
    const attested = await guest.post(
      '/kbs/v0/attest',
      guest.attestation(nonce, snpGuest({}, { additional })),
    )
    t.equal(attested.status, 200, attested.text.slice(0, 200))
    const answer = await guest.resource(ROOT_KEY)
    t.equal(answer.status, 200, JSON.stringify(fixture.records))
    const document = JSON.parse((await guest.open(answer)).toString()) as CredentialDocument
    const credential = Buffer.concat([
      Buffer.from('badcc0de00000001', 'hex'),
      Buffer.from(document.credentialBlob, 'base64'),
      Buffer.from(document.encryptedSecret, 'base64'),
    ])
    await writeFile(join(directory, 'credential'), credential)
    await shell(ACTIVATE)
    const { plaintext } = await flattenedDecrypt(document as unknown as FlattenedJWE, await file('activated'))
    t.strictSame(Buffer.from(plaintext), SECRET)
    const other = await lab(t)
    await other.shell(createKeys(keys))
    await writeFile(join(other.directory, 'credential'), credential)
    await t.rejects(other.shell(ACTIVATE), 'the same step in another TPM')
  })
}

const BOOT = ukiBoot('pcr')
const ALL = Array.from({ length: 16 }, (_, pcr) => pcr).join()
/** The word of the variable SecureBoot, turned: a log that says what was not measured. */
const LIE = BOOT.map((event) =>
  event.register === 7 && event.data.length > 0 && event.data.at(-1) === 1
    ? { ...event, data: Buffer.concat([Buffer.from(event.data).subarray(0, -1), Buffer.of(0)]) }
    : event,
)

const LOGS = [
  ['the log of its boot', BOOT, { secureBoot: 'on' }, []],
  ['a rule that its boot does not meet', BOOT, { secureBoot: 'off' }, ['secure-boot']],
  ['no log', undefined, { secureBoot: 'on' }, ['evidence-missing']],
  ['a log that says what was not measured', LIE, { secureBoot: 'off' }, ['replay-mismatch']],
  ['a log that leaves something out', BOOT.slice(0, -1), { secureBoot: 'on' }, ['replay-mismatch']],
] as const

t.test('of a log of a boot counts what a real TPM was extended by, and nothing else', { skip }, async (t) => {
  const { directory, shell } = await lab(t)
  const extends_ = BOOT.map(
    ({ register, data, measured }) => `${register}:sha256=${sha256Hex(Buffer.from(measured ?? data))}`,
  )
  await shell(createKeys(KEYS.ecc))
  for (const [name, log, eventLog, codes] of LOGS) {
    const { policy } = snpRelease()
    await using fixture = await brokerFixture({
      policies: { [ROOT_KEY]: snpRelease({ ...policy, eventLog }) },
    })
    const guest = fixture.client()
    const { nonce } = await guest.auth('snp')
    let bound = ''
    guest.attestation(nonce, snpGuest({}, { additional: (digest) => (bound = digest.toString('hex')) }))
    await shell(
      `tpm2_pcrextend ${extends_.join(' ')}
         tpm2_quote -c 0x81010011 -l sha256:${ALL} -q ${bound} -g sha256 -m quote -s signature -o pcrs >/dev/null`,
    )
    const additional = await partOf(directory, log)
    await guest.post(
      '/kbs/v0/attest',
      guest.attestation(nonce, snpGuest({}, { additional: () => additional })),
    )
    const { status } = await guest.resource(ROOT_KEY)
    const found = fixture.records.flatMap((record) =>
      record.event === 'attest'
        ? record.verdicts.flatMap(({ findings }) => findings.map(({ code }) => code))
        : [],
    )
    t.equal(status === 200, codes.length === 0, name)
    if (codes) t.strictSame(found, codes, name)
    else t.ok(found.length > 0, `${name}: ${found}`)
  }
})

async function partOf(directory: string, log: readonly SyntheticEvent[] | undefined): Promise<string> {
  const files = ['ek.pub', 'ak.pub', 'quote', 'signature', 'pcrs'].map((name) =>
    readFile(join(directory, name)),
  )
  const [ekPublic, akPublic, quote, signature, pcrs] = (await Promise.all(files)).map((file) =>
    file.toString('base64'),
  )
  const eventLog = log && syntheticLog(log).toString('base64')
  return JSON.stringify({ tpm: { ekPublic, akPublic, quote, signature, pcrs, eventLog } })
}
