/**
 * One JSON document for everything that says what was, or will be, measured: `predict --json` and `rehearse --json`
 * write it, `diff` compares any two. A field that does not apply is absent. Digests are lower-case hex.
 */

export type DocumentKind = 'prediction' | 'rehearsal' | 'event-log' | 'bill-of-materials'

export interface MeasuredDocument {
  readonly kind: DocumentKind
  /** A platform's id: `sev-snp`, `tdx`. */
  readonly platform?: string
  /** What went in, by the names of INPUTS: a file as its SHA-256, everything else as the user gives it. */
  readonly inputs?: Readonly<Partial<Record<InputName, string>>>
  /** SEV 32 bytes, SNP 48 bytes. */
  readonly launchDigest?: string
  /** SNP: the launch digest after the ROM, 48 bytes. */
  readonly firmwareDigest?: string
  /** SNP, where an ID block was signed: what QEMU takes, in base64, and what the report will say of the keys. */
  readonly idBlock?: string
  readonly idAuth?: string
  readonly idKeyDigest?: string
  readonly authorKeyDigest?: string
  readonly mrtd?: string
  /** What else the owner's evidence will show, by its name there: POLICY, HOST_DATA, MRCONFIGID. */
  readonly fields?: Readonly<Record<string, string>>
  /** RTMR0 and up, as many as the inputs allow. */
  readonly rtmr?: readonly string[]
  /** Every RTMR that is known, by its number. */
  readonly rtmrs?: Readonly<Record<string, string>>
  /** By bank, then by number. */
  readonly pcrs?: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** What the launch measures, in order. */
  readonly pages?: readonly MeasuredPages[]
  /** What extends a register, in order. */
  readonly events?: readonly MeasuredEvent[]
  /** Of a bill of materials; `inputs` and `packages` hold it. */
  readonly packages?: Readonly<Record<string, string>>
}

/** Names of inputs, and how to speak of them. */
export const INPUTS = {
  firmware: 'firmware',
  firmwareDigest: 'firmware digest',
  vcpus: 'number of vCPUs',
  cpu: 'CPU model',
  guestFeatures: 'guest features',
  vmm: 'VMM',
  qemu: 'QEMU',
  kernel: 'kernel',
  initrd: 'initrd',
  append: 'kernel command line',
  memory: 'memory',
  passes: 'MRTD passes',
  variables: 'variable store',
  uki: 'UKI',
  disk: 'disk',
  'vtpm-state': 'vTPM state',
  shim: 'shim',
  loader: 'boot loader',
  loaderConfiguration: 'loader.conf',
  argv: 'QEMU command line',
  partitions: 'partition table',
  bootSlots: 'boot devices',
  acpi: 'ACPI tables',
  smbios: 'SMBIOS table',
  addons: 'addons',
  credentials: 'credentials',
  sysexts: 'system extensions',
  confexts: 'configuration extensions',
  bootSecretMixin: 'boot secret mixin',
  loadOptions: 'command line of the boot entry',
  smbiosCommandLine: 'command line in SMBIOS',
  profile: 'profile of the UKI',
  phases: 'boot phases',
  tools: 'tools',
} as const

export type InputName = keyof typeof INPUTS

/** Pages of guest memory that are measured as one kind; where the list has them one by one, `size` is 0x1000. */
export interface MeasuredPages {
  /** `0x` and hex digits; of a VMSA, what the platform measures it under. */
  readonly gpa: string
  /** Bytes. */
  readonly size: number
  /** SNP: a PAGE_TYPE (`normal`, `vmsa`, `zero`, ...); SEV: `normal`, `vmsa`; TDX: `extended`, `added`. */
  readonly type: string
  /** SHA-256 of the contents, where contents are measured. */
  readonly sha256?: string
  /** Equal pages measured that often in a row at the same address: VMSAs. Default 1. */
  readonly count?: number
  /** What it is, in the words of the firmware's own table: `kernel-hashes`, `td-hob`; `rom` for the file itself. */
  readonly what?: string
  /** Of a VMSA: registers that are not zero, by lower-case name (`rdx`, `cs.base`), as `0x` and hex digits. */
  readonly registers?: Readonly<Record<string, string>>
}

export interface MeasuredEvent {
  /** `pcr4`, `rtmr1`. */
  readonly register: string
  /** `EV_EFI_BOOT_SERVICES_APPLICATION`; of systemd's own events, its name for it. */
  readonly type: string
  /** What the event says of itself, in one line. */
  readonly description: string
  /** By algorithm. */
  readonly digests: Readonly<Record<string, string>>
}
