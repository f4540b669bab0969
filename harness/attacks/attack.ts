/** What an interference is, and what it may touch: the materials of a VM that is switched off. */
import type { TpmBusHost } from '../machine/vtpm/tpm-bus.ts'
import type { MaterialContext } from '../materials/context.ts'
import type { BaseDisk } from '../materials/disk.ts'
import type { ImageUkiOptions } from '../materials/images.ts'
import type { SigningKeys } from '../materials/keys.ts'

/** Places where a host can interfere (the design's list). */
export type Seam =
  | 'firmware'
  | 'variable-store'
  | 'esp'
  | 'disk'
  | 'command-line'
  | 'vtpm-state'
  | 'tpm-bus'
  | 'argv'
  | 'tables'
  | 'qmp'
  | 'broker-network'
  | 'evidence'
  | 'endorsements'

/** The VM as the host sees it between two boots. */
export interface Victim {
  readonly tools: MaterialContext['tools']
  readonly keys: SigningKeys
  /** Private directory of the VM. */
  readonly directory: string
  /** Short private directory for unix sockets. */
  readonly sockets: string
  /** The VM's own variable store; undefined for firmware that keeps none. */
  readonly variables: string | undefined
  /** Directory of the vTPM state that the next boot starts from. */
  vtpmState: string | undefined
  /** Who sits on the TPM's bus from the next boot on; undefined: QEMU and swtpm speak to each other. */
  tpmBus: TpmBusHost | undefined
  /** SMBIOS type 11 strings of the next boot. */
  readonly smbiosStrings: string[]
  /** Its disk, qcow2, and what that is an overlay of; undefined for somebody's own. */
  readonly disk: { readonly file: string; readonly base: BaseDisk } | undefined
  /** The UKI that lies on the ESP. */
  readonly uki: string
  /** Builds a UKI as the VM's own but for `change`. */
  buildUki(change: Omit<ImageUkiOptions, 'keys'>): Promise<string>
  /** Puts a file in the place of the UKI on the VM's ESP. */
  replaceUki(file: string): Promise<void>
}

export interface Attack {
  readonly id: string
  readonly seam: Seam
  /** What the host does, as a clause. */
  readonly interference: string
  /** What must notice, as a clause. */
  readonly detectedBy: string
  readonly apply: (victim: Victim) => Promise<void>
}
