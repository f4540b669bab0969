/** What of a run directory goes into a bundle, and what does not. */
import { lstat, readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { BillOfMaterials, Material, MaterialRole } from '../materials/bill.ts'
import { errorCode, sha256File } from '../system/files.ts'
import { isMemberPath, MOST_MEMBER_BYTES } from './limits.ts'
import type { BundledMaterial, Manifest } from './manifest.ts'

export interface Source {
  /** In the bundle. */
  readonly path: string
  readonly file: string
  readonly bytes: number
  /** What goes first where there is no room for all; disks are last. */
  readonly rank: 'record' | 'material' | 'disk'
}

export interface Collected {
  readonly sources: readonly Source[]
  readonly materials: readonly BundledMaterial[]
  readonly leftOut: Manifest['leftOut']
}

/** Where members of the run directory lie in a bundle. */
const RUN_FOLDER = 'run'
/** Files that are nothing but a secret. */
const SECRET_FILE = /\.(secret|key)$/
/** Made of other files that are here, or empty. */
const DERIVED_FILE = /^\.lock$|\.cast$/
const DISK_FILE = /\.(qcow2|img)$/
const BILL_FILE = 'bill.json'
/** Small, and not to be had again by everybody: signed with a checkout's own keys, or a build of one's own. */
const CARRIED: ReadonlySet<MaterialRole> = new Set<MaterialRole>(['firmware', 'uki', 'shim', 'loader'])

export async function collect(point: string): Promise<Collected> {
  const sources: Source[] = []
  const leftOut: Manifest['leftOut'][number][] = []
  const bills: string[] = []
  for await (const relative of filesBelow(point)) {
    const file = join(point, relative)
    const { size } = await lstat(file)
    const path = `${RUN_FOLDER}/${relative}`
    const name = basename(relative)
    if (name === BILL_FILE) bills.push(file)
    if (DERIVED_FILE.test(name)) continue
    const reason = SECRET_FILE.test(name)
      ? 'it is a secret'
      : !isMemberPath(path)
        ? 'a bundle cannot have a file of this name'
        : size > MOST_MEMBER_BYTES
          ? 'it is too large'
          : undefined
    if (reason !== undefined) leftOut.push({ what: path.slice(0, 512), bytes: size, reason })
    else sources.push({ path, file, bytes: size, rank: DISK_FILE.test(name) ? 'disk' : 'record' })
  }
  return withMaterials(await materialsOf(bills.sort()), { sources, leftOut })
}

/** Regular files, as paths relative to `directory`; links are not followed, sockets are passed over. */
async function* filesBelow(directory: string, prefix = ''): AsyncGenerator<string> {
  const entries = await readdir(join(directory, prefix), { withFileTypes: true })
  for (const entry of entries.sort((left, right) => (left.name < right.name ? -1 : 1))) {
    const path = prefix ? `${prefix}/${entry.name}` : entry.name
    if (entry.isFile()) yield path
    else if (entry.isDirectory()) yield* filesBelow(directory, path)
  }
}

/** Each material of each boot once; what changed between boots is there as often as it was different. */
async function materialsOf(bills: readonly string[]): Promise<readonly Material[]> {
  const found = new Map<string, Material>()
  for (const file of bills) {
    for (const material of await readBill(file))
      found.set(`${material.role} ${material.sha256 ?? material.path}`, material)
  }
  return [...found.values()]
}

/** Of a bill that a full disk cut off: nothing; the file itself is in the bundle all the same. */
async function readBill(file: string): Promise<readonly Material[]> {
  try {
    const { materials }: BillOfMaterials = JSON.parse(await readFile(file, 'utf8'))
    return materials.filter(({ role, path }) => typeof role === 'string' && typeof path === 'string')
  } catch {
    return []
  }
}

async function withMaterials(
  all: readonly Material[],
  { sources, leftOut }: Pick<Collected, 'sources' | 'leftOut'>,
): Promise<Collected> {
  const materials: BundledMaterial[] = []
  const carried: Source[] = []
  const lost: Manifest['leftOut'][number][] = []
  for (const { role, path, bytes, sha256 } of all) {
    const material = { role, name: basename(path), bytes, ...(sha256 !== undefined && { sha256 }) }
    const member = `materials/${role}-${sha256?.slice(0, 12)}`
    const isCarried = CARRIED.has(role) && sha256 !== undefined
    const now = isCarried ? await digestNow(path) : undefined
    if (isCarried && now === sha256) carried.push({ path: member, file: path, bytes, rank: 'material' })
    if (isCarried && now !== sha256)
      lost.push({
        what: `${role} ${material.name}`,
        bytes,
        reason: now ? 'it has changed since' : 'it is gone',
      })
    materials.push({ ...material, ...(isCarried && now === sha256 && { member }) })
    if (role === 'disk')
      lost.push({ what: `${role} ${material.name}`, bytes, reason: 'it is built again from its recipe' })
  }
  return { sources: [...sources, ...carried], materials, leftOut: [...leftOut, ...lost] }
}

async function digestNow(path: string): Promise<string | undefined> {
  try {
    return (await stat(path)).isFile() ? await sha256File(path) : undefined
  } catch (error) {
    if (errorCode(error) === undefined) throw error
    return undefined
  }
}
