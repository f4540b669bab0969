/** Programs and libraries of a guest tree, with everything that they are linked to. */
import { lstat, readFile, readlink } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import type { CpioEntry } from '../formats/cpio.ts'
import { isElf, parseElfNeeds } from '../formats/elf.ts'

const LIBRARY_DIRECTORIES = [
  'usr/lib/x86_64-linux-gnu',
  'usr/lib64',
  'usr/lib',
  'usr/lib/x86_64-linux-gnu/systemd',
]

export interface ProgramRequest {
  readonly tree: string
  /** Paths relative to `tree`. */
  readonly programs: readonly string[]
  /** Names of libraries that programs open at run time. */
  readonly libraries: readonly string[]
}

/** Files at the same places as in the tree. Throws MaterialError `missing` where something needed is not there. */
export async function programClosure({
  tree,
  programs,
  libraries,
}: ProgramRequest): Promise<readonly CpioEntry[]> {
  const roots = [...programs, ...(await Promise.all(libraries.map((name) => findLibrary(tree, name))))]
  const entries = new Map<string, CpioEntry>()
  for (const path of roots) await addWithLibraries(entries, { tree, path })
  return [...entries.values()]
}

async function addWithLibraries(
  entries: Map<string, CpioEntry>,
  { tree, path }: { tree: string; path: string },
): Promise<void> {
  if (entries.has(path)) return
  const file = join(tree, await followLinks(tree, path))
  const content = await readFile(file)
  const isProgram = isElf(content)
  // A unit file that could be run is complained about.
  const mode = isProgram || (await lstat(file)).mode & 0o100 ? 0o755 : 0o644
  entries.set(path, { kind: 'file', path, mode, content })
  if (!isProgram) return
  const { interpreter, libraries } = parseElfNeeds(content)
  if (interpreter) await addWithLibraries(entries, { tree, path: interpreter.replace(/^\/(usr\/)?/, 'usr/') })
  for (const name of libraries) await addWithLibraries(entries, { tree, path: await findLibrary(tree, name) })
}

async function findLibrary(tree: string, name: string): Promise<string> {
  for (const directory of LIBRARY_DIRECTORIES) {
    const path = join(directory, name)
    if (await lstat(join(tree, path)).catch(() => undefined)) return path
  }
  throw new MaterialError(`cannot build an initrd: no library ${name} in ${tree}`, {
    code: 'missing',
    hint: 'name the package that brings it in the recipe',
  })
}

/** Resolves links as the guest would: an absolute target starts at the tree's root. */
async function followLinks(tree: string, path: string): Promise<string> {
  let current = path
  for (let depth = 0; depth < 16; depth++) {
    const stat = await lstat(join(tree, current)).catch(() => undefined)
    if (!stat) break
    if (!stat.isSymbolicLink()) return current
    const target = await readlink(join(tree, current))
    current = normalize(target.startsWith('/') ? target : join('/', dirname(current), target)).replace(
      /^\/+/,
      '',
    )
  }
  throw new MaterialError(`cannot build an initrd: ${path} is not a file in ${tree}`, { code: 'missing' })
}
