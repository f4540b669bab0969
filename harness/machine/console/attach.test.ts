import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { keyName } from './attach.ts'
import { Console } from './engine.ts'

/** A person's terminal is a pseudo terminal here; the guest is a socket that the test speaks through. */

const pty = await import('node-pty').then(
  (module) => module,
  () => undefined,
)
// A new object for every test: tap writes into the options it is given.
const onPty = () => ({ skip: pty ? false : 'node-pty is not built here' })
const FIXTURE = fileURLToPath(new URL('attach.fixture.ts', import.meta.url))
const SOON = { deadlineMs: 15_000, expectFailures: [] }

interface Session {
  /** What the person sees; its `send` is what they type. */
  readonly screen: Console
  /** What the guest is sent; its `send` is what the guest prints. */
  readonly guest: Console
  readonly exited: Promise<number>
  resize(size: { readonly columns: number; readonly rows: number }): void
  kill(signal: NodeJS.Signals): void
}

async function open(t: Test, mode: 'front' | 'attach'): Promise<Session> {
  if (!pty) throw new Error('node-pty is not built here')
  const directory = mkdtempSync(join(tmpdir(), 'attach-test-'))
  const server = createServer()
  const socket = join(directory, 's')
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  const connected = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const args = [...process.execArgv, FIXTURE, mode, socket]
  const child = pty.spawn(process.execPath, args, { encoding: null, cols: 100, rows: 40, env: process.env })
  const seen = new PassThrough()
  child.onData((data) => seen.write(data as unknown as Uint8Array))
  const exited = new Promise<number>((resolve) => {
    child.onExit(({ exitCode, signal }) => resolve(signal ? 128 + signal : exitCode))
  })
  const typing = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => {
      child.write(chunk)
      done()
    },
  })
  const kill = (signal: NodeJS.Signals): void => {
    if (child.pid <= 1) return
    try {
      process.kill(child.pid, signal)
    } catch {
      // It has ended.
    }
  }
  const screen = new Console(Duplex.from({ readable: seen, writable: typing }), { name: 'screen' })
  const guest = new Console(await connected, { name: 'guest' })
  t.teardown(async () => {
    kill('SIGKILL')
    await exited
    await Promise.all([screen.close(), guest.close()])
    server.close()
    rmSync(directory, { recursive: true })
  })
  const resize = (to: { readonly columns: number; readonly rows: number }): void =>
    child.resize(to.columns, to.rows)
  return { screen, guest, exited, resize, kill }
}

t.test('both ways, control characters too, until the escape key', onPty(), async (t) => {
  const { screen, guest, exited } = await open(t, 'front')
  await screen.expect('console of lab: Ctrl-] leaves it', SOON)
  const raw: Buffer[] = []
  screen.onData((bytes) => raw.push(Buffer.from(bytes)))
  await guest.send('\x1b[31mred\x1b[0m \xff done\r\n')
  await screen.expect('done', SOON)
  t.match(
    Buffer.concat(raw).toString('latin1'),
    '\x1b[31mred\x1b[0m',
    'the terminal gets the sequences as they are',
  )
  const typed: Buffer[] = []
  guest.onData((bytes) => typed.push(Buffer.from(bytes)))
  await screen.send('ls\x03\x04\x1a\x11\r.')
  await guest.expect('.', SOON)
  t.equal(
    Buffer.concat(typed).toString('latin1'),
    'ls\x03\x04\x1a\x11\r.',
    'keys reach the guest, not the harness',
  )
  await screen.send('last\x1dnot this')
  await guest.expect('last', SOON)
  await screen.expect('attach over: left raw: false', SOON)
  await screen.expect('front over: 0 raw: false', SOON)
  t.equal(await exited, 0)
  t.notMatch(Buffer.concat(typed).toString('latin1'), 'not this')
})

t.test('the window size follows, at an untouched prompt only', onPty(), async (t) => {
  const { screen, guest, resize } = await open(t, 'front')
  await screen.expect('leaves it', SOON)
  await guest.send('booting\r\nlab# ')
  await guest.expect(' stty rows 40 cols 100\n', SOON)
  await guest.send(' stty rows 40 cols 100\r\nlab# ')
  await screen.expect(/lab# $/, SOON)
  resize({ columns: 120, rows: 50 })
  await guest.expect(' stty rows 50 cols 120\n', SOON)

  await guest.send('\r\nlab# ')
  await screen.send('vi >')
  const { end } = await guest.expect('vi >', SOON)
  await guest.send('vi >a line that ends like a prompt # ')
  resize({ columns: 90, rows: 30 })
  await screen.expect('a prompt # ', SOON)
  while (screen.quietMs < 200) await new Promise((resolve) => setTimeout(resolve, 20))
  await screen.send('X')
  t.equal(
    (await guest.expect('X', { ...SOON, since: end })).before,
    '',
    'nothing gets into a half-written command',
  )
  await guest.send('X\r\nlab# ')
  await guest.expect(' stty rows 30 cols 90\n', SOON)
})

t.test('a guest that goes away gives the terminal back', onPty(), async (t) => {
  const { screen, guest, exited } = await open(t, 'front')
  await screen.expect('leaves it', SOON)
  await guest.close()
  await screen.expect('attach over: closed raw: false', SOON)
  t.equal(await exited, 3)
})

t.test('the terminal is given back when the program is killed', onPty(), async (t) => {
  const { screen, exited } = await open(t, 'front')
  const { match } = await screen.expect(/attach pid (\d+)/, SOON)
  await screen.expect('leaves it', SOON)
  const pid = Number(match[1])
  t.ok(pid > 1)
  process.kill(pid, 'SIGKILL')
  await screen.expect('front over: 137 raw: false', SOON)
  t.equal(await exited, 137)
})

t.test('SIGTERM reaches the program', onPty(), async (t) => {
  const { screen, exited, kill } = await open(t, 'front')
  await screen.expect('leaves it', SOON)
  kill('SIGTERM')
  await screen.expect('front over: 143 raw: false', SOON)
  t.equal(await exited, 143)
})

t.test('without the front it works as well', onPty(), async (t) => {
  const { screen, guest, exited } = await open(t, 'attach')
  await screen.expect('leaves it', SOON)
  await guest.send('hello')
  await screen.expect('hello', SOON)
  await screen.send('\x1d')
  await screen.expect('attach over: left raw: false', SOON)
  t.equal(await exited, 0)
})

t.test('keys have names', async (t) => {
  t.equal(keyName('\x1d'), 'Ctrl-]')
  t.equal(keyName('\x01'), 'Ctrl-A')
})
