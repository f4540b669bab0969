/** The order of the states that a run booted, kept beside its VMs: for whoever boots the same states again. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writePrivateFile } from '../../system/files.ts'

/** In the directory of a VM; a control's recording is another one and has none. */
const ORDER_FILE = 'power-cut.json'

/** What `orderOf` gave for the states that the seed drew. */
export interface RecordedOrder {
  readonly seed: number
  /** 8 hex digits. */
  readonly order: string
}

export async function recordOrder(vmDirectory: string, { seed, order }: RecordedOrder): Promise<void> {
  await writePrivateFile(join(vmDirectory, ORDER_FILE), `${JSON.stringify({ seed, order })}\n`)
}

/**
 * Of the VMs of one scenario, whose directory is `point`. Undefined where none booted states of this seed, and where several
 * did in different orders: one order cannot be required of all.
 */
export async function recordedOrder(point: string, seed: number): Promise<string | undefined> {
  const entries = await readdir(point, { withFileTypes: true }).catch(() => [])
  const orders = new Set<string>()
  for (const entry of entries.filter((each) => each.isDirectory())) {
    const order = await orderIn(join(point, entry.name, ORDER_FILE), seed)
    if (order !== undefined) orders.add(order)
  }
  const [only] = orders
  return orders.size === 1 ? only : undefined
}

async function orderIn(file: string, seed: number): Promise<string | undefined> {
  try {
    const { seed: drawnBy, order } = JSON.parse(await readFile(file, 'utf8')) as Partial<RecordedOrder>
    return drawnBy === seed && /^[0-9a-f]{8}$/.test(order ?? '') ? order : undefined
  } catch {
    return undefined
  }
}
