/** `attestbed plan`: its flags. */
import { type Command, Option } from 'commander'
import { addMatrixFlags } from './matrix-flags.ts'
import { toolsOption, wholeNumber } from './values.ts'

/** More is a mistake; GitHub takes 256. */
const MOST_SHARDS = 10_000

export function addPlan(root: Command, finish: (exitCode: number) => void): void {
  const command = root
    .command('plan')
    .description('print what `run` would do, and why it would skip the rest; start nothing')
    .argument('[pattern...]', 'as for run')
  addMatrixFlags(command)
    .addOption(toolsOption())
    .addOption(
      new Option(
        '--format <ci>',
        'a job matrix for CI: what any host could run, whatever this one lacks',
      ).choices(['github', 'gitlab']),
    )
    .addOption(
      new Option('--shards <n>', 'with --format: one job for each of n shards').argParser(
        wholeNumber(1, MOST_SHARDS),
      ),
    )
    .option('--json', 'one JSON document on stdout')
    .addHelpText(
      'after',
      `
Examples:
  attestbed plan                                    what \`attestbed run\` would do here
  attestbed plan --matrix scenarios/matrices/nightly.yaml --pairwise
  attestbed plan --matrix nightly.yaml --shard 2/8  the part of one of eight machines
  echo "matrix=$(attestbed plan --matrix nightly.yaml --format github)" >> "$GITHUB_OUTPUT"

Exit code 2 where a mark of the matrix is out of date.`,
    )
    .action(async (patterns: string[], flags) => {
      const { plan } = await import('./plan.ts')
      finish(await plan(patterns, flags))
    })
}
