/** What the real QEMU makes of a kernel, as its firmware would read it; skipped by name where set-up has not run. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { rewrittenKernel } from '../measure/tdx/setup-header.ts'
import { openTools, type Tools } from '../system/tools.ts'

const tools: Tools | Error = await openTools().catch((error: Error) => error)
const withoutTools = { skip: tools instanceof Error && `without tools: ${tools.message}` }

t.test(
  'QEMU rewrites the setup header of an ordinary guest as is predicted of older ones for TDs',
  withoutTools,
  async (t) => {
    if (tools instanceof Error) return
    const directory = await mkdtemp(join(tmpdir(), 'attestbed-header-'))
    t.teardown(() => rm(directory, { recursive: true }))
    // Protocol 2.15 that is loaded high, in front of as much setup code as it says.
    const kernel = Buffer.alloc(0x2000, 0x5a)
    kernel.set([1], 0x1f1)
    kernel.write('HdrS', 0x202, 'latin1')
    kernel.set([0x0f, 0x02], 0x206)
    kernel.set([0, 1], 0x210)
    kernel.set([0xff, 0xff, 0xff, 0x7f], 0x22c)
    const initrd = Buffer.alloc(54_321)
    const files = { kernel: join(directory, 'kernel'), initrd: join(directory, 'initrd') }
    await Promise.all([writeFile(files.kernel, kernel), writeFile(files.initrd, initrd)])
    for (const [memoryMiB, extended] of [
      [256, 0x7f],
      [3072, 0x7f],
      [256, 0],
    ] as const) {
      kernel.set([extended, 0], 0x236)
      await writeFile(files.kernel, kernel)
      const commandLine = 'quiet vga=791'
      const argv = [
        '-m',
        `${memoryMiB}M`,
        '-kernel',
        files.kernel,
        '-initrd',
        files.initrd,
        '-append',
        commandLine,
      ]
      const predicted = rewrittenKernel({ kernel, initrd, commandLine, memory: memoryMiB * 2 ** 20 })
      t.strictSame(await setupHeader(tools, argv), Buffer.from(predicted ?? []).subarray(0, HEADER_BYTES))
    }
  },
)

const HEADER_BYTES = 0x238

/** What the firmware would read: fw_cfg's ports, from a machine that is not started (docs/specs/fw_cfg.rst). */
async function setupHeader(from: Tools, argv: readonly string[]): Promise<Buffer> {
  const monitor = (line: string, id: number) => ({
    ...{ execute: 'human-monitor-command', arguments: { 'command-line': line }, id: `${id}` },
  })
  const lines = [
    { execute: 'qmp_capabilities' },
    monitor('o /hx 0x510 0x18', -1),
    ...Array.from({ length: HEADER_BYTES }, (_, index) => monitor('i /bx 0x511', index)),
  ].map((line) => JSON.stringify(line))
  const machine = ['-M', 'q35', '-S', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-qmp', 'stdio']
  const bios = ['-bios', from.path('usr/share/ovmf/OVMF.fd')]
  const { file, args, environment } = from.command('qemu-system-x86_64', [...machine, ...bios, ...argv])
  const qemu = spawn(file, args, { env: environment, stdio: ['pipe', 'pipe', 'ignore'] })
  qemu.stdin.write(`${lines.join('\n')}\n`)
  const bytes: string[] = []
  for await (const line of createInterface({ input: qemu.stdout })) {
    const [, byte] = /portb\[0x0511\] = 0x([0-9a-f]{2})/.exec(line) ?? []
    if (byte !== undefined) bytes.push(byte)
    // Not before: QEMU ends without having written what it still has to say.
    if (bytes.length === HEADER_BYTES) qemu.stdin.end('{"execute":"quit"}\n')
  }
  return Buffer.from(bytes.join(''), 'hex')
}
