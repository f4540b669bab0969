/** What a boot is expected to extend into a register: TCG PC Client Platform Firmware Profile 1.06, chapter 10. */
import { createHash } from 'node:crypto'
import type { DigestAlgorithm } from '../../base/digest.ts'

/** Names of event types, table 27 of the profile. */
export type EventType =
  | 'EV_SEPARATOR'
  | 'EV_EVENT_TAG'
  | 'EV_S_CRTM_VERSION'
  | 'EV_PLATFORM_CONFIG_FLAGS'
  | 'EV_IPL'
  | 'EV_EFI_VARIABLE_DRIVER_CONFIG'
  | 'EV_EFI_VARIABLE_BOOT'
  | 'EV_EFI_VARIABLE_AUTHORITY'
  | 'EV_EFI_BOOT_SERVICES_APPLICATION'
  | 'EV_EFI_GPT_EVENT'
  | 'EV_EFI_ACTION'
  | 'EV_EFI_PLATFORM_FIRMWARE_BLOB'
  | 'EV_EFI_PLATFORM_FIRMWARE_BLOB2'
  | 'EV_EFI_HANDOFF_TABLES'
  | 'EV_EFI_HANDOFF_TABLES2'
  /** Extended by the OS after the firmware's log has ended: in systemd's own log. */
  | 'runtime'

/** The material that decides an event's digest. */
export type EventInput =
  | 'firmware'
  | 'variables'
  | 'uki'
  | 'addons'
  | 'shim'
  | 'loader'
  | 'esp'
  | 'disk'
  | 'acpi'
  | 'smbios'
  | 'machine'
  | 'specification'

/** What is hashed, or why that is not known. */
export type EventContent =
  | { readonly known: true; readonly parts: readonly Uint8Array[] }
  | { readonly known: false; readonly reason: string }

export interface PredictedEvent {
  /** Register that it is extended into, 0 to 23. */
  readonly pcr: number
  readonly type: EventType
  /** What it is, for people: `variable db, 859 bytes`. */
  readonly what: string
  readonly from: EventInput
  readonly content: EventContent
}

export function known(...parts: readonly (Uint8Array | string)[]): EventContent {
  return { known: true, parts: parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)) }
}

export function unknown(reason: string): EventContent {
  return { known: false, reason }
}

/** By content: a UKI has megabytes, and whoever compares two lists asks for each pair of them. */
const digests = new WeakMap<EventContent, Map<DigestAlgorithm, Buffer>>()

/** What is extended into a bank; undefined where the content is not known. */
export function eventDigest({ content }: PredictedEvent, algorithm: DigestAlgorithm): Buffer | undefined {
  if (!content.known) return undefined
  const ofContent = digests.get(content) ?? new Map<DigestAlgorithm, Buffer>()
  digests.set(content, ofContent)
  const digest = ofContent.get(algorithm) ?? hashed(content.parts, algorithm)
  ofContent.set(algorithm, digest)
  return Buffer.from(digest)
}

function hashed(parts: readonly Uint8Array[], algorithm: DigestAlgorithm): Buffer {
  const hash = createHash(algorithm)
  for (const part of parts) hash.update(part)
  return hash.digest()
}

const SEPARATOR = Buffer.alloc(4)

/** The end of what the platform firmware says to a register (3.3.2.2 of the profile). */
export function separator(pcr: number): PredictedEvent {
  return {
    ...{ pcr, type: 'EV_SEPARATOR', what: 'separator', from: 'specification' },
    content: known(SEPARATOR),
  }
}

/** An EV_EFI_ACTION: its string is what is hashed, without a NUL. */
export function action(pcr: number, text: string): PredictedEvent {
  return {
    ...{ pcr, type: 'EV_EFI_ACTION', what: `"${text}"`, from: 'specification' },
    content: known(text),
  }
}
