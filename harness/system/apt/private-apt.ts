/**
 * apt with a configuration, package lists and cache of its own: the host's are neither read (but for the proxy and
 * credentials) nor written, no root is needed, and an interrupted download is continued.
 */

import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, readdirSync, statSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { HostError } from '../../base/errors.ts'
import { writePrivateFile } from '../files.ts'
import { hostErrorFrom } from './apt-errors.ts'
import { runHostProgram } from './host-program.ts'
import type { Mirror } from './mirror.ts'

/** One .deb of a plan. */
export interface PlannedPackage {
  readonly name: string
  readonly version: string
  readonly architecture: string
  readonly sha256: string
  /** Bytes to download. */
  readonly size: number
  /** Absolute path that it has once downloaded. */
  readonly file: string
}

export interface PrivateAptOptions {
  /** Owned by this object; `<cache>/apt`. */
  readonly directory: string
  readonly suite: string
  readonly mirror: Mirror
  readonly signal?: AbortSignal | undefined
}

type Percent = (percent: number) => void

/** Callers hold a lock on the directory: apt's own would fail at once instead of waiting. */
export class PrivateApt {
  readonly #options: PrivateAptOptions
  /** Lists and configuration of one suite; the archives are shared by all suites. */
  readonly #home: string
  readonly #archives: string

  constructor(options: PrivateAptOptions) {
    this.#options = options
    this.#home = join(options.directory, options.suite)
    this.#archives = join(options.directory, 'archives')
  }

  /**
   * Fetches the package lists, unless those of the same mirror are at hand and younger than `maxAgeMs`. True when
   * they were fetched.
   */
  async update(options: { readonly maxAgeMs: number; readonly onProgress?: Percent }): Promise<boolean> {
    const sources = await this.#configure()
    const stamp = join(this.#home, 'updated')
    const identity = createHash('sha256').update(sources).digest('hex')
    const age = Date.now() - (statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0)
    if (age < options.maxAgeMs && (await readFile(stamp, 'utf8')) === identity) return false
    await rm(stamp, { force: true })
    await this.#apt('fetching the package lists', ['update', '-q', '--error-on=any'], options.onProgress)
    await writeFile(stamp, identity)
    return true
  }

  /** Everything that the packages need, downloaded or not. Throws HostError 'setup-failed' for an unknown package. */
  async plan(packages: readonly string[]): Promise<PlannedPackage[]> {
    await this.#configure()
    // What is already in the archives is not printed: look at an empty directory instead.
    const archives = ['-o', `Dir::Cache::archives=${join(this.#home, 'no-archives')}`]
    const install = ['install', '-qq', '--print-uris', '-o', 'Acquire::ForceHash=SHA256', ...archives, '--']
    const output = await this.#apt('resolving the packages', [...install, ...packages])
    return output
      .split('\n')
      .filter((line) => line.startsWith("'"))
      .map((line) => this.#parseUri(line))
  }

  /** Downloads what is not there yet. */
  async download(packages: readonly string[], onProgress?: Percent): Promise<void> {
    await this.#apt(
      'downloading packages',
      ['install', '-q', '-y', '--download-only', '--', ...packages],
      onProgress,
    )
  }

  async #configure(): Promise<string> {
    const { mirror, suite } = this.#options
    for (const directory of CONFIGURED_DIRECTORIES) {
      await mkdir(join(this.#home, directory), { recursive: true, mode: 0o700 })
    }
    await mkdir(join(this.#archives, 'partial'), { recursive: true, mode: 0o700 })
    const sources = `deb [signed-by=${mirror.keyring}] ${mirror.uri} ${suite} main\n`
    await writePrivateFile(join(this.#home, 'etc/sources.list'), sources)
    await writePrivateFile(join(this.#home, 'apt.conf'), this.#configuration(await hostTransportSettings()))
    await writePrivateFile(join(this.#home, 'status'), '')
    return sources
  }

  #configuration(transport: readonly string[]): string {
    const directories = {
      'Dir::Etc': join(this.#home, 'etc'),
      'Dir::State': join(this.#home, 'state'),
      'Dir::State::status': join(this.#home, 'status'),
      'Dir::Cache': join(this.#home, 'cache'),
      'Dir::Cache::archives': this.#archives,
      'Dir::Cache::srcpkgcache': '',
      'Dir::Log': this.#home,
    }
    return [
      ...Object.entries(directories).map(([name, value]) => `${name} "${value}";`),
      ...credentialFiles(),
      ...SETTINGS,
      ...transport,
      '',
    ].join('\n')
  }

  async #apt(action: string, args: readonly string[], onProgress?: Percent): Promise<string> {
    const result = await runHostProgram('apt-get', args, {
      environment: {
        APT_CONFIG: join(this.#home, 'apt.conf'),
        LC_ALL: 'C',
        DEBIAN_FRONTEND: 'noninteractive',
      },
      ...(onProgress ? { onStatusLine: (line: string) => onProgress(parseStatus(line)) } : {}),
      ...(this.#options.signal ? { signal: this.#options.signal } : {}),
    })
    if (result.exitCode !== 0) throw hostErrorFrom(action, result.stderr)
    return result.stdout
  }

  /** `'URI' name_version_arch.deb SIZE SHA256:HEX` */
  #parseUri(line: string): PlannedPackage {
    const match = /^'[^']*' ([^ _]+)_([^ _]+)_([^ _]+)\.deb ([0-9]+) SHA256:([0-9a-f]{64})$/.exec(line)
    if (!match) throw new HostError(`cannot read apt's plan: ${line}`, { code: 'setup-failed' })
    const [, name = '', version = '', architecture = '', size = '', sha256 = ''] = match
    const file = join(this.#archives, `${name}_${version}_${architecture}.deb`)
    return { name, version: decodeURIComponent(version), architecture, sha256, size: Number(size), file }
  }
}

const CONFIGURED_DIRECTORIES: readonly string[] = [
  ...['etc/apt.conf.d', 'etc/preferences.d', 'etc/sources.list.d', 'state/lists/partial', 'cache'],
  'no-archives/partial',
]

const SETTINGS: readonly string[] = [
  'APT::Architecture "amd64";',
  'APT::Architectures { "amd64"; };',
  'APT::Install-Recommends "false";',
  'APT::Install-Suggests "false";',
  // apt as root would otherwise hand downloads to a user that cannot enter a private directory.
  'APT::Sandbox::User "";',
  'APT::Keep-Downloaded-Packages "true";',
  'Acquire::Languages "none";',
  // Archive snapshots are old on purpose.
  'Acquire::Check-Valid-Until "false";',
  'Acquire::PDiffs "false";',
  'Acquire::Retries "2";',
  'Acquire::http::Timeout "30";',
  'Acquire::https::Timeout "30";',
  'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
  'DPkg::Lock::Timeout "60";',
]

/** How the host's apt reaches the network: proxies, certificates. Nothing else of its configuration is taken over. */
async function hostTransportSettings(): Promise<string[]> {
  const { stdout } = await runHostProgram('apt-config', ['dump'], { environment: { LC_ALL: 'C' } })
  const wanted = /^Acquire::(https?|ftp|tor)::(?!Timeout|Dl-Limit)[^ ]* ".*";$/i
  return stdout.split('\n').filter((line) => wanted.test(line))
}

/** The host's auth.conf, where this user may read it: a file that apt cannot open makes it fail. */
function credentialFiles(root = '/etc/apt'): string[] {
  const main = join(root, 'auth.conf')
  const parts = join(root, 'auth.conf.d')
  const partFiles = existsSync(parts) && readable(parts) ? readdirSync(parts) : []
  return [
    ...(readable(main) ? [`Dir::Etc::netrc "${main}";`] : []),
    ...(partFiles.length > 0 && partFiles.every((name) => readable(join(parts, name)))
      ? [`Dir::Etc::netrcparts "${parts}";`]
      : []),
  ]
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK)
    return true
  } catch {
    return false
  }
}

/** `dlstatus:3:93.3:Retrieving file 3 of 3`: percent, or 0 for any other line. */
function parseStatus(line: string): number {
  return Number(/^dlstatus:[0-9]+:([0-9.]+):/.exec(line)?.[1] ?? 0)
}
