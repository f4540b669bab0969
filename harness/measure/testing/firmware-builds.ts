import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { sha256Hex } from '../../base/digest.ts'

/**
 * The vectors name firmware builds by their SHA-256, and distributions move on. Every build at hand is looked through:
 * the tools trees, the host's own packages, and the folders of `ATTESTBED_FIRMWARE` (unpacked older packages), separated
 * as in PATH.
 */
const FOLDERS = ['usr/share/ovmf', 'usr/share/OVMF']

let builds: ReadonlyMap<string, string> | undefined

/** Content of the build with that SHA-256 (hex); undefined where it is not at hand. */
export function firmwareBuild(sha256: string): Buffer | undefined {
  builds ??= findBuilds()
  const path = builds.get(sha256)
  return path === undefined ? undefined : readFileSync(path)
}

function findBuilds(): ReadonlyMap<string, string> {
  const given = (process.env['ATTESTBED_FIRMWARE'] ?? '').split(delimiter).filter((folder) => folder !== '')
  const shipped = ['/', ...toolsTrees()].flatMap((root) => FOLDERS.map((folder) => join(root, folder)))
  const paths = [...given, ...shipped].filter((folder) => existsSync(folder)).flatMap(imagesBelow)
  return new Map([...new Set(paths)].map((path) => [sha256Hex(readFileSync(path)), path]))
}

function toolsTrees(): readonly string[] {
  const cache = process.env['XDG_CACHE_HOME'] || join(process.env['HOME'] || homedir(), '.cache')
  const trees = join(process.env['ATTESTBED_CACHE'] || join(cache, 'attestbed'), 'tools')
  return existsSync(trees) ? readdirSync(trees).map((name) => join(trees, name)) : []
}

function imagesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /^OVMF[\w.]*\.fd$/.test(entry.name) && !entry.name.includes('VARS'))
    .map((entry) => realpathSync(join(entry.parentPath, entry.name)))
}
