/** A guest's memory as the host sees it. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Machine } from '../machine/vm.ts'
import { countInFile } from '../system/search.ts'
import type { BootSpec } from './boot-process.ts'

/** How often `bytes` are in it. */
export async function countInMemory(
  machine: Machine,
  { directory, description }: BootSpec,
  bytes: Buffer,
): Promise<number> {
  // Named as scratch: where we are killed meanwhile, the next run removes it.
  const file = join(directory, 'memory.img')
  const size = description.memoryMiB * 1024 * 1024
  try {
    await machine.qmp.execute('pmemsave', { val: 0, size, filename: file })
    return await countInFile(file, bytes)
  } finally {
    await rm(file, { force: true })
  }
}
