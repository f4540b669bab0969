/**
 * Command lines that run one program in its own PID namespace, dying with its parent. Pure, but for a look at
 * the names in `/` and in the tools tree.
 *
 * `tree`: the program comes from the tools tree and sees its /usr and /etc, and every other directory of the host
 * at its own place. bwrap itself is started by the tree's own dynamic linker, so the host needs neither.
 * `host`: the host's programs, unconfined but for the PID namespace.
 */

import { existsSync, lstatSync, readdirSync, readlinkSync } from 'node:fs'
import { join, relative } from 'node:path'

/** Directories of the host that the tree's replace. */
const SYSTEM_DIRECTORIES = new Set(['usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'etc'])
const KERNEL_DIRECTORIES = new Set(['dev', 'proc', 'sys'])

export interface SandboxedCommand {
  readonly file: string
  readonly args: readonly string[]
}

export interface SandboxRequest {
  readonly program: string
  readonly args: readonly string[]
  /** Absolute directory to start in. */
  readonly cwd: string
  readonly fakeRoot: boolean
}

/** The arguments that show the host's own directories inside; computed once per process. */
export function hostBinds(root = '/'): readonly string[] {
  return readdirSync(root)
    .filter((name) => !SYSTEM_DIRECTORIES.has(name) && !KERNEL_DIRECTORIES.has(name))
    .flatMap((name) => {
      const path = join(root, name)
      const stat = lstatSync(path)
      // /home is a link on image-based systems; a bind would resolve it and lose the name that users type.
      if (stat.isSymbolicLink()) return ['--symlink', readlinkSync(path), path]
      return stat.isDirectory() || stat.isFile() ? ['--bind-try', path, path] : []
    })
}

export function treeCommand(
  tree: string,
  binds: readonly string[],
  extraPaths: readonly string[],
  request: SandboxRequest,
): SandboxedCommand {
  const hidden = [...new Set([...extraPaths, request.cwd])].filter((path) => isHidden(tree, path))
  return {
    file: join(tree, 'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2'),
    args: [
      '--library-path',
      join(tree, 'usr/lib/x86_64-linux-gnu'),
      join(tree, 'usr/bin/bwrap'),
      '--die-with-parent',
      '--unshare-pid',
      ...(request.fakeRoot ? ['--unshare-user', '--uid', '0', '--gid', '0'] : []),
      ...binds,
      ...systemBinds(tree, '/usr', hidden),
      ...systemBinds(tree, '/etc', hidden),
      ...['--symlink', 'usr/bin', '/bin', '--symlink', 'usr/sbin', '/sbin'],
      ...['--symlink', 'usr/lib', '/lib', '--symlink', 'usr/lib64', '/lib64'],
      ...['--dev-bind', '/dev', '/dev', '--proc', '/proc', '--ro-bind', '/sys', '/sys'],
      ...hidden.flatMap((path) => ['--bind', path, path]),
      ...['--chdir', request.cwd, '--', request.program],
      ...request.args,
    ],
  }
}

/**
 * A directory of the user's that the tree's /usr or /etc would cover: /usr/local/src/attestbed, say. One that the
 * tree has too is the tree's: to show the host's /usr/bin would take the programs away.
 */
function isHidden(tree: string, path: string): boolean {
  return SYSTEM_DIRECTORIES.has(path.split('/')[1] ?? '') && !existsSync(join(tree, path))
}

/**
 * Shows the tree's `directory` (absolute, as seen inside). Where a hidden path needs a mount point in it, its
 * children are bound one by one, since nothing can be created in a read-only bind.
 */
function systemBinds(tree: string, directory: string, hidden: readonly string[]): string[] {
  const source = join(tree, directory)
  if (!hidden.some((path) => isInside(path, directory))) return ['--ro-bind', source, directory]
  return (readDirectory(source) ?? []).flatMap((entry) => {
    const inside = join(directory, entry)
    const outside = join(source, entry)
    const stat = lstatSync(outside)
    if (stat.isSymbolicLink()) return ['--symlink', readlinkSync(outside), inside]
    return stat.isDirectory() ? systemBinds(tree, inside, hidden) : ['--ro-bind', outside, inside]
  })
}

function readDirectory(path: string): string[] | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(path) : undefined
}

function isInside(path: string, directory: string): boolean {
  return path !== directory && !relative(directory, path).startsWith('..')
}

/** Supervision of the host's own programs: by bwrap where there is one, else by util-linux. */
export function hostCommand(
  bubblewrap: string | undefined,
  root: boolean,
  request: SandboxRequest,
): SandboxedCommand {
  const { program, args, cwd, fakeRoot } = request
  if (bubblewrap) {
    const user = fakeRoot ? ['--unshare-user', '--uid', '0', '--gid', '0'] : []
    const view = ['--dev-bind', '/', '/', '--proc', '/proc']
    return {
      file: bubblewrap,
      args: ['--die-with-parent', '--unshare-pid', ...user, ...view, '--chdir', cwd, '--', program, ...args],
    }
  }
  const user = fakeRoot ? ['--user', '--map-root-user'] : root ? [] : ['--user', '--map-current-user']
  const unshare = ['unshare', ...user, '--pid', '--fork', '--kill-child=KILL', '--mount-proc', `--wd=${cwd}`]
  return { file: 'setpriv', args: ['--pdeathsig', 'KILL', ...unshare, '--', program, ...args] }
}
