import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { connectUnix } from './unix-socket.ts'

const LISTEN = 'require("node:net").createServer().listen(process.argv[1], () => console.log("listens"))'

t.test('a listener that is gone before it accepted is a connection that is closed', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-socket-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const path = join(directory, 'socket')
  const listener = spawn(process.execPath, ['-e', LISTEN, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(listener, 'exit')
  await once(listener.stdout, 'data')
  // Stopped, it accepts nothing; gone before this process looks again, it resets what waits.
  listener.kill('SIGSTOP')
  const connecting = connectUnix(path, { name: 'a listener', timeoutMs: 5000, timeoutCode: 'qmp' })
  // Long enough to call connect(2), too short to hear what came of it.
  for (let turn = 0; turn < 20; turn++) await undefined
  killNow(listener.pid)
  const socket = await connecting
  await ended
  t.equal(socket.destroyed, true)
})

/** Returns when nobody listens any more. */
function killNow(pid: number | undefined): void {
  if (pid === undefined || pid <= 1) throw new Error('the listener did not start')
  const script =
    'kill -9 "$1"; while [ "$(ls "/proc/$1/task")" != "$1" ] || ! grep -q "^State:.Z" "/proc/$1/status"; do :; done'
  spawnSync('sh', ['-c', script, 'sh', String(pid)])
}
