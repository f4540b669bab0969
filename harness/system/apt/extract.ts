/** Unpacks .deb files without installing them: no maintainer scripts, no dpkg database, no root. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, mkdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { execa } from 'execa'
import { HostError } from '../../base/errors.ts'
import { hostErrorFrom } from './apt-errors.ts'
import { hostEnvironment, mortal } from './host-program.ts'
import type { PlannedPackage } from './private-apt.ts'

export interface ExtractOptions {
  /** tar patterns, matched against `./usr/share/man/...`. */
  readonly exclude: readonly string[]
  readonly onPackage?: (done: number) => void
  readonly signal?: AbortSignal | undefined
}

/** Documentation that nothing reads; copyright files stay. */
export const DOCUMENTATION: readonly string[] = [
  './usr/share/man/*',
  './usr/share/info/*',
  './usr/share/locale/*',
  './usr/share/lintian/*',
  './usr/share/doc/*/[!c]*',
  './usr/share/doc/*/c[!o]*',
]

const WORKERS = 2
const USR_LINKS: readonly string[] = ['bin', 'sbin', 'lib', 'lib64']

/** Two at a time; the first failure ends it. Throws HostError 'disk-full' or 'setup-failed' (a broken file). */
export async function extractDebs(
  packages: readonly PlannedPackage[],
  into: string,
  options: ExtractOptions,
): Promise<void> {
  await linkUsr(into)
  const queue = [...packages]
  let done = 0
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      options.signal?.throwIfAborted()
      await checkDigest(next)
      await extractDeb(next.file, into, options)
      done += 1
      options.onPackage?.(done)
    }
  }
  const results = await Promise.allSettled(Array.from({ length: WORKERS }, () => work().catch(stop)))
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason

  function stop(error: unknown): never {
    queue.length = 0
    throw error
  }
}

/** Packages of Debian 12 still carry /lib and /bin, and the links to /usr are made by its installer. */
async function linkUsr(into: string): Promise<void> {
  for (const name of USR_LINKS) {
    await mkdir(join(into, 'usr', name), { recursive: true })
    const link = join(into, name)
    const exists = await lstat(link).then(
      () => true,
      () => false,
    )
    if (!exists) await symlink(`usr/${name}`, link)
  }
}

/** apt has checked what it downloaded; this is about files that were damaged since (a full disk, a power cut). */
async function checkDigest(planned: PlannedPackage): Promise<void> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(planned.file), hash)
  if (hash.digest('hex') === planned.sha256) return
  await rm(planned.file, { force: true })
  throw new HostError(`unpacking ${planned.file} failed: it is damaged; it was removed`, {
    code: 'setup-failed',
    hint: 'Run scripts/setup again',
  })
}

async function extractDeb(file: string, into: string, options: ExtractOptions): Promise<void> {
  const [dpkg, ...dpkgPrefix] = mortal('dpkg-deb')
  const [tar, ...tarPrefix] = mortal('tar')
  const exclude = options.exclude.map((pattern) => `--exclude=${pattern}`)
  const unpack = ['-x', '-p', '--no-same-owner', '--keep-directory-symlink', '-C', into, '-f', '-']
  const common = {
    env: hostEnvironment(),
    extendEnv: false,
    reject: false,
    detached: true,
    ...(options.signal ? { cancelSignal: options.signal } : {}),
  } as const
  const archive = execa(dpkg, [...dpkgPrefix, '--fsys-tarfile', file], {
    ...common,
    encoding: 'buffer',
    buffer: { stdout: false },
  })
  const unpacker = execa(tar, [...tarPrefix, ...exclude, ...unpack], { ...common, stdin: 'pipe' })
  // A broken pipe is told by the program that broke it.
  const piped = pipeline(archive.stdout, unpacker.stdin).catch(() => {})
  const [source, target] = await Promise.all([archive, unpacker, piped])
  options.signal?.throwIfAborted()
  if (!target.failed && !source.failed) return
  throw hostErrorFrom(`unpacking ${file}`, `${new TextDecoder().decode(source.stderr)}\n${target.stderr}`)
}
