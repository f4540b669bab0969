import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { LaunchError } from '../base/errors.ts'
import { openSerialPipe, serialFifos, serialFifosCommand } from './serial-pipe.ts'

/** As the command makes them. */
function fifos(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'attestbed-fifos-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const pipe = join(directory, 'serial')
  const [program = '', ...args] = serialFifosCommand(pipe)
  execFileSync(program, args)
  return pipe
}

/** Both ends of both, as QEMU opens them. */
function qemuEnds(pipe: string): { readonly input: number; readonly output: number; close(): void } {
  const { input, output } = serialFifos(pipe)
  const [reads, writes] = [input, output].map((file) =>
    openSync(file, constants.O_RDWR | constants.O_NONBLOCK),
  )
  if (reads === undefined || writes === undefined) throw new Error('no FIFOs')
  const close = () => [reads, writes].forEach((fd) => void closeSync(fd))
  return { input: reads, output: writes, close }
}

t.test('it holds 64 KiB of single bytes that nobody has read, in order, and ends with QEMU', async (t) => {
  const pipe = fifos(t)
  const qemu = qemuEnds(pipe)
  const console = openSerialPipe(pipe)
  const said = Array.from({ length: 65_536 }, (_, index) => 33 + (index % 94))
  for (const byte of said) writeSync(qemu.output, Buffer.of(byte))
  t.throws(() => writeSync(qemu.output, 'x'), { code: 'EAGAIN' })
  await new Promise((resolve) => console.write('typed', resolve))
  const typed = Buffer.alloc(16)
  t.equal(typed.toString('latin1', 0, readSync(qemu.input, typed)), 'typed')
  qemu.close()
  t.ok((await text(console)) === Buffer.from(said).toString('latin1'))
})

t.test('without a QEMU behind it, it is closed', async (t) => {
  t.throws(() => openSerialPipe(fifos(t)), { constructor: LaunchError, code: 'qmp-closed' })
})
