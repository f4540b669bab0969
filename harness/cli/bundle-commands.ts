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
