/** `attestbed bundle`: a run as one file. */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { findPoint } from '../bundle/find-run.ts'
import { isSecretKind, makeBundle } from '../bundle/make.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { SECRET_KINDS } from '../bundle/secrets.ts'
import { megabytes } from '../system/disk-space.ts'
import { resolvePaths } from '../system/paths.ts'
import { readManifest } from '../system/tools-manifest.ts'
import { exitOnSignals } from './interruption.ts'
import { forPeople, writeDocument } from './output.ts'
import { chosenTools, type ToolsFlag } from './tools-flag.ts'

interface BundleFlags extends ToolsFlag {
  readonly output?: string
  readonly includeSecret?: readonly string[]
  /** MB. */
  readonly most?: number
  readonly json?: boolean
}

/** Returns 0. Throws UsageError `bad-value` where the run or a kind of secret is not known. */
export async function bundle(name: string, flags: BundleFlags): Promise<number> {
  const { includeSecret = [] } = flags
  const unknown = includeSecret.find((kind) => !isSecretKind(kind))
  if (unknown !== undefined)
    throw new UsageError(`"${unknown}" is no kind of secret; there are ${SECRET_KINDS.join(', ')}`, {
      code: 'bad-value',
    })
  using _ = exitOnSignals()
  const paths = resolvePaths()
  const found = await findPoint(paths.runs, name)
  const file = resolve(flags.output ?? `${found.result.scenario.replace('/', '-')}.attestbed`)
  const tools = await chosenTools(flags)
  const { version } = JSON.parse(await readFile(join(paths.checkout, 'package.json'), 'utf8'))
  const { manifest, bytes } = await makeBundle({
    ...{ found, file, checkout: paths.checkout, version: String(version) },
    include: includeSecret.filter(isSecretKind),
    packages: tools.kind === 'tree' ? readManifest(tools.root).packages : [],
    ...(flags.most !== undefined && { most: flags.most * 1e6 }),
  })
  if (flags.json) writeDocument(manifest)
  else
    forPeople(process.stdout).write(`${describe(manifest, { file, bytes }).map(escapeControls).join('\n')}\n`)
  return 0
}

function describe(
  { signature, members, leftOut, scrubbed, included }: Manifest,
  { file, bytes }: { readonly file: string; readonly bytes: number },
): readonly string[] {
  return [
    `${file}: ${megabytes(bytes)}, ${members.length} files of ${signature.scenario}`,
    `outcome: ${signature.outcome}${signature.reason ? `: ${signature.reason}` : ''}`,
    ...leftOut.map(({ what, bytes: size, reason }) => `left out: ${what} (${megabytes(size)}): ${reason}`),
    ...scrubbed.map(({ member, kind, count }) => `masked: ${kind}, ${count} in ${member}`),
    ...(scrubbed.length === 0 ? ['masked: nothing was found that had to be'] : []),
    ...included.map((kind) => `NOT masked, as was asked: ${kind}`),
    `run it again with: attestbed repro ${file}`,
  ]
}
