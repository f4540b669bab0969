/** The command line: flags and help. What a command does is imported only when it is called. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import type { UsageCode } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { addBroker } from './broker-commands.ts'
import { addBisect, addBundle, addRepro } from './bundle-commands.ts'
import { addCredential } from './credential-command.ts'
import { addCerts, addInspect, addVerify } from './evidence-commands.ts'
import { addMatrixFlags, platformOption, VTPMS } from './matrix-flags.ts'
import { forPeople, ignoreClosedPipes } from './output.ts'
import { addPlan } from './plan-commands.ts'
import { addDiff, addPredict } from './predict-commands.ts'
import { addRehearse } from './rehearse-commands.ts'
import { addReport, reportOption } from './report-flags.ts'
import { jobCount, stateOrder, stateRange, toolsOption, wholeNumber } from './values.ts'

const USAGE = 2

const MOST_RETRIES = 10
const MOST_REPETITIONS = 1_000_000

/** Runs one command line (without node and script) and returns its exit code; never throws. */
export async function main(argv: readonly string[]): Promise<number> {
  ignoreClosedPipes()
  const state = { exitCode: 0 }
  try {
    await program((code) => {
      state.exitCode = code
    }).parseAsync(argv, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE
    const { describeFailure } = await import('./failure.ts')
    const failure = describeFailure(error)
    forPeople(process.stderr).write(failure.text)
    return failure.exitCode
  }
  return state.exitCode
}

type Finish = (exitCode: number) => void

function program(finish: Finish): Command {
  const root = new Command('attestbed')
    .description(
      'Boots confidential VMs, plays their owner and the hostile host, and says claim by claim what was proven and by what.',
    )
    .version(ownVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(inOurWords(text)) })
    .addHelpText('after', ROOT_EXAMPLES)
  addRun(root, finish)
  addPlan(root, finish)
  addReport(root, finish)
  addList(root, finish)
  addDoctor(root, finish)
  addShell(root, finish)
  addImages(root, finish)
  addPredict(root, finish)
  addDiff(root, finish)
  addVerify(root, finish)
  addInspect(root, finish)
  addCerts(root, finish)
  addCredential(root, finish)
  addRehearse(root, finish)
  addBundle(root, finish)
  addRepro(root, finish)
  addBisect(root, finish)
  addBroker(root, finish)
  for (const command of [root, ...root.commands, ...root.commands.flatMap(({ commands }) => commands)])
    command.showHelpAfterError(`see ${pathOf(command)} --help`)
  return root
}

/** `attestbed predict tdx`: the words that call a command. */
function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name()
}

const CODES: readonly (readonly [string, UsageCode])[] = [
  ['unknown command', 'unknown-command'],
  ['unknown option', 'unknown-flag'],
]

/** commander's `error: unknown option '--x'\n(Did you mean --y?)` in the shape of our own failures. */
function inOurWords(text: string): string {
  const [first = '', ...rest] = text
    .replace(/^error: /, '')
    .trimEnd()
    .split('\n')
    .map((line) => escapeControls(line))
  const code = CODES.find(([start]) => first.startsWith(start))?.[1] ?? 'bad-value'
  const hints = rest.map((line) => line.replace(/^\(Did (.*)\)$/, 'hint: did $1'))
  return [`attestbed: UsageError [${code}]: ${first}`, ...hints, ''].join('\n')
}

function ownVersion(): string {
  const here = import.meta.dirname
  const root = here.includes('/dist/') ? '../../..' : '../..'
  return JSON.parse(readFileSync(`${here}/${root}/package.json`, 'utf8')).version
}

const ROOT_EXAMPLES = `
Examples:
  attestbed run                          everything this host can run
  attestbed run encrypted-root           one subject, or one scenario by its full id
  attestbed plan --matrix nightly.yaml   what a matrix would run, and why not the rest
  attestbed report RUN --compare OLDER   what is new, fixed, slower: an HTML report
  attestbed doctor                       what this host can run, and why not
  attestbed shell debian                 a guest with its console in this terminal
  attestbed predict sev-snp --firmware F what a launch will measure
  attestbed verify report.bin --certs vcek.pem   is a report authentic, and acceptable?
  attestbed rehearse sev-snp             what QEMU measures, without the hardware
  attestbed bundle last                  the newest failure as one file
  attestbed repro bug.attestbed          does it fail the same way here?
  attestbed broker serve --config B      a key broker that releases keys to guests it trusts

Exit codes:
  0 every claim holds, 1 a claim is false, 2 wrong usage, 3 this host lacks something,
  4 the infrastructure broke, 5 malformed or not authentic, 6 not acceptable, 70 our bug`

function addRun(root: Command, finish: Finish): void {
  const command = root
    .command('run')
    .description('run scenarios and check their claims')
    .argument('[pattern...]', 'scenario ids, their leading folders, or globs with *; none selects all')
  addMatrixFlags(command)
    .addOption(
      new Option('-j, --jobs <n>', 'VMs at once (default: what the host has room for)').argParser(jobCount),
    )
    .addOption(
      new Option(
        '--require <what>',
        'a skip for lack of it, or an emulation of it, is an error (exit 3)',
      ).choices(['hardware']),
    )
    .addOption(
      new Option('--retry <n>', 'try what ends in error so often again; a fail never is').argParser(
        wholeNumber(0, MOST_RETRIES),
      ),
    )
    .addOption(
      new Option('--repeat <n>', 'run everything so often').argParser(wholeNumber(1, MOST_REPETITIONS)),
    )
    .option(
      '--until-failure',
      'run everything again and again until something fails (at most --repeat times)',
    )
    .addOption(toolsOption())
    .addOption(
      new Option(
        '--seed <n>',
        'which states of a power cut are booted (default: drawn anew, and noted)',
      ).argParser(wholeNumber(0, 2 ** 32 - 1)),
    )
    .addOption(
      new Option(
        '--states <n|from-to|from->',
        'how many states of a power cut are booted (default: 4), or which of the order that --seed draws',
      )
        .argParser(stateRange)
        .conflicts('exhaustive'),
    )
    .addOption(
      new Option(
        '--order <digits>',
        'the order that another run noted: where the states of this one have another, none is booted',
      ).argParser(stateOrder),
    )
    .option('--exhaustive', 'boot every state that a power cut can leave behind, however long it takes')
    .option('--keep', 'keep disks and vTPM state of passed scenarios too')
    .option('--print-argv', 'print the command lines of the first VM instead of running')
    .option('--json', 'one JSON document on stdout, words on stderr')
    .addOption(reportOption())
    .addHelpText(
      'after',
      `
Examples:
  attestbed run encrypted-root                     a subject
  attestbed run '*stateless*' --platform tcg       a glob
  attestbed run --image ./fedora.yaml              the scenarios that somebody's disk can serve
  attestbed run --json > result.json               for programs
  attestbed run --report junit=junit.xml,github    for CI; report.html is in the run directory anyway
  attestbed run --matrix nightly.yaml --pairwise   every pair of values, in few variants
  attestbed run boot --until-failure               hunt what fails now and then
  attestbed run --require hardware                 fail where no TEE proved it`,
    )
    .action(async (patterns: string[], flags) => {
      const { run } = await import('./run.ts')
      finish(await run(patterns, flags))
    })
}

function addList(root: Command, finish: Finish): void {
  root
    .command('list')
    .description('list scenarios with their claims')
    .argument('[pattern...]', 'as for run')
    .option('--json', 'one JSON document on stdout')
    .addHelpText('after', '\nExamples:\n  attestbed list\n  attestbed list encrypted-root --json')
    .action(async (patterns: string[], flags) => {
      const { list } = await import('./list.ts')
      finish(await list(patterns, flags))
    })
}

function addDoctor(root: Command, finish: Finish): void {
  root
    .command('doctor')
    .description('say what this host can run, and what it lacks')
    .addOption(toolsOption())
    .option('--fresh', 'ask and try everything again instead of remembering')
    .option('--json', 'one JSON document on stdout')
    .addHelpText('after', '\nExamples:\n  attestbed doctor\n  attestbed doctor --json | jq .platforms')
    .action(async (flags) => {
      const { doctor } = await import('./doctor.ts')
      finish(await doctor(flags))
    })
}

function addShell(root: Command, finish: Finish): void {
  root
    .command('shell')
    .description('boot a guest and connect its serial console to this terminal; Ctrl-] leaves and stops it')
    .argument('<target>', 'a scenario, an image, or a file.yaml that describes one')
    .addOption(platformOption('run on this platform'))
    .addOption(new Option('--vtpm <kind>', 'kind of vTPM').choices(VTPMS))
    .addOption(new Option('--firmware <id>', 'firmware build'))
    .addOption(toolsOption())
    .addHelpText(
      'after',
      '\nExamples:\n  attestbed shell debian\n  attestbed shell micro --vtpm none\n  attestbed shell ./fedora.yaml',
    )
    .action(async (target: string, flags) => {
      const { shell } = await import('./shell.ts')
      finish(await shell(target, flags))
    })
}

function addImages(root: Command, finish: Finish): void {
  root
    .command('images')
    .description('list images, and whether they are built')
    .argument('[id...]', 'only these images')
    .addOption(toolsOption())
    .option('--build', 'build what is not built yet')
    .option('--json', 'one JSON document on stdout')
    .addHelpText('after', '\nExamples:\n  attestbed images\n  attestbed images debian --build')
    .action(async (ids: string[], flags) => {
      const { images } = await import('./images.ts')
      finish(await images(ids, flags))
    })
}
