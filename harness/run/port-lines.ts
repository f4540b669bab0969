/** What firmware and boot programs wrote to QEMU's debug port. */
import { open } from 'node:fs/promises'
import { escapeControls } from '../base/text.ts'

/** A debug build of OVMF says some 2 MiB in a boot. The guest decides how much there is. */
const MOST_BYTES = 16 * 1024 * 1024

/** The lines of a debug log's first 16 MiB, safe to print; none without a file. */
export async function readDebugLines(file: string | undefined): Promise<readonly string[]> {
  if (file === undefined) return []
  const log = await open(file)
  try {
    const { buffer, bytesRead } = await log.read(Buffer.alloc(MOST_BYTES), 0, MOST_BYTES, 0)
    const lines = buffer.toString('utf8', 0, bytesRead).split('\n')
    return lines.map((line) => escapeControls(line.trimEnd()))
  } finally {
    await log.close()
  }
}
