/** `attestbed repro`: a bundle again, and whether it fails the same way. */
import { cp, mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { openBundle } from '../bundle/read.ts'
import {
  planRepro,
  type Reproduction,
  type ReproPlan,
  type RunScenarios,
  reproduce,
} from '../bundle/repro.ts'
import { errorCode } from '../system/files.ts'
import { Scope } from '../system/scope.ts'
import { exitOnSignals, watchInterrupts } from './interruption.ts'
import { writeDocument } from './output.ts'
import { mayBoot, openCase, openWith, plainViews, planLines, type Say, sayTo } from './repro-parts.ts'
import { INSIDE_PTY, inFront } from './shell.ts'
import type { ToolsFlag } from './tools-flag.ts'

export interface ReproFlags extends ToolsFlag {
  readonly yes?: boolean
  readonly shell?: boolean
  readonly with?: readonly string[]
  readonly list?: boolean
  readonly extract?: string
  readonly json?: boolean
}

const ANOTHER = 7
const DOES_NOT_FAIL = 8
const HOST_LACKS = 3
const INFRASTRUCTURE = 4
const REFUSED = 2

/** Returns the exit code that the help names. Throws FormatError for a broken bundle, UsageError, HostError. */
export async function repro(
  file: string,
  flags: ReproFlags,
  runScenarios: RunScenarios = runForReal,
): Promise<number> {
  await using scope = new Scope('repro')
  if (flags.list || flags.extract !== undefined) return await look(scope, file, flags)
  if (flags.shell) requireTerminal()
  if (flags.shell && process.env[INSIDE_PTY] === undefined) return await inFront()
  const human = flags.json || flags.shell ? process.stderr : process.stdout
  const say = sayTo(human)
  using interruption = watchInterrupts(say)
  const { signal } = interruption
  const { bundle, office, versions } = await openCase(scope, { file, tools: flags.tools, signal, say })
  const plan = await planRepro(bundle, office, await openWith(flags.with ?? [], versions))
  for (const line of planLines(plan)) say(line)
  if (!(await mayBoot(flags, say))) return REFUSED
  const { sink, close } = plainViews(human)
  const onFailure = flags.shell ? (await import('./failure-shell.ts')).shellAtFailure(say, signal) : undefined
  const done = await reproduce(
    plan,
    {
      ...{ signal, onEvent: sink, argv: process.argv.slice(2) },
      ...(flags.tools && { tools: flags.tools }),
      ...(onFailure && { onFailure }),
    },
    runScenarios,
  ).finally(close)
  if (flags.json)
    writeDocument({
      ...{ comparison: done.comparison, there: plan.manifest.signature, here: done.here },
      unlike: plan.unlike,
    })
  else for (const line of verdictLines(done, plan)) say(line)
  return interruption.exitCode ?? exitCodeFor(done)
}

const runForReal: RunScenarios = async (request) => {
  const { runScenarios } = await import('../run/program.ts')
  return runScenarios(request)
}

export function verdictLines(
  { comparison, here, result }: Reproduction,
  { unlike }: Pick<ReproPlan, 'unlike'>,
): readonly string[] {
  const { dir } = result
  return [
    `here it was: ${here.outcome}${here.reason ? `: ${here.reason}` : ''}`,
    ...here.falseClaims.map(({ id, expected, got }) => `  ${id}: expected ${expected}, got ${got}`),
    ...(dir ? [`files: ${dir}`] : []),
    unlike.length === 0 ? comparison : `${comparison}, with other materials than there: ${unlike.join(', ')}`,
  ]
}

export function exitCodeFor({ comparison, here }: Pick<Reproduction, 'comparison' | 'here'>): number {
  if (comparison === 'same failure') return 0
  if (comparison === 'another failure') return ANOTHER
  if (comparison === 'does not fail here') return DOES_NOT_FAIL
  return here.outcome === 'skip' ? HOST_LACKS : INFRASTRUCTURE
}

function requireTerminal(): void {
  if (process.stdin.isTTY && process.stdout.isTTY) return
  throw new UsageError('a shell needs a terminal; stdin or stdout is none', { code: 'needs-terminal' })
}

async function look(scope: Scope, file: string, { list, extract, json }: ReproFlags): Promise<number> {
  using _ = exitOnSignals()
  const { manifest, directory } = await openBundle(scope, file)
  if (extract !== undefined) await extractTo(directory, resolve(extract))
  const say = sayTo(json ? process.stderr : process.stdout)
  if (json) writeDocument(manifest)
  else if (list) listMembers(manifest, say)
  return 0
}

function listMembers(manifest: Awaited<ReturnType<typeof openBundle>>['manifest'], say: Say): void {
  const { signature, members, leftOut, scrubbed } = manifest
  say(`${manifest.scenario.id}: ${signature.outcome}: ${signature.reason}`)
  for (const { path, bytes, sha256 } of members)
    say(`${String(bytes).padStart(10)}  ${sha256.slice(0, 12)}  ${path}`)
  for (const { what, bytes, reason } of leftOut)
    say(`${String(bytes).padStart(10)}  left out: ${what}: ${reason}`)
  for (const { member, kind, count } of scrubbed) say(`masked: ${kind}, ${count} in ${member}`)
}

/** A new directory: nothing that is there already is written over. */
async function extractTo(from: string, to: string): Promise<void> {
  try {
    await mkdir(to, { mode: 0o700 })
  } catch (cause) {
    throw new UsageError(
      `cannot unpack into ${to}: ${errorCode(cause) ?? String(cause)}; a new directory is required`,
      {
        ...{ code: 'bad-value', cause },
      },
    )
  }
  await cp(from, to, { recursive: true })
}
