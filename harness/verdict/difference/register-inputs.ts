/** Which inputs reach which register: what a change can have come from, and what it can change. */
import type { InputName } from '../../measure/documents/document.ts'

const REGISTER_INPUTS: Readonly<Record<string, readonly InputName[]>> = {
  pcr0: ['firmware', 'memory', 'vcpus'],
  pcr1: [
    ...(['firmware', 'variables', 'memory', 'vcpus', 'cpu', 'qemu', 'argv'] as const),
    ...(['acpi', 'smbios', 'bootSlots', 'partitions'] as const),
  ],
  pcr2: ['qemu', 'argv', 'firmware'],
  pcr3: ['qemu', 'argv', 'firmware'],
  pcr4: ['uki', 'kernel', 'shim', 'loader', 'addons', 'disk', 'firmware', 'variables'],
  pcr5: ['disk', 'partitions', 'loaderConfiguration', 'argv'],
  pcr7: ['variables', 'uki', 'shim', 'loader', 'addons', 'firmware'],
  pcr9: [
    ...(['uki', 'kernel', 'initrd', 'append', 'addons', 'credentials', 'sysexts', 'confexts'] as const),
    ...(['loadOptions', 'smbiosCommandLine', 'bootSecretMixin', 'variables', 'profile'] as const),
  ],
  pcr11: ['uki', 'profile', 'phases'],
  pcr12: [
    ...(['uki', 'append', 'addons', 'credentials', 'confexts', 'loadOptions', 'smbiosCommandLine'] as const),
    ...(['profile', 'disk', 'argv'] as const),
  ],
  pcr13: ['sysexts', 'disk'],
  pcr14: ['shim', 'variables'],
  rtmr0: [
    ...(['firmware', 'memory', 'variables', 'vcpus', 'qemu', 'argv', 'acpi', 'bootSlots'] as const),
    ...(['partitions', 'uki'] as const),
  ],
  rtmr1: [
    ...(['kernel', 'uki', 'shim', 'loader', 'loaderConfiguration', 'disk', 'partitions'] as const),
    // The kernel's header, where QEMU rewrites it: the place of the initrd, and what `vga=` asks for.
    ...(['initrd', 'append', 'memory', 'qemu', 'firmware'] as const),
  ],
  rtmr2: ['append', 'initrd', 'uki', 'kernel', 'loadOptions'],
}

/** The kernel event of a QEMU that fills in fields of the setup header before the firmware measures it. */
export const REWRITTEN_KERNEL = /^kernel, with the setup header rewritten by QEMU/
/** They decide whether QEMU rewrites, and change nothing of a kernel that both times is, or is not, rewritten. */
export const DECIDE_REWRITING: readonly InputName[] = ['qemu', 'firmware']

/** Of events whose description says what they are of: fewer inputs than those of the register. */
const EVENT_INPUTS: readonly (readonly [described: RegExp, inputs: readonly InputName[]])[] = [
  [/^(section|name) [.]/, ['uki', 'kernel', 'profile']],
  [REWRITTEN_KERNEL, ['kernel', 'initrd', 'append', 'memory', 'qemu', 'firmware']],
  [/^(profile |load options of systemd-boot)/, ['profile']],
  [/^command line passed to the stub/, ['append', 'loadOptions', 'initrd']],
  [/^(addon |command line of addons)/, ['addons']],
  [/^systemd-boot/, ['loader']],
  [/^shim/, ['shim', 'variables']],
  [/^loader[.]conf/, ['loaderConfiguration', 'disk']],
  [/^TD HOB/, ['memory', 'firmware']],
  [/^CFV/, ['firmware', 'variables']],
  [/^ACPI DATA/, ['acpi', 'qemu', 'argv', 'memory', 'vcpus']],
  [/^SMBIOS/, ['smbios', 'qemu', 'argv', 'memory', 'vcpus']],
  [/^phase /, ['phases']],
  [/^partition table/, ['partitions', 'disk']],
  [/^variable (?!Boot)/, ['variables', 'firmware']],
]

/** Undefined where the description leaves it open. */
export function inputsOfEvent(description: string): readonly InputName[] | undefined {
  return EVENT_INPUTS.find(([described]) => described.test(description))?.[1]
}

/** `register`: `pcr4`, `rtmr1`. Most likely first. */
export function inputsOfRegister(register: string): readonly InputName[] {
  return (Object.hasOwn(REGISTER_INPUTS, register) && REGISTER_INPUTS[register]) || []
}

/** Numbers of the PCRs that an input can change, in ascending order. */
export function registersOfInput(input: InputName): readonly string[] {
  return Object.entries(REGISTER_INPUTS)
    .filter(([register, inputs]) => register.startsWith('pcr') && inputs.includes(input))
    .map(([register]) => register.slice('pcr'.length))
}
