/** What other implementations say of the same materials; skipped by name where set-up has not run. No VM is started. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { authenticodeDigest, authenticodeSignatures } from '../formats/authenticode.ts'
import { parseAuthenticodeSignature } from '../formats/authenticode-signature.ts'
import { EV } from '../formats/event-log/event-types.ts'
import { parseEventLog } from '../formats/event-log/parse.ts'
import { syntheticLog } from '../formats/event-log/testing/synthetic-log.ts'
import { encodeSignatureLists, SIGNATURE_TYPES } from '../formats/signature-list.ts'
import { parseUki } from '../formats/uki.ts'
import { findVariable, parseVariableStore } from '../formats/variable-store.ts'
import { setVariable } from '../formats/variable-store-edit.ts'
import type { MaterialContext } from '../materials/context.ts'
import { ensureKeys, type SigningKeys } from '../materials/keys.ts'
import { ensureUki } from '../materials/uki.ts'
import { ensureVariables } from '../materials/variables.ts'
import { predictTpm, type TpmPrediction } from '../measure/tpm/boot.ts'
import { type FirmwareCode, parseFirmwareCode } from '../measure/tpm/firmware-code.ts'
import { sha256File } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import { openTools, type Tools } from '../system/tools.ts'
import { compareBoot, explainDifference } from '../verdict/measured-boot.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
t.setTimeout(300_000)
const STUB = 'usr/lib/systemd/boot/efi/linuxx64.efi.stub'
const SECURE_CODE = 'usr/share/OVMF/OVMF_CODE_4M.secboot.fd'
const MEASURE = '/usr/lib/systemd/systemd-measure'
const PHASES = ['enter-initrd', 'leave-initrd', 'sysinit', 'ready']
const DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'

interface Bench extends MaterialContext {
  readonly directory: string
  readonly keys: SigningKeys
}

/** One for all tests: keys and firmware take seconds. */
let shared: Promise<Bench> | undefined
const bench = (): Promise<Bench> => (shared ??= openBench())
let parsed: FirmwareCode | undefined

async function openBench(): Promise<Bench> {
  if (!tools) throw new Error('skipped without tools')
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const paths = { ...resolvePaths(), keys: join(directory, 'keys') }
  const context = { directory, tools, paths, store: new Store(join(directory, 'store')) }
  return { ...context, keys: await ensureKeys(context) }
}

async function uki(context: Bench, signedBy: 'db' | 'db-other' | 'nobody' = 'db'): Promise<Buffer> {
  const initrd = join(context.directory, 'initrd')
  await writeFile(initrd, 'initrd')
  const built = await ensureUki(context, {
    ...{ id: 'test', version: '1', commandLine: 'console=ttyS0', keys: context.keys },
    kernel: { image: context.tools.path(STUB), release: '6.0', digest: 'stub' },
    ...{ initrd: { file: initrd, sha256: await sha256File(initrd) }, pcrSignedBy: 'pcr' },
    ...(signedBy !== 'nobody' && { signedBy }),
  })
  return readFile(built.file)
}

async function boot(
  context: Bench,
  image: Uint8Array,
  change = (store: Buffer) => store,
): Promise<TpmPrediction> {
  const template = context.tools.path('usr/share/OVMF/OVMF_VARS_4M.fd')
  const store = await ensureVariables(context, { template, keys: context.keys, secureBoot: 'on' })
  parsed ??= parseFirmwareCode(await readFile(context.tools.path(SECURE_CODE)))
  return predictTpm({
    firmware: parsed,
    uki: image,
    variables: change(await readFile(store.file)),
    phases: [],
  })
}

t.test('PCR 11 is what systemd-measure calculates, after every phase', { skip }, async (t) => {
  const context = await bench()
  const image = await uki(context)
  const { sections } = parseUki(image)
  const flags = await Promise.all(
    sections
      .filter(({ name }) => name !== '.pcrsig')
      .map(async ({ name, content }) => {
        const file = join(context.directory, name.slice(1))
        await writeFile(file, content)
        return `--${name.slice(1)}=${file}`
      }),
  )
  const paths = PHASES.map((_, index) => PHASES.slice(0, index + 1).join(':'))
  const banks = ['sha1', 'sha256', 'sha384'] as const
  const { stdout } = await context.tools.run(MEASURE, [
    ...['calculate', '--json=short', ...flags, ...banks.map((bank) => `--bank=${bank}`)],
    ...paths.map((path) => `--phase=${path}`),
  ])
  const calculated: Record<string, { phase?: string; pcr: number; hash: string }[]> = JSON.parse(
    String(stdout),
  )
  const firmware = { version: undefined, volumes: [], features: NO_FEATURES }
  const template = await readFile(context.tools.path('usr/share/OVMF/OVMF_VARS_4M.fd'))
  for (const bank of banks)
    for (const [index, path] of paths.entries()) {
      const phases = PHASES.slice(0, index + 1)
      const register = predictTpm({ firmware, uki: image, variables: template, phases }).registers(bank)[11]
      const expected = calculated[bank]?.find(({ phase }) => phase === path)?.hash
      t.equal(register?.known && register.value.toString('hex'), expected, `${bank} ${path}`)
    }
})

const NO_FEATURES = { secureBoot: false, smm: false, shell: false, smbiosMeasurement: false }

t.test('the Authenticode digest is the one that sbsign has signed', { skip }, async (t) => {
  const image = await uki(await bench())
  const [signature] = authenticodeSignatures(image).map(parseAuthenticodeSignature)
  t.strictSame(authenticodeDigest(image, 'sha256'), Buffer.from(signature?.imageDigest.value ?? []))
  const changed = Buffer.from(image)
  changed[image.length >> 1] = (changed[image.length >> 1] ?? 0) ^ 1
  t.notSame(authenticodeDigest(changed, 'sha256'), Buffer.from(signature?.imageDigest.value ?? []))
})

t.test('the authority is the certificate in db whose key has signed, and only that', { skip }, async (t) => {
  const context = await bench()
  const image = await uki(context)
  const allowed = await boot(context, image)
  t.equal(allowed.refused, undefined)
  const authorities = allowed.events.filter(({ type }) => type === 'EV_EFI_VARIABLE_AUTHORITY')
  t.equal(authorities.length, 1)
  const stranger = await boot(context, await uki(context, 'db-other'))
  t.match(stranger.refused, /no signature of it leads to a certificate/)
  const changed = Buffer.from(image)
  changed[image.length >> 1] = (changed[image.length >> 1] ?? 0) ^ 1
  t.match((await boot(context, changed)).refused, /no signature of it leads/, 'a signature over other bytes')
  t.match((await boot(context, await uki(context, 'nobody'))).refused, /not signed/)
})

t.test('a certificate or digest in dbx forbids what db allows', { skip }, async (t) => {
  const context = await bench()
  const image = await uki(context)
  const dbx = (store: Buffer, data: Uint8Array) => setVariable(store, { name: 'dbx', guid: DATABASE, data })
  const byCertificate = await boot(context, image, (store) =>
    dbx(
      store,
      findVariable(parseVariableStore(store), { name: 'db', guid: DATABASE })?.data ?? Buffer.alloc(0),
    ),
  )
  t.equal(byCertificate.refused, 'a certificate of its signature is in dbx')
  const list = {
    ...{ type: SIGNATURE_TYPES.sha256, header: Buffer.alloc(0) },
    signatures: [{ owner: DATABASE, data: authenticodeDigest(image, 'sha256') }],
  }
  const byDigest = await boot(context, image, (store) => dbx(store, encodeSignatureLists([list])))
  t.equal(byDigest.refused, 'its digest is in dbx')
})

const TYPES: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(EV).map(([name, value]) => [`EV_${name}`, value]),
)

/** A log of a firmware that does exactly what is predicted; `type`: of all its events, for readers of their data. */
function logOf({ events }: TpmPrediction, type?: number): Buffer {
  const own = events.filter(({ type }) => type !== 'runtime')
  return syntheticLog(
    own.map(({ pcr, type: name, content }) => ({
      ...{ register: pcr, type: type ?? TYPES[name] ?? 0, data: '' },
      measured: content.known ? Buffer.concat(content.parts) : 'unknown',
    })),
  )
}

t.test('tpm2_eventlog replays the predicted events to the predicted registers', { skip }, async (t) => {
  const context = await bench()
  const prediction = await boot(context, await uki(context))
  const file = join(context.directory, 'log')
  await writeFile(file, logOf(prediction, EV.IPL))
  const { stdout } = await context.tools.run('tpm2_eventlog', [file])
  const replayed = new Map(
    [...String(stdout).matchAll(/^ {4}(\d+) *: 0x([0-9a-f]{64})$/gm)].map(([, index, value]) => [
      Number(index),
      value,
    ]),
  )
  const known = prediction.registers('sha256').filter(({ index }) => replayed.has(index))
  t.ok(known.length > 6)
  for (const register of known)
    if (register.known)
      t.equal(register.value.toString('hex'), replayed.get(register.index), `PCR ${register.index}`)
})

t.test(
  'a comparison tells the register and the event that differ, and a log that does not fit its TPM',
  { skip },
  async (t) => {
    const context = await bench()
    const image = await uki(context)
    const prediction = await boot(context, image)
    const log = parseEventLog(logOf(prediction))
    const registers = new Map(
      prediction
        .registers('sha256')
        .flatMap((each) => (each.known ? [[each.index, each.value] as const] : [])),
    )
    const verdicts = (all: ReturnType<typeof compareBoot>, verdict: string) =>
      all.filter((each) => each.verdict === verdict).map(({ index }) => index)
    const same = compareBoot(prediction, { log, registers })
    t.strictSame(verdicts(same, 'unknown'), [0, 1, 5, 9, 10])
    t.strictSame(verdicts(same, 'equal'), [2, 3, 4, 6, 7, 8, 11, 12, 13, 14, 15])
    const other = await boot(context, image, (store) =>
      setVariable(store, { name: 'dbx', guid: DATABASE, data: Buffer.alloc(0) }),
    )
    const different = compareBoot(other, { log, registers })
    t.strictSame(verdicts(different, 'different'), [7])
    t.match(
      different[7]?.differences[0],
      /^event 4: EV_EFI_VARIABLE_DRIVER_CONFIG variable dbx, not there predicted/,
    )
    t.strictSame(explainDifference(prediction, other), ['pcr7: variable dbx, not there'])
    const lying = parseEventLog(logOf(other))
    t.strictSame(verdicts(compareBoot(prediction, { log: lying, registers }), 'log-disagrees'), [7])
    const silent = new Map([...registers].filter(([index]) => index !== 4))
    t.strictSame(verdicts(compareBoot(prediction, { log, registers: silent }), 'different'), [4])
  },
)
