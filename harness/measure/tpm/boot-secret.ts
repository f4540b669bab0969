/**
 * The secret that systemd-stub (since 262) hands to the OS in the initrd: systemd-stub(7), "boot secret". It is made of
 * random bytes that the first boot puts into an EFI variable and onto the ESP, so the initrd that the kernel measures
 * into PCR 9 differs from VM to VM, and is known only once there has been a boot.
 */
import { digest } from '../../base/digest.ts'
import { type Uki, ukiSection } from '../../formats/uki.ts'
import { findVariable, VARIABLE_ATTRIBUTES, type VariableStore } from '../../formats/variable-store.ts'

const VARIABLE = { name: 'LoaderBootSecret', guid: '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f' }
/** Where on the ESP the other half lies. */
export const BOOT_SECRET_MIXIN = 'loader/boot-secret-mixin'
const SECRET_BYTES = 32
const LABEL = 'systemd-stub derive secret label v1'
/** The OS must not be able to read it, or the stub does not use it. */
const ATTRIBUTES = VARIABLE_ATTRIBUTES.nonVolatile | VARIABLE_ATTRIBUTES.bootService
const ACCESS = VARIABLE_ATTRIBUTES.nonVolatile | VARIABLE_ATTRIBUTES.bootService | VARIABLE_ATTRIBUTES.runtime

export type BootSecret =
  | { readonly kind: 'none' }
  | { readonly kind: 'known'; readonly secret: Buffer }
  /** The stub will make it in the boot that is predicted, or a half of it is not given. */
  | { readonly kind: 'unknown'; readonly reason: string }

export interface BootSecretInputs {
  readonly store: VariableStore
  readonly uki: Uki
  /** Content of BOOT_SECRET_MIXIN on the ESP; undefined: not given, or not there yet. */
  readonly mixin: Uint8Array | undefined
}

export function bootSecret({ store, uki, mixin }: BootSecretInputs): BootSecret {
  const variable = findVariable(store, VARIABLE)
  if (variable === undefined)
    return unknownSecret(
      'the stub puts a random boot secret into the initrd, which this first boot will make',
    )
  if (variable.data.length !== SECRET_BYTES || (variable.attributes & ACCESS) !== ATTRIBUTES)
    return { kind: 'none' }
  if (mixin === undefined)
    return unknownSecret(
      `the stub puts a boot secret into the initrd, and ${BOOT_SECRET_MIXIN} of the ESP is not given`,
    )
  if (mixin.length < SECRET_BYTES) return { kind: 'none' }
  const id = osId(Buffer.from(ukiSection(uki, '.osrel') ?? []).toString('utf8'))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(id)))
  const secret = digest('sha256', LABEL, variable.data, mixin.subarray(0, SECRET_BYTES), length, id)
  return { kind: 'known', secret }
}

function unknownSecret(reason: string): BootSecret {
  return { kind: 'unknown', reason }
}

/** IMAGE_ID of an os-release, or the last ID, or `linux`. */
function osId(osRelease: string): string {
  const values = osRelease
    .split('\n')
    .map((line) => line.trim().split('='))
    .map(([key = '', ...value]) => ({ key, value: value.join('=').replace(/^(["'])(.*)\1$/, '$2') }))
  const image = values.find(({ key }) => key === 'IMAGE_ID')
  const id = values.findLast(({ key }) => key === 'ID')
  return image?.value ?? id?.value ?? 'linux'
}
