import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'

/** Regular files of the checkout that git tracks or would track, relative to it, sorted. */
export async function projectFiles(checkout: string): Promise<readonly string[]> {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const { stdout } = await execa('git', args, { cwd: checkout })
  return stdout
    .split('\0')
    .filter((file) => file !== '' && lstatSync(join(checkout, file), { throwIfNoEntry: false })?.isFile())
    .sort()
}
