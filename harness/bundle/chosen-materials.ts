/** Which materials of a bundle take the place of this checkout's: those that differ and that it carries. */
import { readFile, writeFile } from 'node:fs/promises'
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
}

export interface MaterialsHere {
  readonly tools: Pick<Tools, 'path'>
  readonly build: FirmwareBuild
  /** Kernel and initrd of the image, as this checkout builds it. */
  readonly image: readonly MaterialInput[]
}

export async function chooseMaterials(bundle: OpenedBundle, here: MaterialsHere): Promise<ChosenMaterials> {
  const [firmware, kernel] = await Promise.all([chooseFirmware(bundle, here), chooseKernel(bundle, here)])
  return {
    swaps: { ...firmware.swaps, ...kernel.swaps },
    words: [...firmware.words, ...kernel.words],
  }
}

async function chooseFirmware(
  bundle: OpenedBundle,
  { tools, build }: MaterialsHere,
): Promise<ChosenMaterials> {
  const theirs = only(bundle, 'firmware')
  // Code and variables in one file: with the keys of a checkout, so never the same in two.
  if (theirs === undefined || build.load === 'bios')
    return { swaps: {}, words: [`firmware: ${build.id} as it is here`] }
  const own = await sha256File(firmwareFile(tools, build.path))
  if (own === theirs.sha256) return { swaps: {}, words: [`firmware: the same (${short(own)})`] }
  const code = memberOf(bundle, theirs)
  if (code === undefined)
    return { swaps: {}, words: [differs('firmware', theirs, own, 'this one is used: it is not carried')] }
  return { swaps: { firmware: { code } }, words: [differs('firmware', theirs, own, "the bundle's is used")] }
}

async function chooseKernel(bundle: OpenedBundle, { image }: MaterialsHere): Promise<ChosenMaterials> {
  const theirs = { kernel: only(bundle, 'kernel'), initrd: only(bundle, 'initrd') }
  const own = { kernel: await digestOf(image, 'kernel'), initrd: await digestOf(image, 'initrd') }
  if (!theirs.kernel?.sha256 || !theirs.initrd?.sha256 || !own.kernel || !own.initrd)
    return { swaps: {}, words: [] }
  if (theirs.kernel.sha256 === own.kernel && theirs.initrd.sha256 === own.initrd)
    return { swaps: {}, words: [`kernel and initrd: the same (${short(own.kernel)}, ${short(own.initrd)})`] }
  const files = await unpackUki(bundle, { kernel: theirs.kernel.sha256, initrd: theirs.initrd.sha256 })
  if (files === undefined)
    return {
      swaps: {},
      words: [differs('kernel or initrd', theirs.kernel, own.kernel, 'those here are used')],
    }
  return {
    swaps: { kernel: files },
    words: [
      differs(
        'kernel or initrd',
        theirs.kernel,
        own.kernel,
        "the bundle's are used, signed with the keys here",
      ),
    ],
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
    const files = {
      image: join(bundle.directory, 'kernel-of-uki'),
      initrd: join(bundle.directory, 'initrd-of-uki'),
    }
    await writeFile(files.image, kernel, { flag: 'wx' })
    await writeFile(files.initrd, initrd, { flag: 'wx' })
    return files
  }
  return undefined
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

function differs(what: string, theirs: BundledMaterial, own: string, then: string): string {
  return `${what}: differs, ${short(theirs.sha256 ?? '')} there, ${short(own)} here; ${then}`
}

function short(digest: string): string {
  return digest.slice(0, 12)
}
