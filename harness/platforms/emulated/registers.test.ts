/** RTMRs out of a TPM's log: against made-up logs, and against what a real TPM's own registers say. */
import { createHash } from 'node:crypto'
import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PcrExtendLog } from '../../machine/vtpm/pcr-extends.ts'
import { createVtpmState } from '../../machine/vtpm/state.ts'
import { startSwtpm } from '../../machine/vtpm/swtpm.ts'
import { Scope } from '../../system/scope.ts'
import { openTools, type Tools } from '../../system/tools.ts'
import { RuntimeRegisters, rtmrOf } from './registers.ts'

const sha384 = (...parts: readonly Uint8Array[]): Buffer =>
  parts
    .reduce<ReturnType<typeof createHash>>((hash, part) => hash.update(part), createHash('sha384'))
    .digest()
const ZERO = Buffer.alloc(48)
const STARTUP = '80010000000C000001440000'
const SUCCESS = '80010000000A00000000'
const REFUSED = '80010000000A00000101'

/** TPM2_PCR_Extend with digests of two banks, as a firmware sends it; `digest` is that of SHA-384. */
function extend(pcr: number, digest: Uint8Array, count = 2): string {
  const body = Buffer.concat([
    Buffer.from('00000009400000090000010000', 'hex'),
    Buffer.from([0, 0, 0, count, 0, 11]),
    Buffer.alloc(32, 0xaa),
    Buffer.from([0, 12]),
    digest,
  ])
  const head = Buffer.alloc(14)
  head.writeUInt16BE(0x8002)
  head.writeUInt32BE(head.length + body.length, 2)
  head.writeUInt32BE(0x182, 6)
  head.writeUInt32BE(pcr, 10)
  return Buffer.concat([head, body]).toString('hex')
}

/** As swtpm writes it: 16 bytes a line. */
function frame(direction: 'Read' | 'Write', hex: string): string {
  const bytes = hex.toUpperCase().match(/../g) ?? []
  const lines = Array.from(
    { length: Math.ceil(bytes.length / 16) },
    (_, index) => ` ${bytes.slice(index * 16, index * 16 + 16).join(' ')} `,
  )
  return [` SWTPM_IO_${direction}: length ${bytes.length}`, ...lines, ''].join('\n')
}

const exchange = (command: string, response = SUCCESS): string =>
  frame('Read', command) + frame('Write', response)

async function logFile(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  return join(directory, 'log')
}

async function replay(log: PcrExtendLog, registers: RuntimeRegisters): Promise<readonly string[]> {
  for await (const event of log.read()) registers.apply(event)
  return registers.values.map((value) => value.toString('hex'))
}

t.test('each PCR belongs to the RTMR that UEFI says', async (t) => {
  const mapped = Array.from({ length: 24 }, (_, pcr) => rtmrOf(pcr))
  t.strictSame(mapped.slice(0, 8), [undefined, 0, 1, 1, 1, 1, 1, 0])
  t.strictSame(mapped.slice(8, 16), Array(8).fill(2))
  t.strictSame(mapped.slice(16), Array(8).fill(undefined))
})

t.test('extends count where the TPM did them, and a start begins anew', async (t) => {
  const file = await logFile(t)
  const [a, b, c] = [1, 2, 3].map((value) => Buffer.alloc(48, value))
  if (!(a && b && c)) throw new Error('three digests')
  const log = new PcrExtendLog(file)
  const registers = new RuntimeRegisters()
  t.strictSame(await replay(log, registers), Array(4).fill(ZERO.toString('hex')), 'no log yet')
  const refused = exchange(extend(1, c), REFUSED)
  await writeFile(file, exchange(STARTUP) + exchange(extend(7, a)) + refused + exchange(extend(0, c)))
  const first = sha384(ZERO, a)
  t.equal((await replay(log, registers))[0], first.toString('hex'))
  // As swtpm writes on while it is read: a line, a frame, an exchange in parts.
  const more = exchange(extend(1, b)) + exchange(extend(4, b)) + exchange(extend(11, c))
  for (const part of [more.slice(0, 30), more.slice(30, 200), more.slice(200)]) {
    await appendFile(file, part)
    await replay(log, registers)
  }
  t.strictSame(
    registers.values.map((value) => value.toString('hex')),
    [sha384(first, b), sha384(ZERO, b), sha384(ZERO, c), ZERO].map((value) => value.toString('hex')),
  )
  await appendFile(file, exchange(STARTUP) + exchange(extend(3, c)))
  t.strictSame(
    await replay(log, registers),
    [ZERO, sha384(ZERO, c), ZERO, ZERO].map((v) => v.toString('hex')),
  )
})

/** The last event of a firmware. */
const LEFT = sha384(Buffer.from('Exit Boot Services Returned with Success'))
const hex = (values: readonly Uint8Array[]) => values.map((value) => Buffer.from(value).toString('hex'))

t.test('what a system extends when the firmware was left is in no RTMR, until the next start', async (t) => {
  const file = await logFile(t)
  const a = Buffer.alloc(48, 1)
  const before = exchange(extend(4, LEFT)) + exchange(extend(11, a)) + exchange(extend(5, LEFT))
  const after = [8, 9, 10, 11, 12, 15].map((pcr) => exchange(extend(pcr, a))).join('')
  await writeFile(file, exchange(STARTUP) + before + after)
  const log = new PcrExtendLog(file)
  const registers = new RuntimeRegisters()
  t.strictSame(
    await replay(log, registers),
    hex([ZERO, sha384(sha384(ZERO, LEFT), LEFT), sha384(ZERO, a), ZERO]),
  )
  await appendFile(file, exchange(STARTUP) + exchange(extend(11, a)))
  t.equal((await replay(log, registers))[2], sha384(ZERO, a).toString('hex'))
})

t.test('a program that says that the firmware was left hides nothing by it', async (t) => {
  const file = await logFile(t)
  const [loaded, told] = [Buffer.alloc(48, 1), Buffer.alloc(48, 2)]
  const log = new PcrExtendLog(file)
  const registers = new RuntimeRegisters()
  await writeFile(file, exchange(STARTUP) + exchange(extend(5, LEFT)) + exchange(extend(4, loaded)))
  await appendFile(file, exchange(extend(7, loaded)) + exchange(extend(11, told)))
  const rtmr1 = sha384(sha384(ZERO, LEFT), loaded)
  t.strictSame(
    await replay(log, registers),
    hex([sha384(ZERO, loaded), rtmr1, ZERO, ZERO]),
    'what it loads shows at once',
  )
  await appendFile(file, exchange(extend(5, LEFT)) + exchange(extend(11, loaded)))
  t.strictSame(
    await replay(log, registers),
    hex([sha384(ZERO, loaded), sha384(rtmr1, LEFT), sha384(ZERO, told), ZERO]),
    'and what that told shows when the firmware is left',
  )
})

t.test('malformed commands and foreign lines change nothing', async (t) => {
  const file = await logFile(t)
  const digest = Buffer.alloc(48, 5)
  const lies = [
    exchange(extend(7, digest, 0xffffffff % 256)),
    exchange(extend(7, digest).slice(0, -2)),
    exchange('80020000000A00000182'),
    ` SWTPM_IO_Read: length 999999999\n${' AA'.repeat(16)}\n`,
    frame('Write', SUCCESS),
    'Ctrl Cmd: length 4\n 00 00 00 02 \n',
    `${'x'.repeat(100_000)}\n`,
  ]
  await writeFile(file, exchange(STARTUP) + lies.join('') + exchange(extend(9, digest)))
  const values = await replay(new PcrExtendLog(file), new RuntimeRegisters())
  t.strictSame(
    values,
    [ZERO, ZERO, sha384(ZERO, digest), ZERO].map((value) => value.toString('hex')),
  )
})

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'

t.test('a real TPM that one register of each kind was extended in agrees', { skip }, async (t) => {
  if (!tools) return
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  const scope = new Scope('test')
  t.teardown(async () => {
    await scope.close()
    await rm(directory, { recursive: true })
  })
  const state = join(directory, 'state')
  await createVtpmState(tools, state, { banks: ['sha256', 'sha384'] })
  const [log, command] = [join(directory, 'log'), join(directory, 'tpm')]
  // Where tpm2-tss looks for it.
  const socket = `${command}.ctrl`
  await startSwtpm(scope, tools, {
    ...{ name: 'swtpm', stateDirectory: state, socket, commandSocket: command, log },
  })
  const { stdout } = await tools.run('sh', ['-c', EXTEND_AND_READ, 'sh', join(directory, 'event')], {
    environment: { TPM2TOOLS_TCTI: `swtpm:path=${command}` },
  })
  const read = [...stdout.toString().matchAll(/\b(\d+) *: 0x([0-9A-F]{96})/g)].map(([, , value]) =>
    value?.toLowerCase(),
  )
  t.equal(read.length, 3)
  const [pcr4, pcr7, pcr11] = read
  t.strictSame((await replay(new PcrExtendLog(log), new RuntimeRegisters())).slice(0, 3), [pcr7, pcr4, pcr11])
})

/** One PCR of each RTMR, by all commands that extend. */
const EXTEND_AND_READ = `tpm2_startup -c &&
tpm2_pcrextend 7:sha256=${'11'.repeat(32)},sha384=${'12'.repeat(48)} &&
tpm2_pcrextend 4:sha384=${'13'.repeat(48)} &&
echo measured | tpm2_pcrevent 11 >/dev/null &&
tpm2_pcrextend 7:sha384=${'14'.repeat(48)} &&
echo more >"$1" && tpm2_pcrevent 11 "$1" >/dev/null &&
tpm2_pcrread sha384:7,4,11`
