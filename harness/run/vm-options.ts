/** What a scenario asks of a VM. */
import type { LaunchOptions } from '../platforms/launch-options.ts'
import type { FirstUki } from './image.ts'
import type { ProcessorKind } from './processors.ts'
import type { ShimOptions } from './shim.ts'
import type { SlotLayout } from './slots.ts'

export interface VmOptions {
  /** `offline`: the root is sealed to the SRK of the VM's vTPM and the signed PCR 11 policy before its first boot. */
  readonly seal?: 'offline'
  /** PCRs that the seal binds to a literal value as well; `zero`: nothing was extended. */
  readonly literalPcrs?: Readonly<Record<number, 'zero'>>
  /**
   * The root has a recovery key as well: a new one, or the one that a brought disk has. `if-encrypted`: for scenarios
   * that also run on images whose root is not.
   */
  readonly recoveryKey?: 'enrolled' | 'if-encrypted'
  /** `plain`: a small root in clear, whose digest the UKI's command line has, and an empty place for a LUKS2 header. */
  readonly root?: 'plain'
  /** The image's two slots: `a` is installed as the host's `Slots` says, and is the default. */
  readonly slots?: SlotLayout
  /** Added to the command line of slot `a`. */
  readonly slotCommandLine?: string
  /** What is different about the UKI that it begins with. */
  readonly uki?: FirstUki['change']
  /** The VM is one of a platform that cannot reset its guests: QEMU ends at a reset, and the VM is started anew. */
  readonly resets?: 'relaunch'
  /** A watchdog device that resets the guest; the guest has to arm it. */
  readonly watchdog?: true
  /** What a panic of the guest is: its end (default), or an event on the way to the reset that its `panic=` asks for. */
  readonly onPanic?: 'end' | 'continue'
  /** The guest has a network on which one port of the host answers; absent: it has none. */
  readonly network?: NetworkOptions
  /** The guest has a service on this port, which the host reaches by `Boot.service()`; absent: nobody can connect to it. */
  readonly servicePort?: number
  /** What the host hands over as init data (Trustee, kbs/docs/initdata.md); `launch` says what the guest is launched with. */
  readonly initData?: string
  /** QEMU brings the image's UKI itself, so that the launch measures it; absent: the firmware boots the disk. */
  readonly kernel?: 'direct'
  /** The firmware boots Debian's shim with the keys that it came with, and shim boots the image's UKI. */
  readonly shim?: ShimOptions
  /** What its owner chooses for its launch, beside firmware and kernel; only what the platform takes. */
  readonly launch?: LaunchOptions
  /** Which processor an emulated TEE has; absent: one that all VMs of the scenario share. */
  readonly processor?: ProcessorKind
  /** `altered`: one byte that the firmware does not use is another, so that all works and the launch digest differs. */
  readonly firmware?: 'altered'
  /** `none`: the firmware has no keys to enforce Secure Boot by, also where the scenario needs firmware that could. */
  readonly keys?: 'none'
  /** The firmware boots systemd-boot, and that the image's UKI; without a menu. */
  readonly loader?: 'systemd-boot'
}

/** The port of the host that a guest reaches, at `BROKER_ADDRESS` of its network, and nothing else. */
export interface NetworkOptions {
  readonly hostPort: number
  /** One more port, at `RELAY_ADDRESS`; absent: nothing else answers. */
  readonly relayPort?: number
}

export interface BootOptions {
  /** The vTPM that the root was sealed to, also where every other boot gets a new one: for a control. */
  readonly vtpm?: 'sealed-to'
}

/** Other materials for a VM that is otherwise the same. */
export interface OtherMaterials {
  readonly name: string
  /** qcow2. */
  readonly disk: string
  /** Where the firmware keeps its variables in flash. */
  readonly variables: string
  readonly vtpmState: string
}
