import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, PassThrough } from 'node:stream'
import xterm from '@xterm/headless'
import t, { type Test } from 'tap'
import { GuestError, TimeoutError } from '../../base/errors.ts'
import { writeAsciicast } from './asciicast.ts'
import { Console, type ConsoleOptions } from './engine.ts'
import { openTranscript, Transcript } from './transcript.ts'

/** A console and its guest's end of the line. */
function pair(t: Test, options: Partial<ConsoleOptions> = {}) {
  const guest = new PassThrough()
  const typed = new PassThrough()
  const stream = Duplex.from({ readable: guest, writable: typed })
  const console = new Console(stream, { name: 'lab', settleMs: 20, ...options })
  t.teardown(() => console.close().catch(() => {}))
  return { console, guest, typed, stream }
}

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'console-test-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

const SOON = { deadlineMs: 5000 }

t.test('expect goes on after the last match, or from a mark', async (t) => {
  const { console, guest } = pair(t)
  guest.write('one two\r\nthree\r\n')
  const first = await console.expect(['nothing', { name: 'second', match: 'two' }], SOON)
  t.match(first, { index: 1, pattern: 'second', match: 'two', before: 'one ' })
  const third = await console.expect(/t(\w+)/, SOON)
  t.equal(third.match[1], 'hree', 'what was matched once is behind')
  const again = await console.expect('one', { ...SOON, since: 0 })
  t.equal(again.end, 3, 'unless a wait begins earlier')

  const mark = console.mark()
  guest.write('three again\n')
  t.equal((await console.expect('three', { ...SOON, since: mark })).end, mark + 5)
})

t.test('several waits at once each see everything', async (t) => {
  const { console, guest } = pair(t)
  const waits = [console.expect(/b=(\d)/, SOON), console.expect('a', SOON), console.expect(['c', 'b'], SOON)]
  guest.write('a b=1 c\n')
  const found = await Promise.all(waits)
  t.same(
    found.map(({ pattern, end }) => `${pattern}:${end}`),
    ['/b=(\\d)/:5', 'a:1', 'b:3'],
  )
})

t.test('a prompt is seen when the console is quiet', async (t) => {
  const { console, guest } = pair(t)
  guest.write('debian log')
  const prompt = console.expect(/login: $/, SOON)
  guest.write('in: ')
  t.equal((await prompt).before, 'debian ')
  const late = console.expect(/login: $/, { ...SOON, since: 0 })
  t.ok(await late, 'also when it has long been there')
})

t.test('a deadline quotes what was awaited and what was seen', async (t) => {
  const { console, guest } = pair(t)
  guest.write('line one\r\n\x1b[31mred\u202e\r\nlast')
  const error = await console.expect(['login:', /x+/], { deadlineMs: 80 }).catch((error: unknown) => error)
  t.type(error, TimeoutError)
  t.match(error, {
    code: 'expect',
    message: /"login:" or "\/x\+\/" did not appear on the console of lab within 0\.08 s/,
  })
  t.match(error, {
    message: /the last byte came 0\.\d s ago\n {2}\| line one\n {2}\| red\\u\{202e\}\n {2}\| last$/,
  })
  await t.rejects(console.expect('x', { deadlineMs: 1, timeoutCode: 'boot' }), { code: 'boot' })
})

t.test('failures end every wait that has not disarmed them', async (t) => {
  const { console, guest } = pair(t)
  const login = console.expect(/login: $/, { ...SOON, awaited: 'the login prompt' })
  const looking = console.expect(/Kernel panic - not syncing: (.*)/, { ...SOON, expectFailures: [] })
  guest.write('[    1.0] Kernel panic - not syncing: VFS: no root\r\n[    1.1] CPU: 0\r\n')
  await t.rejects(login, {
    code: 'panic',
    message: /^while waiting for the login prompt, the guest's kernel panicked: \[ {4}1\.0\] Kernel panic/,
    consoleTail: /Kernel panic/,
  })
  t.equal((await looking).match[1], 'VFS: no root')
  await t.rejects(
    console.expect('x', { ...SOON, since: 0 }),
    { code: 'panic' },
    'a failure of before counts too',
  )
  await t.rejects(
    console.expect('x', { deadlineMs: 30 }),
    { code: 'expect' },
    'but not one behind the last match',
  )
  const kvm = console.expect('x', SOON)
  guest.write('KVM internal error. Suberror: 1\n')
  await t.rejects(kvm, { name: 'LaunchError', code: 'kvm-internal-error' })
})

t.test('the end of the stream, others, and an abort end waits', async (t) => {
  const { console, guest } = pair(t)
  const reset = console.expect('x', SOON)
  console.failWaits(new GuestError('the guest was reset', { code: 'reset' }))
  await t.rejects(reset, { code: 'reset' })

  const abort = new AbortController()
  const aborted = console.expect('x', { ...SOON, signal: abort.signal })
  abort.abort(new Error('no longer needed'))
  await t.rejects(aborted, { message: 'no longer needed' })
  await t.rejects(console.expect('x', { ...SOON, signal: abort.signal }), { message: 'no longer needed' })

  const last = console.expect(/prompt> $/, SOON)
  const closed = console.expect('x', SOON)
  guest.end('prompt> ')
  t.ok(await last, 'the last line counts, complete or not')
  await t.rejects(closed, { code: 'console-closed', message: /prompt>/ })
  await console.closed
  await t.rejects(console.expect('x', SOON), { code: 'console-closed' })
  t.ok(await console.expect('prompt', { ...SOON, since: 0 }), 'what was said stays to be seen')
  await t.rejects(console.send('x'), { code: 'console-closed' })
})

t.test('what is sent is counted and recorded', async (t) => {
  const path = directory(t)
  const transcript = await openTranscript(path)
  const { console, typed } = pair(t, { transcript })
  t.equal(console.sentBytes, 0, 'nothing was typed')
  await console.send('root\n')
  await console.sendSecret('hunter2\n')
  await console.send(Buffer.from([0xff]))
  t.equal(console.sentBytes, 14)
  t.same(
    console.sends.map(({ bytes, text }) => [bytes, text]),
    [
      [5, 'root\n'],
      [8, undefined],
      [1, 'ÿ'],
    ],
  )
  t.equal((typed.read() as Buffer).toString('latin1'), 'root\nhunter2\nÿ')
  await console.close()
  const sent = readFileSync(transcript.files.sent, 'utf8')
  t.match(sent, /"text":"root\\n"/)
  t.match(sent, /"bytes":8,"secret":true/)
  t.notMatch(sent, /hunter2/)
})

t.test('the last line is reported now and then, safe to print', async (t) => {
  const { console, guest } = pair(t)
  const lines: string[] = []
  const reported = new Promise<void>((resolve) => {
    console.onLine((line) => {
      lines.push(line)
      resolve()
    })
  })
  for (let i = 0; i < 50; i++) guest.write(`line ${i} \x1b]0;evil\x07\x9b31m${'long '.repeat(100)}\n\n`)
  await reported
  t.equal(lines.length, 1, 'once for all of them')
  t.match(lines[0], /^line 49 \\u\{9b\}31mlong .*…$/)
  t.ok((lines[0]?.length ?? 999) <= 200)
})

t.test('a tap gets each line that holds a needle', async (t) => {
  const { console, guest } = pair(t)
  const lines: string[] = []
  guest.write('early mark\n')
  await console.expect('mark\n', SOON)
  const stop = console.tap({ needles: ['mark', 'MARKER'], onLine: (line) => lines.push(line) })
  guest.write('a mark and a marker\nnothing\n\x1b[1mM')
  guest.write('arker\x1b[0m\r\nmark without end')
  await console.expect('without end', SOON)
  t.same(lines, ['a mark and a marker', 'Marker'])
  stop()
  guest.write(' mark\n')
  await console.expect(' mark\n', SOON)
  t.equal(lines.length, 2)
})

t.test('a transcript holds every byte and its time, and plays as an asciicast', async (t) => {
  const path = directory(t)
  const transcript = await openTranscript(path)
  const { console, guest } = pair(t, { transcript })
  const chunks = [Buffer.from('first\r\n'), Buffer.from([0xe2, 0x82]), Buffer.from([0xac, 0xff, 0x00, 0x0a])]
  for (const [index, chunk] of chunks.entries()) {
    guest.write(chunk)
    await console.expect(['first', /./, '\n'][index] as string, { deadlineMs: 2000 })
  }
  await console.close()
  const { files } = transcript
  t.ok(readFileSync(files.raw).equals(Buffer.concat(chunks)), 'raw bytes')
  const times = readFileSync(files.times, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as [number, number])
  t.equal(
    times.reduce((sum, [, bytes]) => sum + bytes, 0),
    13,
    'every byte has its time',
  )
  t.same(
    times.map(([ms]) => ms),
    times.map(([ms]) => ms).sort((a, b) => a - b),
  )
  for (const file of Object.values(files)) t.equal(statSync(file).mode & 0o777, 0o600, 'private')
  await t.rejects(openTranscript(path), { code: 'transcript-write' }, 'never written over')

  const cast = join(path, 'console.cast')
  await writeAsciicast(files, cast, { columns: 40, rows: 5, title: 'lab', startedAt: new Date(1e12) })
  const [header, ...events] = readFileSync(cast, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(header, { version: 2, width: 40, height: 5, title: 'lab', timestamp: 1e9 })
  const shown = (events as [number, string, string][]).map(([, , text]) => text).join('')
  t.equal(shown, 'first\r\n€\ufffd\0\n', 'characters cut in two are joined, invalid bytes replaced')
  const terminal = new xterm.Terminal({ cols: 40, rows: 5, allowProposedApi: true })
  await new Promise<void>((resolve) => terminal.write(shown, resolve))
  t.equal(terminal.buffer.active.getLine(0)?.translateToString(true), 'first', 'a terminal shows it')
})

t.test('a full disk is an error of the next wait and of close, not a crash', async (t) => {
  const full = (): Promise<FileHandle> => open('/dev/full', 'w')
  const files = { raw: 'console.raw', times: 'console.times', sent: 'console.sent' }
  const transcript = new Transcript(files, { raw: await full(), times: await full(), sent: await full() })
  const { console, guest } = pair(t, { transcript })
  const waiting = console.expect('never', SOON)
  guest.write('some text\n')
  await t.rejects(waiting, { name: 'LaunchError', code: 'transcript-write', message: /console\.raw: ENOSPC/ })
  await t.rejects(console.expect('text', { ...SOON, since: 0 }), { code: 'transcript-write' })
  await t.rejects(console.close(), { code: 'transcript-write' })
})

t.test('a slow disk makes the guest wait', async (t) => {
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const slow = {
    writev: async (buffers: readonly NodeJS.ArrayBufferView[]) => {
      await held
      return {
        bytesWritten: buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0),
        buffers: [...buffers],
      }
    },
    close: async () => {},
  }
  const files = { raw: 'r', times: 't', sent: 's' }
  const transcript = new Transcript(files, { raw: slow, times: slow, sent: slow })
  const { console, guest, stream } = pair(t, { transcript })
  const chunk = Buffer.alloc(1 << 20)
  for (let i = 0; i < 40; i++) guest.write(chunk)
  guest.write('the end\n')
  const end = console.expect('the end', SOON)
  const deadline = performance.now() + SOON.deadlineMs
  while (!stream.isPaused() && performance.now() < deadline)
    await new Promise((resolve) => setImmediate(resolve))
  t.ok(console.receivedBytes < 20 << 20, `${console.receivedBytes} bytes were taken while the disk was busy`)
  release()
  await end
  await console.close()
})

t.test('over a unix socket, cut anywhere', async (t) => {
  const path = join(directory(t), 's')
  const server = createServer()
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const accepted = once(server, 'connection')
  const console = new Console(connect(path), { name: 'lab' })
  const [socket] = (await accepted) as [Socket]
  t.teardown(() => console.close())
  const text = Buffer.from(`${'noise \x1b[1mbold\x1b[0m\r\n'.repeat(200)}state=42\r\n`)
  for (let at = 0; at < text.length; at += 7) socket.write(text.subarray(at, at + 7))
  t.equal((await console.expect(/state=(\d+)/, SOON)).match[1], '42')
  socket.destroy()
  await console.closed
})
