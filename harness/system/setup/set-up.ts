/** Everything that must be there before the first run; quick when it is. */

import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { HostError } from '../../base/errors.ts'
import { errorCode, writePrivateFile } from '../files.ts'
import { resolvePaths } from '../paths.ts'
import { choiceFile, openTools, readChoice, type ToolsChoice } from '../tools.ts'
import { ensureBrowserTree } from './browser-tree.ts'
import { checkHostTools } from './host-tools.ts'
import { ensureTerminalAddon } from './terminal-addon.ts'
import { type BuildOptions, ensureToolsTree } from './tools-tree.ts'

export interface SetUpOptions extends BuildOptions {
  /** `--tools`; absent: $ATTESTBED_TOOLS, else what was chosen last time, else the tree. */
  readonly tools?: 'tree' | 'host'
  /** A browser, for the tests of the HTML report. */
  readonly browser?: boolean
}

/**
 * Makes the tools and the terminal addon, remembers the choice. Throws HostError. A terminal addon that cannot be
 * built is only told: everything but `attestbed shell` works without.
 */
export async function setUp(options: SetUpOptions): Promise<void> {
  const { environment, progress } = options
  const paths = resolvePaths(environment)
  await makeCacheDirectory(paths.cache)
  const before = readChoice(paths.cache)
  const named = environment['ATTESTBED_TOOLS']
  const kind = options.tools ?? (named === 'host' || named === 'tree' ? named : (before?.kind ?? 'tree'))
  await tryTerminalAddon(options)
  if (named?.startsWith('/') && options.tools === undefined) await openTools({ environment })
  else if (kind === 'host') await chooseHost(paths.cache, before, options)
  else await chooseTree(paths.cache, before, options)
  if (options.browser) await ensureBrowserTree(options)
  progress.finish('ready')
}

async function chooseTree(
  cache: string,
  before: ToolsChoice | undefined,
  options: SetUpOptions,
): Promise<void> {
  await ensureToolsTree(options)
  if (before?.kind !== 'tree') await remember(cache, { kind: 'tree' })
}

/** Checked anew whenever it is asked for: the host's programs change with its updates. */
async function chooseHost(
  cache: string,
  before: ToolsChoice | undefined,
  options: SetUpOptions,
): Promise<void> {
  if (before?.kind === 'host' && options.tools === undefined) return
  options.progress.step("checking the host's own programs")
  await remember(cache, await checkHostTools({ environment: options.environment }))
}

async function remember(cache: string, choice: ToolsChoice): Promise<void> {
  await mkdir(dirname(choiceFile(cache)), { recursive: true, mode: 0o700 })
  await writePrivateFile(choiceFile(cache), `${JSON.stringify(choice)}\n`)
}

async function tryTerminalAddon(options: SetUpOptions): Promise<void> {
  try {
    await ensureTerminalAddon(options)
  } catch (error) {
    if (!(error instanceof HostError) || options.signal.aborted) throw error
    if (error.code !== 'setup-failed' && error.code !== 'program-missing') throw error
    options.progress.note(`attestbed shell will not work: ${error.message}`)
    if (error.hint) options.progress.note(`  ${error.hint}`)
  }
}

async function makeCacheDirectory(cache: string): Promise<void> {
  if (existsSync(cache)) return
  try {
    await mkdir(cache, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new HostError(`cannot create the cache directory ${cache}: ${errorCode(error) ?? String(error)}`, {
      code: errorCode(error) === 'ENOSPC' ? 'disk-full' : 'setup-failed',
      hint: 'Set ATTESTBED_CACHE to a directory that you may write to',
      cause: error,
    })
  }
}
