/** The bill of materials of one boot. */
import { join } from 'node:path'
import { billOf, type MaterialInput } from '../materials/bill.ts'
import { writePrivateFile } from '../system/files.ts'
import type { SlotOwner } from './slot-owner.ts'

/** Writes `bill.json` into the directory of a QEMU process; `variables`: as they were before it. */
export async function writeBill(
  { spec, disk, firmware }: Pick<SlotOwner, 'spec' | 'disk' | 'firmware'>,
  { directory, variables }: { readonly directory: string; readonly variables: readonly MaterialInput[] },
): Promise<void> {
  const { image, tools } = spec.bench
  const code: MaterialInput = {
    role: 'firmware',
    path: firmware.kind === 'bios' ? firmware.file : firmware.code,
  }
  const { uki, shim, systemdBoot } = disk
  const now = uki?.current()
  const ukis = now ? [{ role: 'uki' as const, path: now.file, sha256: now.sha256 }] : []
  const shims = shim === undefined ? [] : [{ role: 'shim' as const, path: shim }]
  const loaders = systemdBoot === undefined ? [] : [{ role: 'loader' as const, path: systemdBoot.file }]
  const materials = [code, ...variables, ...shims, ...loaders, ...ukis, ...image.materials]
  const bill = await billOf(tools, { materials, packages: image.packages })
  await writePrivateFile(join(directory, 'bill.json'), `${JSON.stringify(bill, null, 1)}\n`)
}
