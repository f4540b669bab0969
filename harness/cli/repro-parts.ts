/** What `repro` and `bisect` share: flags, a prompt, and how a bundle is opened and tried. */
import { createInterface } from 'node:readline/promises'
import { UsageError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { type OpenedBundle, openBundle } from '../bundle/read.ts'
import type { ReproPlan } from '../bundle/repro.ts'
import { AXES, openVersion, type Version, type VersionAxis, type VersionContext } from '../bundle/versions.ts'
import { paletteFor } from '../report/palette.ts'
import { PlainReporter } from '../report/plain.ts'
import { fanOut } from '../report/reporter.ts'
import { RunFiles } from '../report/run-files.ts'
import { firmwareBuild, openPlanningOffice, type PlanningOffice } from '../run/workshop.ts'
import type { Scope } from '../system/scope.ts'
import { Store } from '../system/store.ts'
import { forPeople } from './output.ts'

export type Say = (words: string) => void

/** Lines of ours about somebody else's words: nothing in them drives the terminal. */
export function sayTo(output: NodeJS.WriteStream): Say {
  const people = forPeople(output)
  return (words) => void people.write(`${words.split('\n').map(escapeControls).join('\n')}\n`)
}

export interface OpenedCase {
  readonly bundle: OpenedBundle
  readonly office: PlanningOffice
  readonly versions: VersionContext
}

export interface CaseRequest {
  readonly file: string
  readonly tools?: 'tree' | 'host' | undefined
  readonly signal: AbortSignal
  readonly say: Say
}

/** Throws what `openBundle` throws before anything else is looked at. */
export async function openCase(scope: Scope, { file, tools, signal, say }: CaseRequest): Promise<OpenedCase> {
  const bundle = await openBundle(scope, file)
  const office = await openPlanningOffice(tools)
  const { firmware: builds } = office.host
  const build = builds.find(({ id }) => id === bundle.manifest.variant.firmware)
  const versions: VersionContext = {
    store: new Store(office.paths.cache),
    // Of a build that this checkout does not have, the plan says so; until then any will do.
    build: build ?? firmwareBuild(builds[0]?.id ?? '', office.host),
    ...{ builds, signal, tell: say },
  }
  return { bundle, office, versions }
}

/** `firmware=trixie`. Throws UsageError `bad-value`. */
export async function openWith(
  words: readonly string[],
  context: VersionContext,
): Promise<readonly Version[]> {
  const pairs = words.map((text) => {
    const at = text.indexOf('=')
    const axis = text.slice(0, at)
    if (at > 0 && isAxis(axis) && at < text.length - 1) return { axis, name: text.slice(at + 1) }
    throw new UsageError(
      `--with ${text}: material=version is required, the material one of ${AXES.join(', ')}`,
      {
        code: 'bad-value',
      },
    )
  })
  const twice = pairs.find(({ axis }, index) => pairs.findIndex((each) => each.axis === axis) < index)
  if (twice) throw new UsageError(`--with names ${twice.axis} twice`, { code: 'bad-value' })
  return Promise.all(pairs.map(({ axis, name }) => openVersion(axis, name, context)))
}

function isAxis(text: string): text is VersionAxis {
  return (AXES as readonly string[]).includes(text)
}

/** What is about to happen, before anybody is asked. */
export function planLines({ manifest, title, variant, words, cannot }: ReproPlan): readonly string[] {
  const { platform, emulatedOn, vtpm, firmware, image, qemu, vcpus, memoryMiB } = variant
  const on = emulatedOn === undefined ? '' : ` emulated on ${emulatedOn}`
  const kind = vtpm === 'none' ? 'no' : vtpm
  const { signature, argv } = manifest
  return [
    `${manifest.scenario.id}: ${title}`,
    `made ${manifest.made} by attestbed ${manifest.madeBy}${argv.length > 0 ? ` of: attestbed ${argv.join(' ')}` : ''}`,
    `it was: ${signature.outcome}${signature.reason ? `: ${signature.reason}` : ''}`,
    ...signature.falseClaims.map(({ id, expected, got }) => `  ${id}: expected ${expected}, got ${got}`),
    `here: ${platform}${on}, ${kind} vTPM, ${firmware}, ${image}, QEMU of ${qemu}, ${vcpus} ${vcpus === 1 ? 'vCPU' : 'vCPUs'}, ${memoryMiB} MiB`,
    ...words.map((line) => `  ${line}`),
    ...cannot.map((line) => `  cannot be reproduced here: ${line}`),
  ]
}

/** Throws UsageError `needs-terminal` where nobody can be asked and nobody said yes; false: they said no. */
export async function mayBoot({ yes = false }: { readonly yes?: boolean }, say: Say): Promise<boolean> {
  if (yes) return true
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new UsageError(
      'a guest that a bundle describes boots only after a yes; there is no terminal to ask',
      {
        ...{ code: 'needs-terminal', hint: '--yes, where you trust whoever made it as much as its guest' },
      },
    )
  say(
    'A guest is about to boot from materials that somebody else described. It is confined like any guest, no more.',
  )
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await prompt.question('Boot it? [y/N] ')).trim())
  } catch (error) {
    // Ctrl-C and the end of the input at the prompt.
    if (error instanceof Error && error.name === 'AbortError') return false
    throw error
  } finally {
    prompt.close()
  }
}

/** Views of a run that is part of a larger command: lines, and the files of the run directory. */
export function plainViews(output: NodeJS.WriteStream): ReturnType<typeof fanOut> {
  const people = forPeople(output)
  const view = new PlainReporter({ write: (text) => people.write(text), palette: paletteFor(output) })
  return fanOut([view, new RunFiles()], (name, error) => {
    process.stderr.write(`attestbed: the ${name} stopped working, the run goes on: ${String(error)}\n`)
  })
}
