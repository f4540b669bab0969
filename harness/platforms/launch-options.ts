/**
 * What the owner of a confidential guest chooses for its launch, beside firmware and kernel. Every value ends up in the
 * guest's evidence. A platform takes the options that it names and refuses the others.
 */
import { UsageError } from '../base/errors.ts'
import type { PlatformId } from './platform-id.ts'

/** SEV_FEATURES that QEMU can be asked for; SNP's own bit is always set. */
export type GuestFeature = 'debug-swap' | 'secure-tsc'

/** AMD64 APM volume 2, table B-4. */
export const SNP_ACTIVE = 1n << 0n
export const GUEST_FEATURE_BITS: Readonly<Record<GuestFeature, bigint>> = {
  'debug-swap': 1n << 5n,
  'secure-tsc': 1n << 9n,
}

/** A signed ID block, which the firmware compares with the launch. */
export interface IdBlockFiles {
  /** 96 bytes. */
  readonly block: Uint8Array
  /** 4096 bytes: signatures and public keys. */
  readonly authentication: Uint8Array
  /** Whether the ID key is signed by an author key, which is in `authentication`, too. */
  readonly authorKey: boolean
}

export interface LaunchOptions {
  /** QEMU's CPU model; absent: the platform's own. TDX takes only `host`. */
  readonly cpu?: string
  /** SEV, SEV-ES, SEV-SNP: policy bits by name, or all of them as a number; absent: the platform's own. */
  readonly policy?: readonly string[] | bigint
  /** SEV-SNP. */
  readonly guestFeatures?: readonly GuestFeature[]
  /** SEV-SNP: 32 bytes for the report's HOST_DATA. */
  readonly hostData?: Uint8Array
  /** SEV-SNP. */
  readonly idBlock?: IdBlockFiles
  /** TDX: 48 bytes each; absent: zeros. */
  readonly mrConfigId?: Uint8Array
  readonly mrOwner?: Uint8Array
  readonly mrOwnerConfig?: Uint8Array
  /** TDX: bits of TDATTRIBUTES by name; absent: sept-ve-disable, without which Linux refuses to boot. */
  readonly tdAttributes?: readonly string[]
}

export type LaunchOptionName = keyof LaunchOptions

/** Throws UsageError 'bad-value' for an option that the platform does not know. */
export function refuseOthers(
  id: PlatformId,
  options: LaunchOptions,
  known: readonly LaunchOptionName[],
): void {
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  const other = given.map(([name]) => name as LaunchOptionName).find((name) => !known.includes(name))
  if (other === undefined) return
  const takes = known.length > 0 ? `it takes ${known.join(', ')}` : 'it takes none'
  throw new UsageError(`cannot launch ${id} with ${other}: ${takes}`, { code: 'bad-value' })
}

/** A value of a fixed length, in base64 as QEMU takes it; undefined stays. Throws UsageError 'bad-value'. */
export function fixedBase64(name: string, value: Uint8Array | undefined, length: number): string | undefined {
  if (value === undefined) return undefined
  if (value.length !== length)
    throw new UsageError(`${name} has ${value.length} bytes, it must have ${length}`, { code: 'bad-value' })
  return Buffer.from(value).toString('base64')
}

/** Names of bits, each with its value. */
export type NamedBits = Readonly<Record<string, bigint>>

/** The sum of named bits. Throws UsageError 'bad-value' for a name that there is not. */
export function bitsOf(what: string, names: readonly string[], bits: NamedBits): bigint {
  return [...new Set(names)].reduce((sum, name) => {
    const bit = Object.hasOwn(bits, name) ? bits[name] : undefined
    if (bit !== undefined) return sum | bit
    throw new UsageError(`${what} has no bit called "${name}"; there are ${Object.keys(bits).join(', ')}`, {
      code: 'bad-value',
    })
  }, 0n)
}
