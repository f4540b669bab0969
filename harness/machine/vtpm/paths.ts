import { LaunchError } from '../../base/errors.ts'
import { filePath } from '../options.ts'

/** An absolute path that swtpm's option syntax can carry: unlike QEMU's, it has no way to write a comma. */
export function swtpmPath(what: string, path: string): string {
  if (!path.includes(',')) return filePath(what, path)
  throw new LaunchError(`cannot start swtpm: ${what} is ${JSON.stringify(path)}, it must not have a comma`, {
    code: 'swtpm-start',
    hint: 'Use a run directory whose path has no comma',
  })
}
