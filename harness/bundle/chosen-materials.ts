/** Which materials of a bundle take the place of this checkout's: those that differ and that it carries. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../base/digest.ts'
import { parseUki, ukiSection } from '../formats/uki.ts'
import type { MaterialInput } from '../materials/bill.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import { firmwareFile, type MaterialSwaps } from '../run/swaps.ts'
import { sha256File } from '../system/files.ts'
import type { Tools } from '../system/tools.ts'
import type { BundledMaterial } from './manifest.ts'
import type { OpenedBundle } from './read.ts'

export interface ChosenMaterials {
  readonly swaps: MaterialSwaps
  /** What is the same, what is the bundle's own, and what differs and is not carried; a line each. */
  readonly words: readonly string[]
  /** Those that differ while the ones here are used: what happens here may be due to them. */
  readonly unlike: readonly Unlike[]
}

export interface Unlike {
  readonly role: string
  readonly words: string
}

export interface MaterialsHere {
  readonly tools: Pick<Tools, 'path'>
  readonly build: FirmwareBuild
  /** Kernel and initrd of the image, as this checkout builds it. */
  readonly image: readonly MaterialInput[]
}

export async function chooseMaterials(bundle: OpenedBundle, here: MaterialsHere): Promise<ChosenMaterials> {
  const [firmware, kernel] = await Promise.all([chooseFirmware(bundle, here), chooseKernel(bundle, here)])
  const others = await compareOthers(bundle, here)
  const parts = [firmware, kernel, others]
  return {
    swaps: { ...firmware.swaps, ...kernel.swaps },
    words: parts.flatMap(({ words }) => words),
    unlike: parts.flatMap(({ unlike }) => unlike),
  }
}

const swapped = (swaps: MaterialSwaps, words: string): ChosenMaterials => ({
  ...{ swaps, words: [words], unlike: [] },
})
const same = (words: string): ChosenMaterials => swapped({}, words)
const notUsed = (role: string, words: string): ChosenMaterials => ({
  ...{ swaps: {}, words: [words], unlike: [{ role, words }] },
})

async function chooseFirmware(
  bundle: OpenedBundle,
  { tools, build }: MaterialsHere,
): Promise<ChosenMaterials> {
  const all = digestsOf(bundle, 'firmware')
  if (all.length === 0) return same(`firmware: ${build.id} as it is here`)
  // Code and variables in one file: with the keys of a checkout, so never the same in two.
  if (build.load === 'bios')
    return notUsed(
      'firmware',
      `firmware: not compared, ${build.id} has the keys of a checkout; that here is used`,
    )
  const own = await sha256File(firmwareFile(tools, build.path))
  const theirs = only(bundle, 'firmware')
  if (theirs === undefined)
    return notUsed('firmware', `firmware: ${all.length} different ones there, not used; ${short(own)} here`)
  if (own === theirs.sha256) return same(`firmware: the same (${short(own)})`)
  const code = memberOf(bundle, theirs)
  if (code === undefined)
    return notUsed('firmware', differs('firmware', theirs.sha256, own, 'not used: it is not carried'))
  return swapped({ firmware: { code } }, differs('firmware', theirs.sha256, own, "the bundle's is used"))
}

async function chooseKernel(bundle: OpenedBundle, { image }: MaterialsHere): Promise<ChosenMaterials> {
  const all = { kernel: digestsOf(bundle, 'kernel'), initrd: digestsOf(bundle, 'initrd') }
  const own = { kernel: await digestOf(image, 'kernel'), initrd: await digestOf(image, 'initrd') }
  if (all.kernel.length === 0 && all.initrd.length === 0) return { swaps: {}, words: [], unlike: [] }
  const [kernel, initrd] = [all.kernel[0], all.initrd[0]]
  const isOne = all.kernel.length === 1 && all.initrd.length === 1
  if (!isOne || !kernel || !initrd || !own.kernel || !own.initrd)
    return notUsed('kernel', 'kernel and initrd: differ from boot to boot, or cannot be compared; not used')
  if (kernel === own.kernel && initrd === own.initrd)
    return same(`kernel and initrd: the same (${short(own.kernel)}, ${short(own.initrd)})`)
  const files = await unpackUki(bundle, { kernel, initrd })
  const [what, there, here] =
    kernel === own.kernel ? ['initrd', initrd, own.initrd] : ['kernel', kernel, own.kernel]
  if (files === undefined)
    return notUsed('kernel', differs(what, there, here, 'not used: no UKI with them is carried'))
  return swapped(
    { kernel: files },
    differs(what, there, here, "the bundle's are used, signed with the keys here"),
  )
}

const CHOSEN: ReadonlySet<string> = new Set(['firmware', 'kernel', 'initrd'])
/** Made for each run, with its keys and its states. */
const MADE_HERE: ReadonlySet<string> = new Set(['variables', 'vtpm-state', 'argv'])

/** Of what is never taken from a bundle: whether that here is the same, role by role. */
async function compareOthers(bundle: OpenedBundle, { image }: MaterialsHere): Promise<ChosenMaterials> {
  const roles = new Set(bundle.manifest.materials.map(({ role }) => role))
  const parts: ChosenMaterials[] = []
  const unknown: string[] = []
  for (const role of roles) {
    if (CHOSEN.has(role) || MADE_HERE.has(role)) continue
    const [theirs, own] = [digestsOf(bundle, role), await digestOf(image, role)]
    const other = theirs.find((digest) => digest !== own)
    if (theirs.length === 0 || own === undefined) unknown.push(role)
    else if (other === undefined) parts.push(same(`${role}: the same (${short(own)})`))
    else parts.push(notUsed(role, differs(role, other, own, 'not used')))
  }
  if (unknown.length > 0) parts.push(same(`not compared, those here are used: ${unknown.sort().join(', ')}`))
  return {
    swaps: {},
    words: parts.flatMap(({ words }) => words),
    unlike: parts.flatMap(({ unlike }) => unlike),
  }
}

/** A stranger's manifest may name one large file a thousand times. */
const MOST_UKIS = 16
const MOST_UKI_BYTES = 256 * 2 ** 20

/** Kernel and initrd out of a carried UKI, where they are the ones that the bill names. */
async function unpackUki(
  bundle: OpenedBundle,
  wanted: { readonly kernel: string; readonly initrd: string },
): Promise<{ readonly image: string; readonly initrd: string } | undefined> {
  const ukis = bundle.manifest.materials.filter(({ role }) => role === 'uki').slice(0, MOST_UKIS)
  for (const material of ukis) {
    const file = memberOf(bundle, material)
    if (file === undefined || material.bytes > MOST_UKI_BYTES) continue
    const uki = parseUki(await readFile(file))
    const kernel = ukiSection(uki, '.linux')
    const initrd = ukiSection(uki, '.initrd')
    if (!kernel || !initrd || sha256Hex(kernel) !== wanted.kernel || sha256Hex(initrd) !== wanted.initrd)
      continue
    // Beside the members, none of which may be called like a folder that is new.
    const folder = await mkdtemp(join(bundle.directory, '.uki-'))
    const files = { image: join(folder, 'kernel-of-uki'), initrd: join(folder, 'initrd-of-uki') }
    await writeFile(files.image, kernel, { flag: 'wx' })
    await writeFile(files.initrd, initrd, { flag: 'wx' })
    return files
  }
  return undefined
}

/** Each digest of a role once. */
function digestsOf({ manifest }: OpenedBundle, role: string): readonly string[] {
  const all = manifest.materials.filter((each) => each.role === role)
  return [...new Set(all.flatMap(({ sha256 }) => (sha256 === undefined ? [] : [sha256])))]
}

/** The material of a role, where all boots had the same one. */
function only({ manifest }: OpenedBundle, role: string): BundledMaterial | undefined {
  const all = manifest.materials.filter((each) => each.role === role)
  return all.length === 1 ? all[0] : undefined
}

/** A carried file, where it still is what the bill says: one in which something was masked is not. */
function memberOf({ manifest, member }: OpenedBundle, material: BundledMaterial): string | undefined {
  const carried = manifest.members.find(({ path }) => path === material.member)
  const isWhole = carried?.sha256 === material.sha256 && carried?.bytes === material.bytes
  return carried && isWhole ? member(carried.path) : undefined
}

async function digestOf(image: readonly MaterialInput[], role: string): Promise<string | undefined> {
  const material = image.find((each) => each.role === role)
  if (material === undefined || material.sha256 === 'skip') return undefined
  return material.sha256 ?? sha256File(material.path)
}

function differs(what: string, theirs: string | undefined, own: string, then: string): string {
  return `${what}: differs, ${short(theirs ?? 'unknown')} there, ${short(own)} here; ${then}`
}

function short(digest: string): string {
  return digest.slice(0, 12)
}
