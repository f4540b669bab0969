/** Changes what a VM boots next, and nothing else: what the stub keeps on the ESP stays there. */
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { ensureAddon } from '../materials/addon.ts'
import type { EspFiles } from '../materials/boot-disk.ts'
import { BOOT_SECRET_MIXIN } from '../measure/tpm/boot-secret.ts'
import { extraDirectory } from '../measure/tpm/esp-companions.ts'
import { sha256File, writePrivateFile } from '../system/files.ts'
import { viewDisk } from './disk-view.ts'
import type { PreparedUki } from './image.ts'
import type { ScenarioVm } from './vm.ts'

export interface BootChange {
  /** Another UKI, that differs in its os-release only; absent: the same. */
  readonly version?: string
  /** An addon beside the UKI with this command line, signed by the key in db; absent: none. */
  readonly addonCommandLine?: string
}

/** The VM must be off. Throws UsageError `bad-scenario` where it has no UKI of ours. */
export async function changeBoot(vm: ScenarioVm, change: BootChange): Promise<void> {
  vm.requireOff('change what it boots')
  const { uki } = vm.disk
  if (uki === undefined) throw new UsageError('the VM has no UKI of ours to change', { code: 'bad-scenario' })
  const file =
    change.version === undefined ? uki.current().file : await uki.build({ version: change.version })
  const beside = { ...(await keptOf(vm)), ...(await addonOf(vm, uki, change)) }
  await uki.replace(file, beside)
}

async function keptOf(vm: ScenarioVm): Promise<EspFiles> {
  const { esp } = await viewDisk(vm)
  if (!esp?.find(BOOT_SECRET_MIXIN)) return {}
  const file = join(vm.spec.directory, 'boot-secret-mixin')
  await writePrivateFile(file, esp.read(BOOT_SECRET_MIXIN))
  return { [BOOT_SECRET_MIXIN]: { file, sha256: await sha256File(file) } }
}

async function addonOf(
  vm: ScenarioVm,
  uki: PreparedUki,
  { addonCommandLine }: BootChange,
): Promise<EspFiles> {
  if (addonCommandLine === undefined) return {}
  const { bench } = vm.spec
  const addon = await ensureAddon(bench, {
    ...{ commandLine: addonCommandLine, keys: bench.keys },
    signedBy: 'db',
  })
  return { [`${extraDirectory(uki.path)}/attestbed.addon.efi`]: addon }
}
