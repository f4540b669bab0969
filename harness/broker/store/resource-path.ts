/** Names of resources: `<repository>/<type>/<tag>`. What else a path could mean to a file system is refused. */
import { UsageError } from '../../base/errors.ts'

const COMPONENT = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/

/** True for three components of 1 to 64 of `A-Za-z0-9._-`, none of which begins with a dot. */
export function isResourcePath(text: string): boolean {
  const parts = text.split('/')
  return parts.length === 3 && parts.every((part) => COMPONENT.test(part))
}

/** Throws UsageError `bad-value`. */
export function mustBeResourcePath(text: string): void {
  if (isResourcePath(text)) return
  throw new UsageError('a resource is named <repository>/<type>/<tag>, each 1 to 64 of A-Z a-z 0-9 . _ -', {
    code: 'bad-value',
    hint: 'for example default/key/root',
  })
}
