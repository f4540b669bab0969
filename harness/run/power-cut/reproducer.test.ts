import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { ScenarioVm } from '../vm.ts'
import type { OtherMaterials } from '../vm-options.ts'
import { keepReproducer } from './reproducer.ts'
import type { CutState } from './states.ts'

const run = promisify(execFile)

/** In place of swtpm: its socket is there after a while, and it writes its state until QEMU is gone. */
const SWTPM = 'sleep 0.3; echo used >> vtpm/tpm2-00.permall; : > "$1"; until [ -e gone ]; do sleep 0.05; done'
/** In place of QEMU: fails without swtpm, writes to disk and flash, and prints how it was called. */
const QEMU =
  '[ -e "$1" ] || exit 3; cat disk.qcow2 variables.fd vtpm/tpm2-00.permall; for file in disk.qcow2 variables.fd; do echo used >> $file; done; printf "[%s]" "$2" "$SETTING"; : > gone'

async function keep(t: Test): Promise<{ readonly directory: string; readonly sockets: () => string }> {
  const parent = await mkdtemp(join(tmpdir(), "attestbed-it's "))
  t.teardown(() => rm(parent, { recursive: true, force: true }))
  await writeFile(join(parent, 'state.raw'), 'disk\n')
  let socketsAt = ''
  const tools = {
    run: (_: string, args: string[]) => copyFile(args.at(-2) ?? '', args.at(-1) ?? ''),
    command: (program: string, args: string[], { cwd }: { cwd: string }) => ({
      file: '/bin/sh',
      args: [
        '-c',
        `cd '${cwd.replaceAll("'", `'\\''`)}' && ${program === 'swtpm' ? SWTPM : QEMU}`,
        program,
        ...args,
      ],
      environment: { PATH: process.env['PATH'] ?? '', SETTING: "it's $HOME" },
    }),
  }
  const withMaterials = async ({ name }: OtherMaterials) => {
    const directory = join(parent, name)
    await mkdir(directory)
    const commandsAt = (sockets: string) => {
      socketsAt = sockets
      const socket = join(sockets, 'vtpm')
      return [
        ['swtpm', socket],
        ['qemu', socket, 'pipe,id=serial0,path=x'],
      ]
    }
    return { commandsAt, spec: { directory } }
  }
  const vm = { spec: { bench: { tools }, directory: parent, scratch: [] }, withMaterials }
  const directory = await keepReproducer(vm as unknown as ScenarioVm, {
    ...{ number: 3, state: { key: 'k', esp: { files: new Map() } } as unknown as CutState },
    ...{ outcome: { came: 'down' }, write: 'write 7', disk: join(parent, 'state.raw') },
    ...{ flash: Buffer.from('flash\n'), vtpm: Buffer.from('vtpm\n') },
  })
  return { directory, sockets: () => socketsAt }
}

t.test('boot.sh boots a copy of the kept files, as often as it is run, and leaves no sockets', async (t) => {
  const { directory, sockets } = await keep(t)
  const names = ['boot.sh', 'disk.qcow2', 'state.json', 'variables.fd', 'vtpm']
  t.strictSame((await readdir(directory)).toSorted(), names)
  for (const time of ['first', 'second']) {
    const { stdout, stderr } = await run(join(directory, 'boot.sh'), { cwd: '/' })
    t.equal(
      stdout,
      "disk\nflash\nvtpm\nused\n[stdio,id=serial0,mux=on,signal=off][it's $HOME]",
      `${time}: with swtpm, on files as they were kept, its console in this terminal`,
    )
    t.equal(stderr, '')
    await t.rejects(readdir(sockets()), { code: 'ENOENT' })
  }
  t.equal(await readFile(join(directory, 'disk.qcow2'), 'utf8'), 'disk\n')
  t.equal(await readFile(join(directory, 'variables.fd'), 'utf8'), 'flash\n')
  t.equal(await readFile(join(directory, 'vtpm', 'tpm2-00.permall'), 'utf8'), 'vtpm\n')
})

t.test('boot.sh does not start beside itself, nor in a directory that somebody else has made', async (t) => {
  const { directory, sockets } = await keep(t)
  await mkdir(sockets())
  t.teardown(() => rm(sockets(), { recursive: true, force: true }))
  await t.rejects(run(join(directory, 'boot.sh')), { code: 1, stdout: '' })
  t.strictSame(await readdir(sockets()), [], 'and leaves it as it is')
})
