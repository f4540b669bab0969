/** The evidence room against a real TPM 2.0 (swtpm), tpm2-tools and systemd; skipped by name where set-up has not run. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readEventLog } from '../evidence/event-log/read.ts'
import { verifyEventLog } from '../evidence/event-log/verify.ts'
import { activateCredential, makeAk, makeEk, quote, signAttest } from '../evidence/testing/software-tpm.ts'
import { encodeCredentialRecord } from '../evidence/tpm/activation.ts'
import { makeCredential, verifyActivation } from '../evidence/tpm/credential.ts'
import { parseTpm2ToolsQuote } from '../evidence/tpm/files/tpm2-tools.ts'
import { type VerifiedQuote, verifyTpmQuote } from '../evidence/tpm/quote.ts'
import { verifyEvidence } from '../evidence/verify-evidence.ts'
import { parseEventLog } from '../formats/event-log/parse.ts'
import { parseSystemdLog } from '../formats/event-log/systemd-log.ts'
import { syntheticLog } from '../formats/event-log/testing/synthetic-log.ts'
import { encodeCredentialFile, parseCredentialFile } from '../formats/tpm2/credential.ts'
import { parseTpm2bPublic, publicKeyObject, tpmName } from '../formats/tpm2/public.ts'
import { WITH_TPM } from '../system/testing/swtpm-script.ts'
import { openTools, type Tools } from '../system/tools.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
t.setTimeout(180_000)

const NONCE = '00112233445566778899aabbccddeeff'
const EXTENDED = { sha1: '11'.repeat(20), sha256: '22'.repeat(32), sha384: '33'.repeat(48) }

interface Lab {
  readonly directory: string
  /** Runs lines of shell with a TPM beside them, whose state is kept between calls. Fails where a line fails. */
  readonly shell: (script: string) => Promise<string>
  readonly file: (name: string) => Promise<Buffer>
  readonly write: (name: string, bytes: Uint8Array | string) => Promise<void>
}

/** A directory of its own, gone after the test; swtpm ends with the sandbox that it was started in. */
async function lab(t: Test): Promise<Lab> {
  if (!tools) throw new Error('skipped without tools')
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-tpm-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const available = tools
  return {
    directory,
    shell: async (script) =>
      (
        await available.run('bash', ['-c', `${WITH_TPM}\n${script}\ntpm2_shutdown -c`], { cwd: directory })
      ).stdout.toString(),
    file: (name) => readFile(join(directory, name)),
    write: (name, bytes) => writeFile(join(directory, name), bytes),
  }
}

/** A persistent AK below a persistent EK, and their public areas. */
const createKeys = ({ ek, ak, handle = 1 }: { ek: string; ak: string; handle?: number }): string => `
  tpm2_createek -G ${ek} -c 0x8101000${handle} -u ek${handle}.pub >/dev/null
  tpm2_createak -C 0x8101000${handle} -c ak.ctx ${ak} -u ak${handle}.pub -n ak${handle}.name >/dev/null
  tpm2_evictcontrol -c ak.ctx 0x8101001${handle} >/dev/null
  tpm2_flushcontext -t`

const AKS = [
  { name: 'rsassa', ek: 'rsa', ak: '-G rsa -s rsassa -g sha256', quote: '-g sha256' },
  { name: 'rsapss', ek: 'rsa', ak: '-G rsa -s rsapss -g sha256', quote: '-g sha256 --scheme rsapss' },
  { name: 'ECDSA P-256', ek: 'ecc', ak: '-G ecc -s ecdsa -g sha256', quote: '-g sha256' },
  { name: 'ECDSA P-384', ek: 'ecc', ak: '-G ecc384 -s ecdsa -g sha384', quote: '-g sha384 --scheme ecdsa' },
]

t.test('quotes of a real TPM are verified, and tpm2_checkquote agrees', { skip }, async (t) => {
  const { shell, file } = await lab(t)
  const extends_ = Object.entries(EXTENDED).map(([bank, digest]) => `${bank}=${digest}`)
  const output = await shell(`tpm2_pcrextend 11:${extends_.join(',')}
    ${AKS.map(
      ({ ek, ak, quote }, index) => `${createKeys({ ek, ak, handle: index + 1 })}
        tpm2_quote -c 0x8101001${index + 1} -l sha1:0,11+sha256:7,11,23+sha384:11 -q ${NONCE} ${quote} \\
          -m ${index}.msg -s ${index}.sig -o ${index}.pcrs >/dev/null
        tpm2_readpublic -c 0x8101001${index + 1} -f pem -o ${index}.pem >/dev/null
        tpm2_checkquote -u ${index}.pem -m ${index}.msg -s ${index}.sig -f ${index}.pcrs -q ${NONCE} ${quote.replace(/--scheme \w+/, '')} >/dev/null
        echo checked
        tpm2_flushcontext -t`,
    ).join('\n')}
    tpm2_pcrread sha384:11`)
  t.equal(output.match(/checked/g)?.length, AKS.length)
  for (const [index, { name }] of AKS.entries()) {
    const evidence = parseTpm2ToolsQuote({
      attest: await file(`${index}.msg`),
      signature: await file(`${index}.sig`),
      pcrs: await file(`${index}.pcrs`),
    })
    const ak = parseTpm2bPublic(await file(`ak${index + 1}.pub`))
    const verified = verifyTpmQuote(evidence, ak, { nonce: Buffer.from(NONCE, 'hex') })
    t.equal(verified.akRestricted, true, name)
    t.strictSame(
      verified.pcrs.map(({ bank, values }) => [bank, [...values.keys()]]),
      [
        ['sha1', [0, 11]],
        ['sha256', [7, 11, 23]],
        ['sha384', [11]],
      ],
    )
    t.match(output, new RegExp(`11: 0x${quotedValue(verified, 'sha384', 11).toUpperCase()}`))
    t.strictSame(await file(`ak${index + 1}.name`), tpmName(ak), 'the name is the TPM’s own')
    const changed = Buffer.from(evidence.attest)
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1
    t.throws(() => verifyTpmQuote({ ...evidence, attest: changed }, ak), { code: 'quote-signature' })
  }
})

function quotedValue({ pcrs }: VerifiedQuote, bank: string, pcr: number): string {
  return Buffer.from(pcrs.find((each) => each.bank === bank)?.values.get(pcr) ?? []).toString('hex')
}

t.test('a reset is counted in the next quote', { skip }, async (t) => {
  const { shell, file } = await lab(t)
  const take = (name: string) =>
    `tpm2_quote -c 0x81010011 -l sha256:0 -m ${name}.msg -s ${name}.sig -o ${name}.pcrs >/dev/null`
  await shell(`${createKeys({ ek: 'ecc', ak: '-G ecc -s ecdsa -g sha256' })}\n${take('first')}`)
  await shell(take('second'))
  const counts = await Promise.all(
    ['first', 'second'].map(async (name) => {
      const files = { attest: await file(`${name}.msg`), signature: await file(`${name}.sig`) }
      return verifyTpmQuote(parseTpm2ToolsQuote(files), parseTpm2bPublic(await file('ak1.pub'))).clockInfo
        .resetCount
    }),
  )
  t.equal(counts[1], (counts[0] ?? 0) + 1)
})

t.test('a real TPM opens our credentials, for its own AK only', { skip }, async (t) => {
  for (const ek of ['rsa', 'ecc']) {
    const { shell, file, write } = await lab(t)
    await shell(`${createKeys({ ek, ak: '-G ecc -s ecdsa -g sha256' })}
      tpm2_createak -C 0x81010001 -c ak.ctx -G ecc -s ecdsa -g sha256 -n other.name >/dev/null`)
    const key = parseTpm2bPublic(await file('ek1.pub'))
    const secret = Buffer.from(NONCE, 'hex')
    const make = async (name: string) =>
      encodeCredentialFile(makeCredential({ ek: key, akName: await file(name), secret }))
    await write('credential', await make('ak1.name'))
    await write('other', await make('other.name'))
    const session =
      'tpm2_startauthsession --policy-session -S session; tpm2_policysecret -S session -c e >/dev/null'
    const activate = (credential: string, out: string) =>
      `tpm2_activatecredential -c 0x81010011 -C 0x81010001 -P session:session -i ${credential} -o ${out} >/dev/null`
    const output = await shell(`${session}; ${activate('credential', 'returned')}; tpm2_flushcontext session
      ${session}; if ${activate('other', 'wrong')} 2>/dev/null; then echo opened; else echo refused; fi`)
    t.doesNotThrow(async () => verifyActivation(secret, await file('returned')), ek)
    t.strictSame(await file('returned'), secret, ek)
    t.match(output, /refused/, 'a credential for another name stays closed')
    await shell(
      `tpm2_quote -c 0x81010011 -l sha256:7 -q ${NONCE} -g sha256 -m q.msg -s q.sig -o q.pcrs >/dev/null`,
    )
    const [evidence, signature, pcrs, ak] = await Promise.all(
      ['q.msg', 'q.sig', 'q.pcrs', 'ak1.pub'].map(file),
    )
    const record = encodeCredentialRecord({ ek: key, ak: parseTpm2bPublic(ak ?? secret), secret })
    const verdict = await verifyEvidence({
      ...{ evidence: evidence ?? secret, signature, pcrs, ak, nonce: secret, policy: { tpm: {} } },
      ...{ credential: Buffer.from(record), activated: await file('returned') },
      ...{ certificates: [], crls: [], collateral: [], quotes: [], at: new Date() },
    })
    t.match(
      verdict,
      { authentic: true, acceptable: true, fields: { ek_name: tpmName(key).toString('hex') } },
      ek,
    )
  }
})

t.test('a key on P-384 with AES-256 works as an EK too', { skip }, async (t) => {
  const { shell, file, write } = await lab(t)
  const attributes = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted'
  await shell(`tpm2_createprimary -C e -g sha384 -G ecc384:aes256cfb -a "${attributes}|decrypt" -c ek.ctx >/dev/null
    tpm2_evictcontrol -c ek.ctx 0x81010001 >/dev/null
    tpm2_flushcontext -t
    tpm2_readpublic -c 0x81010001 -o ek1.pub >/dev/null
    tpm2_create -C 0x81010001 -G ecc256:ecdsa-sha256:null -a "${attributes}|sign" -u ak -r ak.private -c ak.ctx >/dev/null
    tpm2_flushcontext -t
    tpm2_readpublic -c ak.ctx -n ak1.name >/dev/null
    tpm2_flushcontext -t
    tpm2_evictcontrol -c ak.ctx 0x81010011 >/dev/null`)
  const ek = parseTpm2bPublic(await file('ek1.pub'))
  t.match(ek, { nameAlgorithm: { name: 'sha384' }, symmetric: { keyBits: 256 }, key: { curve: 'P-384' } })
  const secret = Buffer.alloc(48, 7)
  await write(
    'credential',
    encodeCredentialFile(makeCredential({ ek, akName: await file('ak1.name'), secret })),
  )
  await shell('tpm2_activatecredential -c 0x81010011 -C 0x81010001 -i credential -o returned >/dev/null')
  t.strictSame(await file('returned'), secret)
})

t.test('tpm2_makecredential and our software TPM understand each other', { skip }, async (t) => {
  const { shell, file, write } = await lab(t)
  const ak = makeAk({ scheme: 'ecdsa' })
  const secret = Buffer.from('a secret of 24 bytes ...')
  await write('secret', secret)
  for (const [index, kind] of (['rsa', 'P-256', 'P-384'] as const).entries()) {
    const nameHash = kind === 'P-384' ? 'sha384' : 'sha256'
    const ek = makeEk({ kind, nameHash, aesBits: kind === 'P-384' ? 256 : 128 })
    const length = Buffer.alloc(2)
    length.writeUInt16BE(ek.area.bytes.length)
    await write(`ek${index}`, Buffer.concat([length, ek.area.bytes]))
    await shell(
      `tpm2_makecredential -T none -e ek${index} -s secret -n ${tpmName(ak.area).toString('hex')} -o c${index} >/dev/null`,
    )
    const opened = activateCredential(ek, tpmName(ak.area), parseCredentialFile(await file(`c${index}`)))
    t.strictSame(opened, secret, kind)
  }
})

t.test('tpm2_checkquote accepts the quotes of our software TPM', { skip }, async (t) => {
  const { shell, write } = await lab(t)
  for (const [index, scheme] of (['rsassa', 'rsapss', 'ecdsa'] as const).entries()) {
    const ak = makeAk({ scheme })
    const { attest } = quote(ak, { nonce: Buffer.from(NONCE, 'hex') })
    await write(`${index}.msg`, attest)
    await write(`${index}.sig`, signAttest(ak, attest, { scheme, hash: 'sha256' }))
    await write(`${index}.pem`, publicKeyObject(ak.area).export({ type: 'spki', format: 'pem' }).toString())
    await shell(`tpm2_checkquote -u ${index}.pem -m ${index}.msg -s ${index}.sig -q ${NONCE} >/dev/null`)
    t.pass(scheme)
  }
})

t.test("systemd's own log explains the PCR that it extended", { skip }, async (t) => {
  const { shell, file } = await lab(t)
  await shell(`export SYSTEMD_FORCE_MEASURE=1 SYSTEMD_MEASURE_LOG_USERSPACE=$PWD/measure.log
    for phase in enter-initrd leave-initrd sysinit ready; do
      /usr/lib/systemd/systemd-pcrextend --tpm2-device=$TPM2TOOLS_TCTI --bank=sha256 $phase
    done
    ${createKeys({ ek: 'ecc', ak: '-G ecc -s ecdsa -g sha256' })}
    tpm2_quote -c 0x81010011 -l sha256:11 -m q.msg -s q.sig -o q.pcrs >/dev/null`)
  const files = { attest: await file('q.msg'), signature: await file('q.sig'), pcrs: await file('q.pcrs') }
  const [bank] = verifyTpmQuote(parseTpm2ToolsQuote(files), parseTpm2bPublic(await file('ak1.pub'))).pcrs
  const verified = verifyEventLog({
    log: parseEventLog(syntheticLog([])),
    systemd: parseSystemdLog(await file('measure.log')),
    registers: 'pcr',
    bank: 'sha256',
    values: bank?.values ?? new Map(),
  })
  t.strictSame(
    readEventLog(verified).userspace.phases.map(({ value, covered }) => [value, covered]),
    ['enter-initrd', 'leave-initrd', 'sysinit', 'ready'].map((phase) => [phase, true]),
  )
})
