/** Events about EFI variables: UEFI_VARIABLE_DATA, TCG PC Client Platform Firmware Profile 1.06, 10.2.6. */
import { ByteWriter } from '../../base/bytes.ts'
import { guidBytes } from '../../formats/guid.ts'
import { type EventType, known, type PredictedEvent } from './event.ts'

export interface MeasuredVariable {
  readonly name: string
  readonly guid: string
  /** Empty for a variable that is not there: its absence is measured. */
  readonly data: Uint8Array
}

/** The structure that is the event's data, and for configuration and authorities what is hashed. */
export function variableData({ name, guid, data }: MeasuredVariable): Buffer {
  return new ByteWriter({ what: 'UEFI_VARIABLE_DATA' })
    .bytes(guidBytes(guid), 'VariableName')
    .u64le(BigInt(name.length), 'UnicodeNameLength')
    .u64le(BigInt(data.length), 'VariableDataLength')
    .bytes(Buffer.from(name, 'utf16le'), 'UnicodeName')
    .bytes(data, 'VariableData')
    .finish()
}

export function variableEvent(
  pcr: number,
  type: Extract<
    EventType,
    'EV_EFI_VARIABLE_DRIVER_CONFIG' | 'EV_EFI_VARIABLE_BOOT' | 'EV_EFI_VARIABLE_AUTHORITY'
  >,
  variable: MeasuredVariable,
): PredictedEvent {
  const { name, data } = variable
  const size = data.length === 0 ? 'not there' : `${data.length} bytes`
  return {
    ...{ pcr, type, from: 'variables', what: `variable ${name}, ${size}` },
    // edk2 hashes a boot variable's value alone, as the profile's first revisions said.
    content: known(type === 'EV_EFI_VARIABLE_BOOT' ? data : variableData(variable)),
  }
}
