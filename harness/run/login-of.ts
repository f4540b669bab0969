import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import type { LoginDescription } from '../machine/guest/login.ts'
import type { ImageDescription } from '../materials/image-description.ts'

/** How to log in to an image, as the console needs it. Throws MaterialError `missing` for a lost password file. */
export async function loginOf({ login, file }: ImageDescription): Promise<LoginDescription> {
  const password =
    login.passwordFile === undefined
      ? login.password
      : await firstLine(resolve(dirname(file), login.passwordFile))
  return {
    kind: login.kind === 'automatic' ? 'prompt' : 'password',
    prompts: {
      login: new RegExp(login.loginPrompt),
      password: new RegExp(login.passwordPrompt),
      shell: new RegExp(login.shellPrompt),
    },
    ...(login.user !== undefined && { user: login.user }),
    ...(password !== undefined && { password }),
  }
}

/** A secret that is kept in a file of its own. Throws MaterialError `missing`. */
export async function firstLine(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).split('\n')[0] ?? ''
  } catch (cause) {
    throw new MaterialError(`cannot read the secret in ${file}`, { code: 'missing', cause })
  }
}
