import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import { parsePeSections } from '../formats/pe.ts'
import type { Attack } from './attack.ts'

export const modifiedUki: Attack = {
  id: 'modified-uki',
  seam: 'esp',
  interference: 'the host changes one byte in the initrd of the UKI on the ESP',
  detectedBy: 'the firmware: the Authenticode digest is not the signed one',
  apply: async (victim) => {
    const bytes = await readFile(victim.uki)
    const initrd = parsePeSections(bytes).find(({ name }) => name === '.initrd')
    if (!initrd)
      throw new MaterialError(`cannot modify ${victim.uki}: it has no section .initrd`, {
        code: 'bad-format',
      })
    // In the middle of the archive: headers, section table and signature stay as they are.
    const place = initrd.offset + Math.floor(initrd.virtualSize / 2)
    bytes[place] = (bytes[place] ?? 0) ^ 0x01
    const modified = join(victim.directory, 'modified.efi')
    await writeFile(modified, bytes, { mode: 0o600 })
    await victim.replaceUki(modified)
  },
}
