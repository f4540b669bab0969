/** The bus between a client that hands over its channel as QEMU does, and a real swtpm. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { resolvePaths } from '../../system/paths.ts'
import { Scope } from '../../system/scope.ts'
import { Store } from '../../system/store.ts'
import { openTools, type Tools } from '../../system/tools.ts'
import { createVtpmState } from './state.ts'
import { startSwtpm } from './swtpm.ts'
import { startTpmBus, type TpmBusHost } from './tpm-bus.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'

/** CMD_INIT, then CMD_SET_DATAFD with one end of a pair; commands in hex go over the other. */
const CLIENT = `
import socket, sys
control = socket.socket(socket.AF_UNIX); control.connect(sys.argv[1])
control.sendall(bytes.fromhex('0000000200000000')); print(control.recv(64).hex())
ours, theirs = socket.socketpair(socket.AF_UNIX)
socket.send_fds(control, [bytes.fromhex('00000010')], [theirs.fileno()]); theirs.close()
print(control.recv(64).hex())
for command in sys.argv[2:]:
    ours.sendall(bytes.fromhex(command)); print(ours.recv(4096).hex())
`
const STARTUP = '80010000000c000001440000'
const RANDOM = '80010000000c0000017b0008'
const READ_PCR16 = `80010000001400000 17e00000001000b03000001`.replace(' ', '')
const extendBy = (value: string): string =>
  `8002000000410000018200000010000000094000000900 00010000 00000001000b${value.repeat(32)}`.replaceAll(
    ' ',
    '',
  )

async function overBus(host: TpmBusHost, ...commands: readonly string[]): Promise<readonly string[]> {
  if (!tools) return []
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  await using scope = new Scope('test')
  scope.defer('files', () => rm(directory, { recursive: true }))
  const state = join(directory, 'state')
  await createVtpmState(tools, state)
  const swtpm = { socket: join(directory, 'c'), commandSocket: join(directory, 't') }
  const running = await startSwtpm(scope, tools, { name: 'swtpm', stateDirectory: state, ...swtpm })
  const paths = resolvePaths()
  const socket = join(directory, 'bus')
  const bus = await startTpmBus(scope, tools, {
    ...{ name: 'test', store: new Store(paths.cache), checkout: paths.checkout, socket, swtpm, host },
  })
  const { stdout } = await tools.run('python3', ['-c', CLIENT, socket, ...commands])
  t.equal((await bus.exited).exitCode, 0, 'it ends with its client')
  await running.process.stop()
  return stdout.toString().trim().split('\n')
}

t.test('what passes is what was sent, and the host sees it', { skip }, async (t) => {
  const seen: string[] = []
  const onExchange: TpmBusHost['onExchange'] = (command) => void seen.push(command.toString('hex'))
  const [init, datafd, startup, random, ...rest] = await overBus({ onExchange }, STARTUP, RANDOM)
  t.strictSame([init, datafd, startup, rest], ['00000000', '00000000', '80010000000a00000000', []])
  t.match(random, /^80010000001400000000 ?0008/)
  t.strictSame(seen, [STARTUP, RANDOM])
})

t.test('the host puts another command in the place of one, or answers itself', { skip }, async (t) => {
  const honest = await overBus({}, STARTUP, extendBy('11'), READ_PCR16)
  const other = await overBus({}, STARTUP, extendBy('22'), READ_PCR16)
  t.not(other.at(-1), honest.at(-1), 'control: other extends, other values')
  const onCommand: TpmBusHost['onCommand'] = (command) => ({
    forward: command.readUInt32BE(6) === 0x182 ? Buffer.from(extendBy('11'), 'hex') : command,
  })
  const faked = await overBus({ onCommand }, STARTUP, extendBy('22'), READ_PCR16)
  t.equal(faked.at(-1), honest.at(-1), 'the registers of the host’s choice')
  const refused = Buffer.from('80010000000a00000101', 'hex')
  const answers = await overBus({ onCommand: () => ({ answer: refused }) }, STARTUP)
  t.equal(answers.at(-1), refused.toString('hex'))
})
