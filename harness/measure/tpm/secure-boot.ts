/** PCR 7 before its separator: the Secure Boot policy. TCG PC Client Platform Firmware Profile 1.06, 3.3.4.8. */
import { EFI_GLOBAL_VARIABLE, findVariable, type VariableStore } from '../../formats/variable-store.ts'
import { type PredictedEvent, separator } from './event.ts'
import { type MeasuredVariable, variableEvent } from './variable-event.ts'

export const IMAGE_SECURITY_DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
/** edk2's own switch beside the keys: gEfiSecureBootEnableDisableGuid. */
const SECURE_BOOT_ENABLE = { name: 'SecureBootEnable', guid: 'f0a30bc7-af08-4556-99c4-001009c93a44' }

/** In the order in which edk2 measures them; all but the first also where they are not there. */
const POLICY = [
  { name: 'PK', guid: EFI_GLOBAL_VARIABLE },
  { name: 'KEK', guid: EFI_GLOBAL_VARIABLE },
  { name: 'db', guid: IMAGE_SECURITY_DATABASE },
  { name: 'dbx', guid: IMAGE_SECURITY_DATABASE },
] as const
/** Measured only where they are there: timestamps and recovery. */
const OPTIONAL = ['dbt', 'dbr'] as const

/** Whether the firmware will enforce it: a platform key is enrolled, and nobody has switched it off. */
export function secureBootEnforced(store: VariableStore, supported: boolean): boolean {
  const key = findVariable(store, { name: 'PK' })
  const enabled = findVariable(store, SECURE_BOOT_ENABLE)?.data[0] ?? 1
  return supported && key !== undefined && enabled === 1
}

/** `supported`: the build has the code that keeps the variable SecureBoot. */
export function secureBootEvents(store: VariableStore, supported: boolean): readonly PredictedEvent[] {
  const state: MeasuredVariable = {
    ...{ name: 'SecureBoot', guid: EFI_GLOBAL_VARIABLE },
    data: supported ? Uint8Array.of(secureBootEnforced(store, supported) ? 1 : 0) : new Uint8Array(),
  }
  const stored = POLICY.map((ref) => ({ ...ref, data: findVariable(store, ref)?.data ?? new Uint8Array() }))
  const optional = OPTIONAL.flatMap((name) => {
    const variable = findVariable(store, { name, guid: IMAGE_SECURITY_DATABASE })
    return variable === undefined ? [] : [variable]
  })
  return [
    ...[state, ...stored, ...optional].map((variable) =>
      variableEvent(7, 'EV_EFI_VARIABLE_DRIVER_CONFIG', variable),
    ),
    separator(7),
  ]
}
