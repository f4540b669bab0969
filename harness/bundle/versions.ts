/** Other versions of one material: a file, an entry of this checkout, or what a suite of Debian has of it. */
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { isAbsolute, join, resolve } from 'node:path'
import { HostError, UsageError } from '../base/errors.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import type { MaterialSwaps } from '../run/swaps.ts'
import { DOCUMENTATION } from '../system/apt/extract.ts'
import { extractPackages } from '../system/packages.ts'
import type { Store } from '../system/store.ts'
import type { InstalledPackage } from '../system/tools-manifest.ts'

export const AXES = ['firmware', 'qemu', 'kernel', 'systemd'] as const
export type VersionAxis = (typeof AXES)[number]

/** Of Debian, oldest first: what lies between two of them is walked by a bisect. */
export const SUITES = ['bookworm', 'trixie', 'forky', 'sid'] as const
type Suite = (typeof SUITES)[number]

/** What a version changes about a run. */
export interface Version {
  /** As it was named. */
  readonly name: string
  /** With the package's version where it came from one. */
  readonly title: string
  readonly swaps?: MaterialSwaps
  /** Firmware of this checkout's manifest. */
  readonly firmware?: string
  /** As the axis has it: `tools`, `host`, or an absolute path. */
  readonly qemu?: string
}

export interface VersionContext {
  readonly store: Store
  /** The variant's, whose package and files are looked for in a suite. */
  readonly build: FirmwareBuild
  /** All of this checkout. */
  readonly builds: readonly FirmwareBuild[]
  readonly signal: AbortSignal
  readonly tell: (words: string) => void
  /** Default: Debian's packages, through an apt of our own. */
  readonly fetch?: FetchPackages
}

export type FetchPackages = (request: {
  readonly suite: string
  readonly packages: readonly string[]
  readonly into: string
}) => Promise<readonly InstalledPackage[]>

/** `name`: a suite, a path (with a `/`), or what this checkout calls it. Throws UsageError `bad-value`, HostError. */
export async function openVersion(
  axis: VersionAxis,
  name: string,
  context: VersionContext,
): Promise<Version> {
  if (isSuite(name)) return OF_SUITE[axis](name, context)
  if (name.includes('/')) {
    const file = resolve(name)
    await requireFile(axis, file)
    return { name, title: file, ...ofFile(axis, file) }
  }
  if (axis === 'firmware' && context.builds.some(({ id }) => id === name))
    return { name, title: `firmware ${name}`, firmware: name }
  if (axis === 'qemu' && (name === 'tools' || name === 'host'))
    return { name, title: `QEMU of the ${name}`, qemu: name }
  throw new UsageError(
    `${axis}=${name} is no version: a suite (${SUITES.join(', ')}) or a file is required`,
    {
      code: 'bad-value',
      hint: OWN_NAMES[axis]?.(context) ?? `a file is named with a slash, as ./${name}`,
    },
  )
}

const OWN_NAMES: Partial<Record<VersionAxis, (context: VersionContext) => string>> = {
  firmware: ({ builds }) => `or one of this checkout: ${builds.map(({ id }) => id).join(', ')}`,
  qemu: () => 'or tools, or host',
}

function isSuite(name: string): name is Suite {
  return (SUITES as readonly string[]).includes(name)
}

function ofFile(axis: VersionAxis, file: string): Pick<Version, 'swaps' | 'qemu'> {
  if (axis === 'qemu') return { qemu: file }
  if (axis === 'firmware') return { swaps: { firmware: { code: file } } }
  return { swaps: axis === 'kernel' ? { kernel: { image: file } } : { stub: file } }
}

async function requireFile(axis: VersionAxis, file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined)
  if (found?.isFile()) return
  throw new UsageError(`${axis}=${file}: there is no such file`, { code: 'bad-value' })
}

const OF_SUITE: Readonly<Record<VersionAxis, (suite: Suite, context: VersionContext) => Promise<Version>>> = {
  firmware: async (suite, context) => {
    const { build } = context
    const { file, title } = await fetched(context, { suite, package: build.package })
    const code = await file(build.path)
    const variables = build.variables === undefined ? undefined : await file(build.variables)
    return { name: suite, title, swaps: { firmware: { code, ...(variables && { variables }) } } }
  },
  // The recipe of the image names the package; its modules come along.
  kernel: async (suite) => ({
    ...{ name: suite, title: `kernel of ${suite}` },
    swaps: { kernel: { suite } },
  }),
  systemd: async (suite, context) => {
    const { file, title } = await fetched(context, { suite, package: 'systemd-boot-efi' })
    return { name: suite, title, swaps: { stub: await file(STUB) } }
  },
  qemu: async (suite, context) => {
    const { directory, file, title } = await fetched(context, { suite, package: 'qemu-system-x86' })
    await file(QEMU)
    return { name: suite, title, qemu: join(directory, STARTER) }
  },
}

const STUB = 'usr/lib/systemd/boot/efi/linuxx64.efi.stub'
const QEMU = 'usr/bin/qemu-system-x86_64'
const STARTER = 'start/qemu-system-x86_64'
const VERSION_FILE = 'fetched.json'

interface Fetched {
  readonly directory: string
  readonly title: string
  /** Absolute path of a file of the package; throws HostError `program-missing` where it has none of that name. */
  file(path: string): Promise<string>
}

/** Once a day and suite: suites move. */
async function fetched(
  { store, signal, tell, fetch = fromDebian(signal) }: VersionContext,
  { suite, package: name }: { readonly suite: Suite; readonly package: string },
): Promise<Fetched> {
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '')
  const directory = await store.ensure('version', `${name}-${suite}-${day}`, async (into) => {
    tell(`fetching ${name} of ${suite}`)
    const packages = await fetch({ suite, packages: [name], into })
    await writeFile(join(into, VERSION_FILE), JSON.stringify(packages))
    if (name === 'qemu-system-x86') await writeStarter(into, store.path('version', `${name}-${suite}-${day}`))
  })
  const packages: readonly InstalledPackage[] = JSON.parse(
    await readFile(join(directory, VERSION_FILE), 'utf8'),
  )
  const version = packages.find((each) => each.name === name)?.version ?? 'of unknown version'
  const title = `${name} ${version} (${suite})`
  const file = async (path: string): Promise<string> => {
    const found = join(directory, path)
    if (!isAbsolute(path) && (await stat(found).catch(() => undefined))?.isFile()) return found
    throw new HostError(`${title} has no ${path}`, { code: 'program-missing' })
  }
  return { directory, title, file }
}

function fromDebian(signal: AbortSignal): FetchPackages {
  return (request) => extractPackages({ ...request, exclude: DOCUMENTATION, signal })
}

/** Libraries, modules and ROMs of its own suite: the host's or those of the tools need not fit. `tree`: where it will be. */
async function writeStarter(into: string, tree: string): Promise<void> {
  const libraries = `${tree}/usr/lib/x86_64-linux-gnu`
  const script = [
    '#!/bin/sh',
    `QEMU_MODULE_DIR='${libraries}/qemu' exec '${tree}/usr/lib64/ld-linux-x86-64.so.2' \\`,
    `  --library-path '${libraries}:${tree}/lib/x86_64-linux-gnu' '${tree}/${QEMU}' \\`,
    `  -L '${tree}/usr/share/qemu' -L '${tree}/usr/share/seabios' "$@"`,
    '',
  ].join('\n')
  await mkdir(join(into, 'start'), { recursive: true, mode: 0o700 })
  await writeFile(join(into, STARTER), script)
  await chmod(join(into, STARTER), 0o755)
}
