/** `attestbed bisect`: the first version of a material with which a bundle fails. */
import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { bisectVersions, orNotTried, type Step, type Tried, versionsBetween } from '../bundle/bisect.ts'
import { planRepro, reproduce } from '../bundle/repro.ts'
import { openVersion, type VersionAxis } from '../bundle/versions.ts'
import { writePrivateFile } from '../system/files.ts'
import { Scope } from '../system/scope.ts'
import { watchInterrupts } from './interruption.ts'
import { writeDocument } from './output.ts'
import { mayBoot, openCase, plainViews, planLines, sayTo } from './repro-parts.ts'
import type { ToolsFlag } from './tools-flag.ts'

export interface BisectFlags extends ToolsFlag {
  readonly axis: VersionAxis
  readonly good: string
  readonly bad: string
  readonly versions?: readonly string[]
  readonly yes?: boolean
  readonly log?: string
  readonly json?: boolean
}

const UNDECIDED = 1
const REFUSED = 2

/** Returns the exit code that the help names. */
export async function bisect(file: string, flags: BisectFlags): Promise<number> {
  await using scope = new Scope('bisect')
  const { axis } = flags
  const human = flags.json ? process.stderr : process.stdout
  const say = sayTo(human)
  using interruption = watchInterrupts(say)
  const { signal } = interruption
  const names = versionsBetween(flags)
  const { bundle, office, versions } = await openCase(scope, { file, tools: flags.tools, signal, say })
  const log = resolve(flags.log ?? `${file}.bisect.json`)
  const steps: Step[] = []
  const plan = await planRepro(bundle, office)
  for (const line of planLines(plan)) say(line)
  say(`${axis}: ${names.join(', ')}`)
  if (!(await mayBoot(flags, say))) return REFUSED
  await rm(log, { force: true })
  const tryVersion = async (name: string): Promise<Tried> => {
    const version = await openVersion(axis, name, versions)
    say(`trying ${version.title}`)
    // A bundle of its own: each plan unpacks what it needs of it.
    await using own = new Scope(`bisect ${name}`)
    const opened = await openCase(own, { file, tools: flags.tools, signal, say })
    const { sink, close } = plainViews(human)
    const planned = await planRepro(opened.bundle, opened.office, [version])
    const request = {
      signal,
      onEvent: sink,
      argv: process.argv.slice(2),
      ...(flags.tools && { tools: flags.tools }),
    }
    const { runScenarios } = await import('../run/program.ts')
    const { comparison, here, result } = await reproduce(planned, request, runScenarios).finally(close)
    return { title: version.title, comparison, reason: here.reason, directory: result.dir }
  }
  const found = await bisectVersions(names, (name) => orNotTried(name, () => tryVersion(name)), {
    signal,
    onStep: async (step) => {
      steps.push(step)
      say(
        `${step.verdict}: ${step.title} (${step.comparison}${step.directory === '' ? `: ${step.reason}` : ''})`,
      )
      await writePrivateFile(log, `${JSON.stringify({ axis, names, steps }, null, 1)}\n`)
    },
  })
  await writePrivateFile(log, `${JSON.stringify({ axis, names, steps, found }, null, 1)}\n`)
  if (flags.json) writeDocument({ axis, names, steps, found })
  for (const line of foundLines(axis, found)) say(line)
  say(`log: ${log}`)
  return (
    interruption.exitCode ?? (found.kind === 'first-bad' ? 0 : found.kind === 'among' ? UNDECIDED : REFUSED)
  )
}

function foundLines(axis: VersionAxis, found: Awaited<ReturnType<typeof bisectVersions>>): readonly string[] {
  if (found.kind === 'first-bad')
    return [`the first bad ${axis} is ${found.title}; ${found.lastGood} is the last good one`]
  if (found.kind === 'among')
    return [`the first bad ${axis} is one of ${found.versions.join(', ')}: those between could not be tried`]
  return [found.reason]
}
