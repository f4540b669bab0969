/** Whether a secret is anywhere that a host can read it: in the files that a scenario left behind so far. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { countInFile } from '../../system/search.ts'

/** Files below `directory` that hold `secret`, as text, in hex or in base64; relative to it, sorted. */
export async function filesWithSecret(directory: string, secret: string): Promise<readonly string[]> {
  const bytes = Buffer.from(secret)
  const needles = [bytes, Buffer.from(bytes.toString('hex')), ...base64Cores(bytes)]
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
  const found: string[] = []
  for (const file of files) {
    const counts = await Promise.all(needles.map((needle) => countInFile(file, needle)))
    if (counts.some((count) => count > 0)) found.push(file.slice(directory.length + 1))
  }
  return found.sort()
}

/** What base64 makes of the secret wherever it begins: of each shift, the letters that nothing around it decides. */
function base64Cores(bytes: Buffer): readonly Buffer[] {
  return [0, 1, 2].flatMap((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64')
    const core = text.slice(shift === 0 ? 0 : 4, -4)
    return [Buffer.from(core), Buffer.from(core.replaceAll('+', '-').replaceAll('/', '_'))]
  })
}
