/** `attestbed bundle`, `repro`, `bisect`: their flags. */
import { type Command, Option } from 'commander'
import { names, toolsOption, wholeNumber } from './values.ts'

export function addBundle(root: Command, finish: (exitCode: number) => void): void {
  root
    .command('bundle')
    .description('make one file of a run that somebody else can run again')
    .argument('<run>', '`last`, the name of a run, or a directory of one scenario of it')
    .option('-o, --output <file>', 'default: <scenario>.attestbed in the current directory')
    .addOption(
      new Option(
        '--include-secret <kind,...>',
        'leave these secrets in; without it every kind is masked',
      ).argParser(names),
    )
    .addOption(
      new Option('--most <MB>', 'what it may take at most (default: 60)').argParser(wholeNumber(1, 1000)),
    )
    .addOption(toolsOption())
    .option('--json', 'the manifest as one JSON document on stdout')
    .addHelpText(
      'after',
      `
Examples:
  attestbed bundle last                          the scenario that failed in the newest run
  attestbed bundle 20261122T062539Z-8082 -o bug.attestbed
  attestbed bundle last --include-secret recovery-key

What was masked or left out is printed, and stands in the bundle's manifest.json.`,
    )
    .action(async (run: string, flags) => {
      const { bundle } = await import('./bundle.ts')
      finish(await bundle(run, flags))
    })
}

export function addRepro(root: Command, finish: (exitCode: number) => void): void {
  root
    .command('repro')
    .description('run again what a bundle is about, and say whether it fails the same way')
    .argument('<file>', 'a bundle')
    .option('-y, --yes', 'boot the guest without asking')
    .option(
      '--shell',
      'stop at the failure, with a shell of the guest in this terminal, or its console where it gives none; Ctrl-] leaves',
    )
    .addOption(
      new Option('--with <material=version>', WITH_HELP).argParser((text: string, all: string[] = []) => [
        ...all,
        text,
      ]),
    )
    .option('--list', 'print what is in the bundle, and run nothing')
    .option('--extract <directory>', 'unpack it into a new directory, and run nothing')
    .addOption(toolsOption())
    .option('--json', 'one JSON document on stdout, words on stderr')
    .addHelpText(
      'after',
      `
Examples:
  attestbed repro bug.attestbed
  attestbed repro bug.attestbed --shell
  attestbed repro bug.attestbed --with firmware=trixie --with qemu=host

Nothing of a bundle is run on this host: the scenario is that of this checkout. Its firmware and kernel boot as a guest,
where they differ from those here.

Exit codes:
  0 the same failure, 7 another failure, 8 it does not fail here,
  3 this host lacks what it takes, 4 the infrastructure broke, 5 the bundle is broken`,
    )
    .action(async (file: string, flags) => {
      const { repro } = await import('./repro.ts')
      finish(await repro(file, flags))
    })
}

const WITH_HELP =
  'one other material: firmware, qemu, kernel or systemd; a file, a suite of Debian, or what this checkout calls it'

export function addBisect(root: Command, finish: (exitCode: number) => void): void {
  root
    .command('bisect')
    .description('find the first version of one material with which a bundle fails')
    .argument('<file>', 'a bundle')
    .addOption(
      new Option('--axis <material>', 'what changes')
        .choices(['firmware', 'qemu', 'kernel', 'systemd'])
        .makeOptionMandatory(),
    )
    .addOption(new Option('--good <version>', 'does not fail with it').makeOptionMandatory())
    .addOption(new Option('--bad <version>', 'fails with it').makeOptionMandatory())
    .addOption(
      new Option(
        '--versions <list>',
        "from the good to the bad one, in order (default: Debian's suites between)",
      ).argParser(names),
    )
    .option('-y, --yes', 'boot the guests without asking')
    .option('--log <file>', 'default: <bundle>.bisect.json')
    .addOption(toolsOption())
    .option('--json', 'one JSON document on stdout, words on stderr')
    .addHelpText(
      'after',
      `
Examples:
  attestbed bisect bug.attestbed --axis firmware --good bookworm --bad forky
  attestbed bisect bug.attestbed --axis qemu --good ./qemu-10 --bad ./qemu-11 --versions ./qemu-10,./qemu-10.1,./qemu-11

A version is a suite of Debian, a file (with a slash), or what this checkout calls it. Bad is the failure of the bundle and
no other; a version that breaks otherwise is passed over.

Exit codes:
  0 the first bad version is known, 1 it lies among several that could not be tried,
  2 the good one is not good or the bad one not bad`,
    )
    .action(async (file: string, flags) => {
      const { bisect } = await import('./bisect.ts')
      finish(await bisect(file, flags))
    })
}
