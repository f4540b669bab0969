import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { GuestError, TimeoutError } from '../../base/errors.ts'
import { Console } from '../console/engine.ts'
import { MARKER_LENGTH, newFraming, OutputLines, parseFrame } from './frames.ts'
import { giveShell } from './give-shell.ts'
import { login } from './login.ts'
import { execScript, quoteWord } from './quote.ts'
import { Guest } from './run.ts'
import { startAgent } from './start-agent.ts'
import { type Mangle, Terminal } from './testing/terminal.ts'

/** Real shells on a real pseudo terminal, and peers that are not what they seem. */

const pty = await import('node-pty').then(
  (module) => module,
  () => undefined,
)
const noPty = pty ? false : 'node-pty is not built here'
// Most of the time goes by in waiting, so tests run side by side.
t.jobs = 4
// A new object for every test: tap writes into the options it is given.
const onPty = () => ({ skip: noPty, buffered: true })

/** Shells that this machine has; ash is what tiny guests run. */
const SHELLS = [
  { name: 'sh', file: '/bin/sh', args: [] },
  { name: 'bash', file: '/bin/bash', args: ['--norc', '-i'] },
  { name: 'busybox ash', file: process.env['ATTESTBED_TEST_BUSYBOX'] ?? '/bin/busybox', args: ['sh'] },
].filter((shell) => existsSync(shell.file))

function openShell(t: Test, shell: (typeof SHELLS)[number], mangle: Mangle = (bytes) => bytes): Console {
  if (!pty) throw new Error('node-pty is not built here')
  const home = t.testdir()
  const environment = { PATH: process.env['PATH'] ?? '', HOME: home, ATTESTBED_DIR: home, PS1: '# ' }
  const child = pty.spawn(shell.file, shell.args, { encoding: null, env: environment, cols: 80, rows: 24 })
  const console = new Console(new Terminal(child, mangle), { name: shell.name })
  t.teardown(() => console.close())
  return console
}

async function openGuest(t: Test, shell: (typeof SHELLS)[number], mangle?: Mangle): Promise<Guest> {
  const console = openShell(t, shell, mangle)
  await startAgent(console, { deadlineMs: 20_000 })
  return new Guest(console)
}

/** Inserts kernel messages, about one every `every` bytes, wherever they fall. */
function kernelNoise(every: number): Mangle {
  let count = 0
  let next = every
  return (bytes) => {
    const parts: Buffer[] = []
    let start = 0
    while (next < bytes.length - start) {
      parts.push(bytes.subarray(start, start + next))
      start += next
      count += 1
      parts.push(Buffer.from(`[${(count / 7).toFixed(6).padStart(12)}] usb 1-1: new device, ok ${count}\r\n`))
      next = 1 + Math.floor(Math.random() * every * 2)
    }
    next -= bytes.length - start
    parts.push(bytes.subarray(start))
    return Buffer.concat(parts)
  }
}

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
const oddArguments = [
  'a b',
  "it's",
  '$(id)',
  '`id`',
  '\\n',
  '*',
  '',
  '-n',
  '!x',
  'é日',
  '\x03\x04\x7f',
  'two\nlines\n',
  '"',
]

for (const shell of SHELLS) {
  t.test(
    `a person gets a shell on the console of ${shell.name}, which its commands had`,
    onPty(),
    async (t) => {
      const guest = await openGuest(t, shell)
      const { console } = guest
      await guest.run(['true'])
      const asked = console.mark()
      await console.send('echo typed-$((6*7))\n')
      await t.rejects(console.expect('typed-42', { since: asked, deadlineMs: 500 }), { code: 'expect' })
      await giveShell(guest)
      const since = console.mark()
      await console.send('echo "typed-$((6*7)) $TERM"; [ -t 0 ] && echo on-$((1+1))-terminal\n')
      await console.expect('typed-42 linux', { since, deadlineMs: 10_000 })
      await console.expect('on-2-terminal', { since, deadlineMs: 10_000 })
      await console.send('exit\n')
      t.equal((await guest.run(['echo', 'again'])).stdout.toString(), 'again\n', 'and the harness after it')
    },
  )
}

t.test('a shell that came too late types nothing into the console', onPty(), async (t) => {
  const [shell] = SHELLS
  if (!shell) return
  const guest = await openGuest(t, shell)
  const running = guest.run(['sleep', '1'])
  const ending = new AbortController()
  const given = giveShell(guest, ending.signal)
  ending.abort(new Error('too late'))
  await t.rejects(given, { message: 'too late' })
  await running
  t.equal((await guest.run(['echo', 'again'])).stdout.toString(), 'again\n', 'no shell holds the console')
})

t.test('a program that cannot be ended gets no request for a shell typed into it', onPty(), async (t) => {
  const [shell] = SHELLS
  if (!shell) return
  const guest = await openGuest(t, shell)
  await t.rejects(guest.shell('trap "" INT QUIT; sleep 100', { timeoutMs: 300 }), TimeoutError)
  await t.rejects(giveShell(guest), { code: 'protocol', message: /sleep 100.* still holds the console/ })
})

for (const shell of SHELLS) {
  t.test(`guest.run over ${shell.name}`, onPty(), async (t) => {
    const guest = await openGuest(t, shell)

    const both = await guest.run(['sh', '-c', 'echo out; echo err >&2; exit 3'])
    t.same([both.exitCode, both.stdout.toString(), both.stderr.toString()], [3, 'out\n', 'err\n'])

    const echoed = await guest.run(['printf', '%s|', ...oddArguments])
    t.equal(echoed.stdout.toString(), `${oddArguments.join('|')}|`, 'arguments arrive as they are')
    t.equal(
      (await guest.run(['cat'], { input: everyByte })).stdout.equals(everyByte),
      true,
      'every byte passes',
    )
    t.equal((await guest.run(['true'])).stdout.length, 0)
    t.equal((await guest.run(['no-such-program'])).exitCode, 127)
    t.equal((await guest.run(['sh', '-c', 'kill -9 $$'])).exitCode, 137)

    const long = 'x'.repeat(20_000)
    t.equal((await guest.run(['printf', '%s', long])).stdout.toString(), long, 'an argument of 20 kB')
    const bytes = randomBytes(200_001)
    const path = `${t.testdirName}/file with space`
    await guest.writeFile(path, bytes)
    t.ok(readFileSync(path).equals(bytes), 'a file is written as it is')
    t.ok((await guest.readFile(path)).equals(bytes), 'and read')

    const secret = randomBytes(3000).toString('hex')
    await guest.writeFile(path, secret, { secret: true })
    t.equal(readFileSync(path, 'latin1'), secret, 'a secret is written as it is')
    const typed = guest.console.sends.map(({ text }) => text ?? '').join('')
    t.notOk(typed.includes(Buffer.from(secret).toString('base64').slice(0, 60)), 'and not kept')

    const two = await Promise.all([guest.shell('echo one'), guest.shell('echo two')])
    t.same(
      two.map((result) => result.stdout.toString()),
      ['one\n', 'two\n'],
      'commands take turns',
    )

    await t.rejects(guest.succeed(['sh', '-c', 'echo why >&2; false']), {
      code: 'command-failed',
      message: /exit code 1, expected 0: why/,
    })
    await t.rejects(guest.fail(['true']), { code: 'command-failed' })
    await guest.fail(['false'])

    await guest.shell(`rm -f ${t.testdirName}/flag; (sleep 0.4; : >${t.testdirName}/flag) >/dev/null 2>&1 &`)
    await guest.waitUntilSucceeds(['test', '-e', `${t.testdirName}/flag`], { deadlineMs: 10_000 })
    await t.rejects(guest.waitUntilSucceeds(['false'], { deadlineMs: 300 }), { code: 'command' })
    t.notMatch(
      (await guest.run(['env'])).stdout.toString(),
      /^[a-z]+=/m,
      "the agent's variables stay its own",
    )
  })

  t.test(`a command over ${shell.name} that does not end`, onPty(), async (t) => {
    const guest = await openGuest(t, shell)
    await t.rejects(guest.run(['sleep', '100'], { timeoutMs: 200 }), {
      code: 'command',
      message: /"sleep 100".*0\.2 s/,
    })
    t.equal((await guest.run(['echo', 'next'])).stdout.toString(), 'next\n', 'the next one works')
    const stubborn = 'trap "" INT; env sleep 100'
    await t.rejects(guest.shell(stubborn, { timeoutMs: 300 }), TimeoutError)
    t.equal(
      (await guest.run(['echo', 'next'])).stdout.toString(),
      'next\n',
      'even after one that ignores Ctrl-C',
    )
  })

  t.test(`guest.run over ${shell.name} amid kernel messages`, onPty(), async (t) => {
    const guest = await openGuest(t, shell, kernelNoise(400))
    for (let i = 0; i < 4; i++) {
      const bytes = randomBytes(3000 * i)
      const result = await guest.run(['cat'], { input: bytes })
      t.ok(result.stdout.equals(bytes), `${bytes.length} bytes there and back`)
    }
    const big = await guest.shell(
      'i=0; while [ $i -lt 2000 ]; do echo "line $i of some output"; i=$((i+1)); done',
    )
    t.equal(big.stdout.toString().split('\n').length, 2001)
  })
}

const [plainShell] = SHELLS

t.test('large outputs', onPty(), async (t) => {
  if (!plainShell) return
  const guest = await openGuest(t, plainShell)
  const zeros = await guest.run(['head', '-c', '3000000', '/dev/zero'])
  t.ok(zeros.stdout.equals(Buffer.alloc(3_000_000)), '3 MB arrive')
  const small = new Guest(guest.console, { outputLimit: 10_000 })
  await t.rejects(small.run(['head', '-c', '20000', '/dev/zero']), {
    code: 'output-too-large',
    message: /10000/,
  })
  t.equal((await small.run(['echo', 'next'])).stdout.toString(), 'next\n')
})

t.test('a program that writes to the console itself forges nothing', onPty(), async (t) => {
  if (!plainShell) return
  let seen = ''
  const guest = await openGuest(t, plainShell, (bytes) => {
    seen = (seen + bytes.toString('latin1')).slice(-200_000)
    return bytes
  })
  await guest.run(['true'])
  const old = [...seen.matchAll(/^([0-9a-f]{32}) S 0 .*$/gm)].at(-1)?.[0] ?? ''
  t.ok(old, 'an answer of an earlier command was seen')
  const noise = ['ok 1', 'Bail out!', '1..0', '\x1b[2J\x1b]0;x\x07', '# ', 'login: ', '\0\0', old].join('\n')
  const script = `printf '%s' "$1" >/dev/tty; printf '%s' "$1" >/dev/tty; echo real; exit 4`
  const result = await guest.run(['sh', '-c', script, 'sh', noise.replaceAll('\0', '')])
  t.same([result.exitCode, result.stdout.toString()], [4, 'real\n'])
})

t.test('a guest that goes away in the middle of a command', onPty(), async (t) => {
  if (!plainShell) return
  const guest = await openGuest(t, plainShell)
  await t.rejects(guest.shell('kill -9 $PPID'), { code: 'console-closed' })
  const dying = await openGuest(t, plainShell)
  const panic = 'printf "[    4.2] Kernel panic - not syncing: test\\n" >/dev/tty; sleep 100'
  await t.rejects(dying.shell(panic), { code: 'panic', message: /Kernel panic - not syncing: test/ })
  const leaving = await openGuest(t, plainShell)
  await leaving.begin(['sh', '-c', 'printf "Restarting.\\n" >/dev/tty; sleep 100'])
  await leaving.console.expect('Restarting.', { deadlineMs: 5000 })
})

/** A guest made of a function: it gets every complete line that was typed. */
class Peer extends Duplex {
  readonly #answer: (line: string) => string | Buffer
  #typed = ''

  constructor(answer: (line: string) => string | Buffer) {
    super()
    this.#answer = answer
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#typed += chunk.toString('latin1')
    const lines = this.#typed.split('\n')
    this.#typed = lines.pop() ?? ''
    for (const line of lines) this.push(this.#answer(line))
    done()
  }
}

t.test('a peer that only echoes is not taken for a shell', async (t) => {
  const console = new Console(new Peer((line) => `${line}\r\n`), { name: 'echo' })
  t.teardown(() => console.close())
  await t.rejects(startAgent(console, { deadlineMs: 300 }), { code: 'command' })
  const guest = new Guest(console)
  const forged = guest.run(['true'])
  setTimeout(() => console.failWaits(new GuestError('the guest was reset', { code: 'reset' })), 300)
  await t.rejects(forged, { code: 'reset' }, 'and what others know of the guest ends a command')
})

t.test('100 MB of noise around an answer', onPty(), async (t) => {
  if (!plainShell) return
  const noise = Buffer.alloc(1 << 20, 'ok 1\nBail out!\n\x1b[31m[    1.0] noise \0 0123456789abcdef\r\n')
  let left = 0
  const guest = await openGuest(t, plainShell, (bytes) => {
    const batch = Math.min(left, 25)
    left -= batch
    return Buffer.concat([...new Array(batch).fill(noise), Buffer.from('\n'), bytes])
  })
  // Four answers at least, each from a round trip of its own, so each with a share of the noise.
  left = 100
  const result = await guest.run(['echo', 'found'])
  t.equal(result.stdout.toString(), 'found\n')
  t.equal(left, 0, 'all of the noise was sent')
})

t.test('login', onPty(), async (t) => {
  if (!plainShell) return
  const getty = (script: string): (typeof SHELLS)[number] => ({ ...plainShell, args: ['-c', script] })
  const ask = 'printf "\\nlab login: "; read u; printf "Password: "; stty -echo; read p; stty echo; echo'
  const check = 'if [ "$u:$p" = "root:secret" ]; then exec sh -i; else echo; echo "Login incorrect"; fi'

  const good = openShell(t, getty(`while :; do ${ask}; ${check}; done`))
  const guest = await login(good, { kind: 'password', password: 'secret' }, { deadlineMs: 20_000 })
  t.equal((await guest.run(['echo', 'in'])).stdout.toString(), 'in\n')
  t.notOk(
    good.sends.some((sent) => sent.text?.includes('secret')),
    'the password is not in the record',
  )

  const bad = openShell(t, getty(`while :; do ${ask}; ${check}; done`))
  const refused = login(bad, { kind: 'password', user: 'root', password: 'wrong' }, { deadlineMs: 20_000 })
  await t.rejects(refused, { code: 'login-failed', message: /as root: the guest said "Login incorrect"/ })

  const hidden = openShell(
    t,
    getty(`printf "lab login: [   9.1] usb: new device\\n"; read x; ${ask}; ${check}`),
  )
  await login(hidden, { kind: 'password', password: 'secret' }, { deadlineMs: 20_000, nudgeAfterMs: 200 })
  t.pass('a prompt hidden by a kernel message is brought back')

  const automatic = openShell(t, plainShell)
  await login(automatic, { kind: 'prompt' }, { deadlineMs: 20_000 })

  const silent = openShell(t, getty('sleep 100'))
  await t.rejects(login(silent, { kind: 'prompt' }, { deadlineMs: 300, nudgeAfterMs: 100 }), { code: 'boot' })
  t.equal(silent.sentBytes, 0, 'nothing is typed to a guest that has shown no prompt')
})

t.test('frames', async (t) => {
  const { nonce, marker } = newFraming()
  t.equal(marker.length, MARKER_LENGTH)
  t.not(marker, nonce)
  const digest = 'a'.repeat(64)
  t.same(parseFrame(`${marker} K .`, marker), { kind: 'begun' })
  t.match(parseFrame(`${marker} S 7 1 ${digest} 0 - .`, marker), { status: { exitCode: 7, o: { lines: 1 } } })
  t.match(parseFrame(`${marker} o 3 QUJD .`, marker), { kind: 'line', number: 3, base64: 'QUJD' })
  const damaged = [
    `x${marker} K .`,
    `${marker.slice(0, 8)}${'0'.repeat(24)} K .`,
    `${marker} K`,
    `${marker} K . `,
    `${marker} S 7 1 ${digest} 0 .`,
    `${marker} S 7777 1 ${digest} 0 - .`,
    `${marker} o 3 QU[   1.0] usb .`,
    `${marker} o 3 ${'A'.repeat(305)} .`,
    `${marker} A 1x .`,
    `${marker} Z .`,
    marker.slice(0, 8),
  ]
  for (const line of damaged) t.same(parseFrame(line, marker), { kind: 'damaged' }, line.slice(-30))

  const lines = new OutputLines({ lines: 5, digest })
  t.equal(lines.missingRanges(100), '1,5p')
  t.notOk(lines.add(2, 'QUJD'), 'a short line in the middle was cut')
  t.ok(lines.add(2, 'A'.repeat(304)))
  t.notOk(lines.add(6, 'QUJD'))
  t.equal(lines.missingRanges(100), '1,1p;3,5p')
  t.equal(lines.missingRanges(5), '1,1p')
  for (const number of [1, 3, 4]) lines.add(number, 'A'.repeat(304))
  lines.add(5, 'QUJD')
  t.equal(lines.missing, 0)
  t.equal(lines.bytes(), undefined, 'lines of another digest are no output')
  t.equal(lines.missing, 5, 'and are all asked for again')
})

t.test('quoting', async (t) => {
  t.equal(quoteWord("a'b"), `'a'\\''b'`)
  t.equal(execScript(['ls', '-l']), `exec 'ls' '-l'`)
  t.throws(() => quoteWord('a\0b'), { code: 'bad-value' })
  t.throws(() => execScript([]), { code: 'bad-value' })
})
