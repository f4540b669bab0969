/** Kernel modules of a guest tree, with the modules that they need and the index that modprobe reads. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CpioEntry } from '../formats/cpio.ts'
import type { Tools } from '../system/tools.ts'

export interface ModuleRequest {
  /** Indexed by `indexModules`. */
  readonly tree: string
  readonly release: string
  readonly names: readonly string[]
}

/** Writes modules.dep and its companions into `tree`, which must be writable. */
export async function indexModules(tools: Tools, tree: string, release: string): Promise<void> {
  await tools.run('depmod', ['-b', tree, release])
}

/**
 * Module files, unpacked so that the initrd's own compression sees them and busybox can load them, and a
 * modules.dep for them. Names that are built into the kernel need no file; a name that it does not have is an error.
 */
export async function moduleClosure(tools: Tools, request: ModuleRequest): Promise<readonly CpioEntry[]> {
  const { tree, release } = request
  const files = await resolveModules(tools, request)
  const modules = await Promise.all(
    files.map(
      async (file): Promise<CpioEntry> => ({
        kind: 'file',
        path: withoutCompression(file),
        content: await readModule(tools, join(tree, file)),
      }),
    ),
  )
  const directory = `usr/lib/modules/${release}`
  const index = await readFile(join(tree, directory, 'modules.dep'), 'utf8')
  const wanted = new Set(files.map((file) => file.slice(directory.length + 1)))
  const content = Buffer.from(withoutCompression(selectDependencies(index, wanted)))
  return [...modules, { kind: 'file', path: `${directory}/modules.dep`, content }]
}

/** Names that the kernel has neither as a module nor built in; what only an alias names counts as missing, too. */
export async function missingModules({ tree, release, names }: ModuleRequest): Promise<readonly string[]> {
  const directory = join(tree, 'usr/lib/modules', release)
  const lists = await Promise.all(
    ['modules.dep', 'modules.builtin'].map((name) => readFile(join(directory, name), 'utf8')),
  )
  const known = new Set(lists.flatMap((list) => list.split('\n').map(moduleName)))
  return names.filter((name) => !known.has(name.replaceAll('-', '_')))
}

/** Of a line of modules.dep or modules.builtin: the kernel takes `-` and `_` for the same. */
function moduleName(line: string): string {
  const [path = ''] = line.split(':')
  return path
    .slice(path.lastIndexOf('/') + 1)
    .replace(/\.ko.*$/, '')
    .replaceAll('-', '_')
}

async function resolveModules(
  tools: Tools,
  { tree, release, names }: ModuleRequest,
): Promise<readonly string[]> {
  if (names.length === 0) return []
  const args = ['-d', tree, '-S', release, '--show-depends', '--all', ...names]
  const { stdout } = await tools.run('modprobe', args)
  const files = stdout
    .toString()
    .split('\n')
    .flatMap((line) => /^insmod (\S+)/.exec(line)?.[1] ?? [])
    .map((file) => file.slice(file.indexOf(`lib/modules/${release}/`)))
  return [...new Set(files.map((file) => `usr/${file}`))]
}

/** Lines of modules.dep ("module: needed needed...", relative to its directory) for the wanted modules. Pure. */
export function selectDependencies(index: string, wanted: ReadonlySet<string>): string {
  const lines = index.split('\n').filter((line) => wanted.has(line.slice(0, line.indexOf(':'))))
  return lines.map((line) => `${line}\n`).join('')
}

function withoutCompression(text: string): string {
  return text.replace(/\.ko\.(?:xz|zst|gz)\b/g, '.ko')
}

async function readModule(tools: Tools, file: string): Promise<Buffer> {
  const applet = { xz: 'xzcat', zst: 'zstdcat', gz: 'zcat' }[file.slice(file.lastIndexOf('.') + 1)]
  if (applet === undefined) return readFile(file)
  const [program, args] = applet === 'zstdcat' ? [applet, [file]] : ['busybox', [applet, file]]
  return (await tools.run(program as string, args as string[])).stdout
}
