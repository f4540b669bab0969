import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { sha256Hex } from '../base/digest.ts'

/**
 * One digest over the names, executable bits, link targets and contents of everything below `directory`, as 64 hex
 * digits. Empty directories do not count: git does not keep them either.
 */
export async function sha256OfTree(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
  const lines = await Promise.all(
    paths.sort().map(async (path) => `${relative(directory, path)}\0${await describe(path)}\n`),
  )
  return sha256Hex(...lines)
}

async function describe(path: string): Promise<string> {
  const target = await readlink(path).catch(() => undefined)
  if (target !== undefined) return `-> ${target}`
  const executable = ((await stat(path)).mode & 0o111) !== 0
  return `${executable ? 'x' : '-'} ${sha256Hex(await readFile(path))}`
}
