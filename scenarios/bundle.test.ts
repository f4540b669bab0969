/** A failure on purpose, taken from its bundle to the same failure in another clone, with a shell at it. */
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import t from 'tap'
import { DEFAULT_ESCAPE_KEY } from '../harness/machine/console/attach.ts'
import { resolvePaths } from '../harness/system/paths.ts'

const pty = await import('node-pty').catch(() => undefined)
const skip = pty ? false : 'node-pty is not built here'
// Two boots, of some 30 s each on a machine that is not busy.
t.setTimeout(900_000)

const directory = await mkdtemp(join(tmpdir(), 'attestbed-clones-'))
t.teardown(() => rm(directory, { recursive: true, force: true }))

const PLANTED = `import { defineScenario } from '../../harness/run/index.ts'

export const scenario = defineScenario({
  title: 'planted: a command fails',
  images: ['micro'],
  vtpms: ['none'],
  needs: { secureBoot: true, persistentVariables: false, image: ['login'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 300 },
  claims: { boots: { claim: 'the guest boots' }, holds: { claim: 'its exit code is 0' } },
  run: async (lab) => {
    const boot = await (await lab.vm('guest')).boot()
    const guest = await boot.login()
    lab.claim('boots', { expected: true, got: true })
    lab.claim('holds', { expected: 0, got: (await guest.run(['sh', '-c', 'exit 7'])).exitCode })
    await boot.cut()
  },
})
`

/** With keys of its own, and runs of its own. */
async function clone(name: string): Promise<string> {
  const { checkout } = resolvePaths()
  const to = join(directory, name)
  await mkdir(to)
  for (const part of ['harness', 'images', 'ovmf', 'scenarios', 'package.json'])
    await cp(join(checkout, part), join(to, part), { recursive: true })
  await symlink(join(checkout, 'node_modules'), join(to, 'node_modules'))
  await mkdir(join(to, 'scenarios/planted'))
  await writeFile(join(to, 'scenarios/planted/failure.ts'), PLANTED)
  return to
}

const commandLine = (checkout: string, args: readonly string[]) => [
  join(checkout, 'harness/cli/main.ts'),
  ...args,
]
const surroundings = (checkout: string) => ({
  cwd: checkout,
  env: { XDG_STATE_HOME: join(checkout, 'state'), NO_COLOR: '1' },
})

async function attestbed(checkout: string, ...args: readonly string[]) {
  const { exitCode, all } = await execa(process.execPath, commandLine(checkout, args), {
    ...surroundings(checkout),
    ...{ reject: false, all: true },
  })
  return { exitCode, all }
}

/** A command on a terminal: what it printed so far, and its exit code. */
class OnTerminal {
  text = ''
  readonly exitCode: Promise<number>
  readonly #write: (text: string) => void
  #onData: () => void = () => {}

  constructor(checkout: string, args: readonly string[]) {
    const { cwd, env } = surroundings(checkout)
    const spawned = pty?.spawn(process.execPath, commandLine(checkout, args), {
      ...{ cwd, env: { ...process.env, ...env }, cols: 100, rows: 30 },
    })
    if (!spawned) throw new Error('there is no pseudo terminal')
    this.#write = (text) => spawned.write(text)
    spawned.onData((data) => {
      this.text += data
      this.#onData()
    })
    this.exitCode = new Promise((resolve) => spawned.onExit(({ exitCode }) => resolve(exitCode)))
  }

  type(text: string): void {
    this.#write(text)
  }

  /** Resolves when it has printed this; rejects where it ends before. */
  async until(pattern: RegExp): Promise<void> {
    const printed = new Promise<true>((resolve) => {
      this.#onData = () => pattern.test(this.text) && resolve(true)
      this.#onData()
    })
    const isPrinted = await Promise.race([printed, this.exitCode.then(() => false)])
    if (!isPrinted) throw new Error(`it ended before it printed ${pattern}:\n${this.text}`)
  }
}

t.test('a planted failure travels in its bundle to another clone', { skip }, async (t) => {
  const [here, there] = [await clone('here'), await clone('there')]
  const file = join(directory, 'planted.attestbed')
  const ran = await attestbed(here, 'run', 'planted')
  t.match(ran, { exitCode: 1, all: /FAIL {2}planted\/failure/ })
  t.match(await attestbed(here, 'bundle', 'last', '-o', file), { exitCode: 0, all: /planted\/failure/ })

  const repro = new OnTerminal(there, ['repro', file, '--shell'])
  await repro.until(/Boot it\? \[y\/N\]/)
  repro.type('y\n')
  await repro.until(/console of guest: .* leaves it/)
  repro.type('echo typed-$((6*7))-in-$(hostname)\n')
  await repro.until(/typed-42-in-micro/)
  repro.type(DEFAULT_ESCAPE_KEY)
  t.equal(await repro.exitCode, 0)
  t.match(repro.text, /holds: expected 0, got 7/)
  t.match(repro.text, /\nsame failure\r*\n/)
})
