/** A state from which nothing came up, kept on its own: disk, flash, vTPM, and a script that boots it once more. */
import { chmod, mkdir, mkdtemp, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { shellCommand } from '../../machine/shell-command.ts'
import { PERMANENT_STATE } from '../../machine/vtpm/state.ts'
import type { ScenarioVm } from '../vm.ts'
import type { CutState } from './states.ts'

export interface Reproducible {
  /** Of its own in a run: states that lack a write may end at the same one. */
  readonly number: number
  readonly state: CutState
  readonly outcome: object
  /** In words: the write that made the state. */
  readonly write: string
  /** Raw, in the state. */
  readonly disk: string
  readonly flash: Uint8Array
  readonly vtpm: Uint8Array
}

const SERIAL = 'pipe,id=serial0,'
/** QEMU connects to swtpm once, when it starts. Half a minute, on a host that is busy. */
const AWAIT_SOCKET =
  'tries=0; until [ -n "$(ls "$sockets")" ] || [ $((tries += 1)) -gt 300 ]; do sleep 0.1; done'

/** Returns its directory. `boot.sh` in it leaves the files as they are: it boots a copy of them, `try`. */
export async function keepReproducer(vm: ScenarioVm, made: Reproducible): Promise<string> {
  const { number, state, outcome, write, disk, flash, vtpm } = made
  const { bench, directory: parent, scratch } = vm.spec
  const directory = join(parent, `reproducer-${number}`)
  await mkdir(join(directory, 'vtpm'), { recursive: true, mode: 0o700 })
  const secret = { mode: 0o600 }
  await writeFile(join(directory, 'variables.fd'), flash, secret)
  await writeFile(join(directory, 'vtpm', PERMANENT_STATE), vtpm, secret)
  // As every disk: gone where the scenario passes, so where this was what it had to find.
  scratch.push(join(directory, 'disk.qcow2'))
  await bench.tools.run('qemu-img', ['convert', '-O', 'qcow2', disk, join(directory, 'disk.qcow2')])
  const words = { write, outcome, key: state.key, files: Object.fromEntries(state.esp.files) }
  await writeFile(join(directory, 'state.json'), `${JSON.stringify(words, null, 1)}\n`, secret)
  await writeFile(join(directory, 'boot.sh'), await bootScript(vm, directory), secret)
  await chmod(join(directory, 'boot.sh'), 0o700)
  return directory
}

async function bootScript(vm: ScenarioVm, directory: string): Promise<string> {
  const { tools } = vm.spec.bench
  // A path of a run is too long for a socket. The name is all that is needed now: the script makes it once more.
  const sockets = await mkdtemp(join(tmpdir(), 'attestbed-cut-'))
  await rmdir(sockets)
  const copy = join(directory, 'try')
  const copied = await vm.withMaterials({
    ...{ name: `reproducer-${directory.split('-').at(-1)}-vm`, disk: join(copy, 'disk.qcow2') },
    ...{ variables: join(copy, 'variables.fd'), vtpmState: join(copy, 'vtpm') },
  })
  const processes = copied.commandsAt(sockets)
  await rmdir(copied.spec.directory)
  const commands = processes.map(([program = '', ...args]) => {
    const { file, args: all, environment } = tools.command(program, args.map(onThisTerminal), { cwd: copy })
    const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
    return shellCommand(['env', '-i', ...settings, file, ...all])
  })
  return [
    '#!/bin/sh -e',
    '# Boots this state again, on a copy, with the console in this terminal; Ctrl-A X ends it.',
    shellCommand(['cd', directory]),
    '# Fails where anybody else has made it, or this runs already.',
    shellCommand(['mkdir', '-m', '700', sockets]),
    `sockets=${shellCommand([sockets])}; trap 'rm -rf "$sockets"' EXIT; trap 'exit 1' INT TERM HUP`,
    'rm -rf try; mkdir -m 700 try; cp -r disk.qcow2 variables.fd vtpm try/',
    ...commands.map((command, index) =>
      index < commands.length - 1 ? `${command} &\n${AWAIT_SOCKET}` : command,
    ),
    '',
  ].join('\n')
}

function onThisTerminal(argument: string): string {
  return argument.startsWith(SERIAL) ? 'stdio,id=serial0,mux=on,signal=off' : argument
}
