import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import type { Attack } from './attack.ts'

/** Signature owner of what the attacker enrols. */
const ATTACKER_GUID = '0bad0bad-0bad-4bad-8bad-0bad0bad0bad'

export const extraDbKey: Attack = {
  id: 'extra-db-key',
  seam: 'variable-store',
  interference: 'the host adds a certificate of its own to db in the variable store',
  detectedBy: 'PCR 7, which measures the contents of db',
  apply: async (victim) => {
    if (victim.variables === undefined)
      throw new MaterialError('cannot add a key to db: the VM has no variable store', { code: 'missing' })
    const changed = join(victim.directory, 'variables-with-extra-key.fd')
    const certificate = victim.keys.certificates['db-other'].certificate
    await victim.tools.run('virt-fw-vars', [
      ...['--input', victim.variables, '--output', changed],
      ...['--add-db', ATTACKER_GUID, certificate],
    ])
    await rename(changed, victim.variables)
  },
}
