/** A root that its guest encrypts itself, kept and put back by the host between two boots. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError } from '../../base/errors.ts'
import type { Partition } from '../../formats/gpt.ts'
import { writeRegion } from '../../materials/boot-disk.ts'
import { readDisk, viewDisk } from '../disk-view.ts'
import type { ScenarioVm } from '../vm.ts'
import type { KeptRoot } from './kept-root.ts'

/** The VM must be off. Throws MaterialError `missing` for a VM without the option `root`. */
export async function keepRoot(vm: ScenarioVm): Promise<KeptRoot> {
  const { header, root } = await placesOf(vm)
  return { header: await readDisk(vm, header), root: await readDisk(vm, root) }
}

/** Puts it on the VM's disk, which must be off. */
export async function putRoot(vm: ScenarioVm, kept: KeptRoot): Promise<void> {
  const places = await placesOf(vm)
  for (const name of ['header', 'root'] as const) {
    const file = join(vm.spec.directory, `${name}.kept.img`)
    await writeFile(file, kept[name])
    await writeRegion(vm.spec.bench.tools, vm.disk.file, { file, offset: places[name].offset })
    await rm(file)
  }
}

async function placesOf(vm: ScenarioVm): Promise<{ readonly header: Partition; readonly root: Partition }> {
  const { partitions } = await viewDisk(vm)
  const [header, root] = ['luks-header', 'root'].map((name) => partitions.find((each) => each.label === name))
  if (header && root) return { header, root }
  throw new MaterialError(`the disk of VM ${vm.name} has no partitions luks-header and root`, {
    code: 'missing',
  })
}
