/** The events of a boot as OVMF, systemd-stub, Linux and systemd leave them, for tests. */
import { digest } from '../../base/digest.ts'
import { encodeDevicePath } from '../../formats/device-path.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import {
  gptEvent,
  imageLoadEvent,
  taggedEvent,
  utf16z,
  variableEvent,
} from '../../formats/event-log/testing/efi-event-data.ts'
import type { SyntheticEvent } from '../../formats/event-log/testing/synthetic-log.ts'
import { encodeBootNumbers, encodeLoadOption } from '../../formats/load-option.ts'
import { encodeSignatureLists, SIGNATURE_TYPES } from '../../formats/signature-list.ts'

export const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
const IMAGE_SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
const NONE = Buffer.alloc(0)
const KEYS = encodeSignatureLists([
  {
    type: SIGNATURE_TYPES.x509,
    header: NONE,
    signatures: [{ owner: GLOBAL, data: Buffer.from('certificate') }],
  },
])
const PATH = { nodes: [{ type: 4, subType: 4, data: utf16z('\\EFI\\BOOT\\BOOTX64.EFI') }] }

/** PCR to CC measurement register: UEFI 2.10, 38.4.1. */
const CC_REGISTERS = [0, 1, 2, 2, 2, 2, 2, 1, 3, 3, 3, 3, 3, 3, 3, 3]

export function separator(register: number): SyntheticEvent {
  return { register, type: EV.SEPARATOR, data: Buffer.alloc(4) }
}

/** Secure Boot on, one image, a UKI with three sections, a command line, an addon, and the end of boot services. */
export function ukiBoot(registers: 'pcr' | 'rtmr'): readonly SyntheticEvent[] {
  const config = (guid: string, name: string, data: Uint8Array): SyntheticEvent => ({
    register: 7,
    type: EV.EFI_VARIABLE_DRIVER_CONFIG,
    data: variableEvent(guid, name, data),
  })
  const boot = (name: string, data: Uint8Array): SyntheticEvent => ({
    register: 1,
    type: EV.EFI_VARIABLE_BOOT,
    data: variableEvent(GLOBAL, name, data),
    measured: data,
  })
  const option = encodeLoadOption({ attributes: 1, description: 'Linux', paths: [PATH], optionalData: NONE })
  const action = (register: number, data: string): SyntheticEvent => ({ register, type: EV.EFI_ACTION, data })
  const events: readonly SyntheticEvent[] = [
    { register: 0, type: EV.S_CRTM_VERSION, data: utf16z('1.0') },
    { register: 0, type: EV.EFI_PLATFORM_FIRMWARE_BLOB2, data: 'FV', measured: 'firmware volume' },
    config(GLOBAL, 'SecureBoot', Buffer.of(1)),
    config(GLOBAL, 'PK', KEYS),
    config(GLOBAL, 'KEK', KEYS),
    config(IMAGE_SECURITY, 'db', KEYS),
    config(IMAGE_SECURITY, 'dbx', NONE),
    separator(7),
    boot('BootOrder', encodeBootNumbers([1, 0])),
    boot('Boot0001', option),
    action(4, 'Calling EFI Application from Boot Option'),
    ...(registers === 'pcr' ? [0, 1, 2, 3, 4, 5, 6] : [4]).map(separator),
    { register: 7, type: EV.EFI_VARIABLE_AUTHORITY, data: variableEvent(IMAGE_SECURITY, 'db', KEYS) },
    { register: 5, type: EV.EFI_GPT_EVENT, data: gptEvent(GLOBAL, ['esp', 'root']) },
    {
      register: 4,
      type: EV.EFI_BOOT_SERVICES_APPLICATION,
      data: imageLoadEvent(encodeDevicePath(PATH)),
      measured: 'authenticode',
    },
    ...['.linux', '.cmdline', '.initrd'].flatMap(ukiSection),
    {
      register: 12,
      type: EV.IPL,
      data: utf16z('console=ttyS0 quiet'),
      measured: utf16z('console=ttyS0 quiet').subarray(0, -2),
    },
    { register: 12, type: EV.IPL, data: utf16z('Credentials initrd'), measured: 'cpio' },
    { register: 12, type: EV.EVENT_TAG, data: taggedEvent(0x6c46f751, 'board.dtb'), measured: 'dtb' },
    { register: 9, type: EV.EVENT_TAG, data: taggedEvent(0x8f3b22ec, 'Linux initrd'), measured: 'initrd' },
    { register: 14, type: EV.IPL, data: 'MokList\0', measured: 'list' },
    action(5, 'Exit Boot Services Invocation'),
    action(5, 'Exit Boot Services Returned with Success'),
  ]
  if (registers === 'pcr') return events
  // In a TD what PCR 0 would hold is in RTMR0 where the firmware extends it at run time.
  return events.map((event) => ({ ...event, register: CC_REGISTERS[event.register] || 1 }))
}

function ukiSection(name: string): readonly SyntheticEvent[] {
  const description = { register: 11, type: EV.IPL, data: utf16z(name) }
  return [
    { ...description, measured: `${name}\0` },
    { ...description, measured: `content of ${name}` },
  ]
}

export interface RecordSpec {
  readonly registers?: 'pcr' | 'rtmr'
  /** PCR; default 11, RTMR2 in a TD. */
  readonly register?: number
  readonly nvIndex?: number
  /** What is hashed, where it is not the text. */
  readonly measured?: string
  readonly eventType?: string
}

/** A record of systemd's log. */
export function systemdRecord(text: string, spec: RecordSpec = {}): Buffer {
  const { registers = 'pcr', register = 11, nvIndex, measured = text, eventType = 'phase' } = spec
  const bank = registers === 'pcr' ? 'sha256' : 'sha384'
  const target =
    nvIndex !== undefined
      ? { nv_index: nvIndex }
      : registers === 'pcr'
        ? { pcr: register }
        : { rtmr: 2, mapped_pcr: register }
  const digests = [{ hashAlg: bank, digest: digest(bank, measured).toString('hex') }]
  const record = { ...target, digests, content_type: 'systemd', content: { string: text, eventType } }
  return Buffer.from(`\x1e${JSON.stringify(record)}\n`)
}
