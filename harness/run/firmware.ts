/** The firmware of one VM: the shared code, and a variable store of its own. */
import { chmod, copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import type { FirmwareLoad } from '../machine/description.ts'
import { ensureVariables, type SecureBootState } from '../materials/variables.ts'
import { alteredFirmware } from './altered-firmware.ts'
import type { Bench } from './bench.ts'
import { enrolMok, type ShimOptions } from './shim.ts'
import { requireOwnFirmware } from './stand-in-firmware.ts'
import { firmwareFile } from './swaps.ts'
import type { VmOptions } from './vm-options.ts'

export interface FirmwareRequest {
  /** Private directory of the VM. */
  readonly directory: string
  readonly secureBoot: boolean
  /** The firmware keeps the keys that it came with, and knows of ours what shim is to know. */
  readonly shim?: ShimOptions | undefined
  readonly firmware?: VmOptions['firmware']
  readonly keys?: VmOptions['keys']
}

/** Throws MaterialError `no-secure-boot` for firmware that does not enforce it where the scenario needs it. */
export async function prepareFirmware(
  bench: Bench,
  { directory, secureBoot, shim, firmware: change, keys }: FirmwareRequest,
): Promise<FirmwareLoad> {
  const { firmware, tools } = bench
  if (secureBoot && !firmware.features.includes('secure-boot'))
    throw new MaterialError(
      `firmware ${firmware.id} does not enforce Secure Boot; the scenario requires it`,
      {
        code: 'no-secure-boot',
        hint: 'attestbed doctor names the firmware that does',
      },
    )
  const template = firmwareFile(tools, firmware.variables ?? firmware.path)
  const state = shim ? 'template' : keys === 'none' ? 'off' : stateFor(bench, secureBoot)
  const store = await ensureVariables(bench, {
    ...{ template, withKeys: firmware.keys !== 'none' },
    ...{ secureBoot: state, keys: bench.keys },
  })
  if (firmware.load === 'bios') {
    if (change !== 'altered') return { kind: 'bios', file: store.file }
    return { kind: 'bios', file: await alteredFirmware(store.file, directory) }
  }
  if (change === 'altered') requireOwnFirmware(bench.platform, 'an altered byte')
  const variables = join(directory, 'variables.fd')
  await copyFile(store.file, variables)
  await chmod(variables, 0o600)
  if (shim) await enrolMok(bench, { variables, ...shim })
  return {
    kind: 'pflash',
    code: firmwareFile(tools, firmware.path),
    variables,
    secure: firmware.features.includes('smm'),
  }
}

/** Whose keys: those that the image was signed with. */
function stateFor({ image, firmware }: Bench, secureBoot: boolean): SecureBootState {
  const { secureBoot: keys } = image.description
  if (!firmware.features.includes('secure-boot') || keys === 'off') return 'off'
  if (keys === 'microsoft') return 'template'
  return secureBoot || keys === 'checkout' ? 'on' : 'off'
}
