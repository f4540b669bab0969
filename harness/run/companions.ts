/** What lies on a VM's ESP for the stub of its UKI: addons, credentials, extensions. systemd-stub(7), "Companion Files". */
import { UsageError } from '../base/errors.ts'
import { changeEsp, type EspChange, readEsp } from '../materials/esp.ts'
import { extraDirectory, GLOBAL_DIRECTORIES } from '../measure/tpm/esp-companions.ts'
import { espOf } from './slots.ts'
import type { ScenarioVm } from './vm.ts'

export interface Companion {
  /** For the UKI that boots, for any, or for another one that does not boot. */
  readonly for: 'uki' | 'any' | 'other-uki'
  /** Its end says what it is: `.addon.efi`, `.cred`, `.sysext.raw`. */
  readonly name: string
  /** Its content, on the host. */
  readonly file: string
}

const OTHER_UKI = 'EFI/Linux/other.efi'
const IS_COMPANION = /\.(addon\.efi|cred|raw)$/i

/**
 * Puts companions on the ESP in place of those that it has; all else stays. The VM must be off. Throws UsageError
 * `bad-scenario` where it has no UKI of ours, MaterialError `disk-full`.
 */
export async function placeCompanions(vm: ScenarioVm, companions: readonly Companion[]): Promise<void> {
  const { disk, spec } = vm
  const { uki } = disk
  if (uki === undefined)
    throw new UsageError('companions are placed for a UKI of ours', { code: 'bad-scenario' })
  const { tools } = spec.bench
  const esp = await espOf(vm)
  const { entries } = await readEsp(tools, esp, spec.directory)
  const old = entries.filter(({ path, kind }) => kind === 'file' && IS_COMPANION.test(path))
  const changes: readonly EspChange[] = [
    ...old.map(({ path }): EspChange => ({ kind: 'remove', path })),
    ...companions.map((each): EspChange => ({ kind: 'put', path: pathOf(each, uki.path), file: each.file })),
  ]
  await changeEsp(tools, esp, { directory: spec.directory, changes })
}

function pathOf({ for: user, name }: Companion, ukiPath: string): string {
  if (user === 'uki') return `${extraDirectory(ukiPath)}/${name}`
  if (user === 'other-uki') return `${extraDirectory(OTHER_UKI)}/${name}`
  if (name.endsWith('.addon.efi')) return `${GLOBAL_DIRECTORIES.addons}/${name}`
  return `${name.endsWith('.cred') ? GLOBAL_DIRECTORIES.credentials : GLOBAL_DIRECTORIES.extensions}/${name}`
}
