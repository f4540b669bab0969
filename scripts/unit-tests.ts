import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { projectFiles } from './project-files.ts'

/**
 * Tests for the gate: those of harness and scripts, but for the ones that open the tools and so start QEMU and its
 * like, or a browser. `npm test` runs all of them.
 */
export async function unitTestFiles(checkout: string): Promise<readonly string[]> {
  const tests = (await projectFiles(checkout)).filter((file) =>
    /^(harness|scripts)\/.*[.]test[.]ts$/.test(file),
  )
  const texts = await Promise.all(tests.map((file) => readFile(join(checkout, file), 'utf8')))
  return tests.filter((_, index) => !/\bopen(Tools|Browser)\b/.test(texts[index] ?? ''))
}
