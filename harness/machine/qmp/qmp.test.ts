import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { LaunchError, TimeoutError } from '../../base/errors.ts'
import { spawnSupervised } from '../../system/process.ts'
import { Scope } from '../../system/scope.ts'
import { openTools, type Tools } from '../../system/tools.ts'
import { connectUnix } from '../unix-socket.ts'
import { openQmp, type QmpClient } from './client.ts'
import { LineSplitter } from './lines.ts'

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 1, "major": 11}, "package": ""}, "capabilities": ["oob"]}}\n'
const NAME = 'vm1'

/** tap's own directories are too deep for a socket's path. */
async function shortDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  return directory
}

/** What the client wrote, one command after the other, and how to answer. */
interface Fake {
  readonly client: Promise<QmpClient>
  readonly commands: AsyncGenerator<{
    readonly execute: string
    readonly id: number
    readonly arguments?: unknown
  }>
  readonly say: (bytes: string | Buffer) => void
  readonly hangUp: () => void
}

function fake(options: { readonly timeoutMs?: number; readonly lineLimit?: number } = {}): Fake {
  const written: Buffer[] = []
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      written.push(chunk)
      stream.emit('command')
      done()
    },
  })
  async function* commands() {
    const lines = new LineSplitter()
    for (;;) {
      for (const chunk of written.splice(0)) for (const line of lines.push(chunk)) yield JSON.parse(line)
      if (written.length === 0) await once(stream, 'command')
    }
  }
  return {
    client: openQmp(stream, { name: NAME, ...options }),
    commands: commands(),
    say: (bytes) => stream.push(bytes),
    hangUp: () => stream.push(null),
  }
}

/** A fake that has greeted and left the negotiation mode. */
async function ready(options = {}): Promise<Fake & { readonly qmp: QmpClient }> {
  const server = fake(options)
  server.say(GREETING)
  const { value } = await server.commands.next()
  server.say(`{"return": {}, "id": ${value.id}}\n`)
  return { ...server, qmp: await server.client }
}

const event = (name: string, data = {}) =>
  `${JSON.stringify({ timestamp: { seconds: 5, microseconds: 250 }, event: name, data })}\n`

t.test('greets, negotiates, and knows the version', async (t) => {
  const server = fake()
  server.say(GREETING)
  const { value } = await server.commands.next()
  t.equal(value.execute, 'qmp_capabilities')
  server.say(`{"return": {}, "id": ${value.id}}\r\n`)
  t.equal((await server.client).version, '11.1.2')
})

t.test('answers find their command, in whatever order they come', async (t) => {
  const { qmp, commands, say } = await ready()
  const first = qmp.execute('query-status')
  const second = qmp.execute('qom-get', { path: '/machine', property: 'type' })
  const { value: a } = await commands.next()
  const { value: b } = await commands.next()
  t.match([a, b], [{ execute: 'query-status' }, { execute: 'qom-get', arguments: { property: 'type' } }])
  say(`{"return": "q35", "id": ${b.id}}\n{"return": {"running": true}, "id": ${a.id}}\n`)
  t.strictSame(await Promise.all([first, second]), [{ running: true }, 'q35'])
})

t.test('an answer may be cut at any byte', async (t) => {
  const { qmp, commands, say } = await ready()
  const answer = qmp.execute('x')
  const { value } = await commands.next()
  for (const byte of Buffer.from(`{"return": "é ok", "id": ${value.id}}\n`)) say(Buffer.of(byte))
  t.equal(await answer, 'é ok')
})

t.test("QEMU's refusal carries its class and words", async (t) => {
  const { qmp, commands, say } = await ready()
  const answer = qmp.execute('nonsense')
  const { value } = await commands.next()
  say(`{"error": {"class": "CommandNotFound", "desc": "no such thing"}, "id": ${value.id}}\n`)
  await t.rejects(answer, {
    constructor: LaunchError,
    code: 'qmp-command',
    message: 'vm1: QEMU refused nonsense: CommandNotFound: no such thing',
  })
})

t.test('a command that is not answered times out, and its late answer harms nobody', async (t) => {
  const { qmp, commands, say } = await ready()
  await t.rejects(qmp.execute('slow', undefined, { timeoutMs: 1 }), {
    constructor: TimeoutError,
    code: 'qmp',
  })
  const next = qmp.execute('quick')
  const { value: slow } = await commands.next()
  const { value: quick } = await commands.next()
  say(`{"return": 1, "id": ${slow.id}}\n{"return": 2, "id": ${quick.id}}\n`)
  t.equal(await next, 2)
})

t.test('a greeting that does not come times out', async (t) => {
  await t.rejects(fake({ timeoutMs: 1 }).client, { constructor: TimeoutError, code: 'qmp' })
})

t.test('events have a time and a sequence, and a wait sees what is past since its mark', async (t) => {
  const { qmp, say } = await ready()
  const seen: string[] = []
  qmp.onEvent(({ name }) => seen.push(name))
  const { mark } = qmp
  say(event('RESET', { guest: true }) + event('STOP'))
  const reset = await qmp.waitForEvent(['RESET'], { since: mark, timeoutMs: 1000 })
  t.match(reset, { name: 'RESET', data: { guest: true }, timestamp: 5000.25, sequence: mark })
  t.match(await qmp.waitForEvent(['RESUME', 'STOP'], { since: mark, timeoutMs: 1000 }), { name: 'STOP' })
  t.strictSame(seen, ['RESET', 'STOP'])
  const later = qmp.waitForEvent(['RESET'], { timeoutMs: 1000 })
  say(event('RESET', { guest: false }))
  t.match(await later, { data: { guest: false } }, 'without a mark, only what is to come')
  await t.rejects(qmp.waitForEvent(['RESET'], { timeoutMs: 1 }), {
    code: 'qmp',
    message: 'vm1: QMP: event RESET did not come within 1 ms',
  })
})

t.test('a flood of events is forgotten but for the last', async (t) => {
  const { qmp, say } = await ready()
  const { mark } = qmp
  say(event('FIRST') + event('RESET').repeat(5000) + event('LAST'))
  const last = await qmp.waitForEvent(['LAST'], { since: mark, timeoutMs: 1000 })
  t.equal(last.sequence, mark + 5001)
  await t.rejects(qmp.waitForEvent(['FIRST'], { since: mark, timeoutMs: 1 }), { code: 'qmp' })
})

t.test('a connection that closes ends what is awaited, by name', async (t) => {
  const { qmp, hangUp, say } = await ready()
  const { mark } = qmp
  const answer = qmp.execute('quit')
  const wait = qmp.waitForEvent(['RESET'], { timeoutMs: 10_000 })
  say(event('SHUTDOWN', { reason: 'guest-shutdown' }))
  hangUp()
  await t.rejects(answer, { code: 'qmp-closed', message: /while quit was awaited/ })
  await t.rejects(wait, { code: 'qmp-closed' })
  await qmp.closed
  await t.rejects(qmp.execute('query-status'), { code: 'qmp-closed' })
  t.match(
    await qmp.waitForEvent(['SHUTDOWN'], { since: mark, timeoutMs: 1 }),
    { name: 'SHUTDOWN' },
    'what was said stays',
  )
})

t.test('a connection that broke before anybody listened is closed', async (t) => {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() }).destroy()
  await once(stream, 'close')
  await t.rejects(openQmp(stream, { name: NAME }), { code: 'qmp-closed' })
})

t.test('what is not QMP ends the connection', async (t) => {
  const broken = [
    '{"return": \n',
    '[]\n',
    '{}\n',
    'hello\n',
    '{"return": 1}\n',
    '{"return": 1, "id": 99}\n',
    '{"error": "x"}\n',
  ]
  for (const line of broken) {
    const { qmp, say } = await ready()
    const answer = qmp.execute('query-status')
    say(line)
    await t.rejects(answer, { constructor: LaunchError, code: 'qmp-protocol' }, JSON.stringify(line))
  }
})

t.test('a line without end is given up at the limit', async (t) => {
  const { qmp, say } = await ready({ lineLimit: 1000 })
  const answer = qmp.execute('query-status')
  for (let index = 0; index < 11; index++) say('x'.repeat(100))
  await t.rejects(answer, { code: 'qmp-protocol', message: /a line of more than 1000 bytes/ })
})

t.test('a socket is connected to as soon as somebody listens', async (t) => {
  const directory = await shortDirectory(t)
  const path = join(directory, 's')
  const options = { name: 'x', timeoutMs: 5000, timeoutCode: 'qmp' } as const
  const connecting = connectUnix(path, options)
  const server = createServer((socket) => socket.end('hi'))
  t.teardown(() => server.close())
  server.listen(path)
  const socket: Socket = await connecting
  t.equal(String((await once(socket, 'data'))[0]), 'hi')
  await t.rejects(connectUnix(join(directory, 'none'), { ...options, timeoutMs: 20 }), {
    code: 'qmp',
    message: /ENOENT/,
  })
  const reason = new Error('died')
  await t.rejects(
    connectUnix(join(directory, 'none'), { ...options, signal: AbortSignal.abort(reason) }),
    reason,
  )
})

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'

t.test('speaks with a real QEMU', { skip }, async (t) => {
  if (!tools) return
  await using scope = new Scope('test')
  const path = join(await shortDirectory(t), 'qmp')
  const channel = ['-chardev', `socket,id=q,path=${path},server=on,wait=off`, '-qmp', 'chardev:q']
  const qemu = spawnSupervised(scope, tools, {
    name: 'QEMU',
    program: 'qemu-system-x86_64',
    args: ['-M', 'none', '-nodefaults', '-display', 'none', ...channel],
  })
  const socket = await connectUnix(path, { name: 'QMP', timeoutMs: 10_000, timeoutCode: 'qmp' })
  const qmp = await openQmp(socket, { name: 'QEMU' })
  t.match(qmp.version, /^\d+\.\d+\.\d+$/)
  t.match(await qmp.execute('query-status'), { running: true })
  const schema = await qmp.execute('query-qmp-schema')
  t.ok(Array.isArray(schema) && schema.length > 500, 'the longest answer there is')
  await t.rejects(qmp.execute('no-such-command'), { code: 'qmp-command', message: /CommandNotFound/ })
  const { mark } = qmp
  await qmp.execute('quit')
  t.match(await qmp.waitForEvent(['SHUTDOWN'], { since: mark, timeoutMs: 5000 }), {
    data: { reason: 'host-qmp-quit' },
  })
  t.strictSame(await qemu.exited, { exitCode: 0, signal: undefined })
  await qmp.closed
})
