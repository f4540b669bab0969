/** `attestbed predict tpm`: flags and help; the work is imported when it is called. */
import { type Command, Option } from 'commander'
import { listOf, names } from './values.ts'

type Finish = (exitCode: number) => void

const BANKS = ['sha1', 'sha256', 'sha384', 'sha512'] as const
const PHASES = ['enter-initrd', 'leave-initrd', 'sysinit', 'ready'] as const

export function addPredictTpm(predict: Command, finish: Finish): void {
  predict
    .command('tpm')
    .description('PCR 0 to 15 of a UKI booted from disk under OVMF, event by event')
    .requiredOption('--uki <file>', 'the UKI')
    .requiredOption('--firmware <file>', 'the firmware code: the CODE file, or a combined image')
    .requiredOption('--vars <file>', 'the variable store as it is before the boot, or the combined image')
    .option('--disk <file>', 'the disk (raw), or its first 17 KiB: PCR 5')
    .option('--loader <file>', 'systemd-boot, where the firmware boots that: PCR 4 and 7')
    .option('--loader-conf <file>', 'its loader/loader.conf, where there is one: PCR 5')
    .option('--shim <file>', 'shim, where the firmware boots that: PCR 4, 7 and 14')
    .option('--memory <size>', 'memory of the guest, as 2G or 512M: PCR 0 of firmware with SMM')
    .option('--vcpus <n>', 'number of vCPUs: PCR 0 of firmware with SMM', '1')
    .option('--boot-slot <n,...>', 'PCI slots of virtio disks with a bootindex, in its order: PCR 1', names)
    .option('--acpi <folder>', "the files table-loader, rsdp and tables of QEMU's fw_cfg: PCR 1")
    .option('--smbios <file>', 'the SMBIOS table, as /sys/firmware/dmi/tables/DMI: PCR 1')
    .option('--addon <file,...>', 'addons beside the UKI: PCR 4 and 12', names)
    .option('--global-addon <file,...>', 'addons in loader/addons', names)
    .option('--credential <file,...>', 'credentials beside the UKI: PCR 12', names)
    .option('--sysext <file,...>', 'system extensions beside the UKI: PCR 13', names)
    .option('--confext <file,...>', 'configuration extensions beside the UKI: PCR 12', names)
    .option(
      '--boot-secret-mixin <file>',
      "loader/boot-secret-mixin of the ESP: PCR 9 with systemd's stub 262",
    )
    .option('--load-options <text>', 'the command line of the boot entry: PCR 12')
    .option('--smbios-command-line <text>', 'what SMBIOS type 11 adds to the command line: PCR 12')
    .option('--profile <n>', 'profile of the UKI', '0')
    .addOption(
      new Option('--phase <phase,...>', 'boot phases that are reached: PCR 11').argParser(listOf(PHASES)),
    )
    .addOption(new Option('--bank <name,...>', 'banks of the TPM (default: sha256)').argParser(listOf(BANKS)))
    .option('--json', 'one JSON document on stdout, words on stderr')
    .addHelpText('after', EXAMPLES)
    .action(async (flags) => {
      const { predictTpmBoot } = await import('./predict-tpm.ts')
      finish(await predictTpmBoot(flags))
    })
}

/** Flags of `predict tdx` for what boots in the TD. */
export function addRtmr(command: Command): void {
  command
    .option('--kernel <file>', 'kernel or UKI of a direct boot: RTMR0 to 2')
    .option('--initrd <file>', 'its initrd')
    .option('--append <text>', 'its command line')
    .option(
      '--qemu <version>',
      "QEMU's version, as 10.1: before 10.2 it may rewrite the kernel's setup header",
    )
    .option('--uki <file>', 'a UKI that is booted from disk: RTMR0 to 2')
    .option('--disk <file>', 'the disk (raw), or its first 17 KiB: RTMR1')
    .option('--boot-slot <n,...>', 'PCI slots of virtio disks with a bootindex, in its order: RTMR0', names)
    .option('--acpi <folder>', "the files table-loader, rsdp and tables of QEMU's fw_cfg: RTMR0")
}

const EXAMPLES = `
What is not given makes its register unknown, never wrong: the output says of each why.

Examples:
  attestbed predict tpm --uki lab.efi --firmware OVMF_CODE_4M.fd --vars OVMF_VARS_4M.fd
  attestbed predict tpm --uki lab.efi --firmware OVMF_CODE_4M.fd --vars vars.fd --disk disk.raw --phase enter-initrd
  attestbed predict tpm --uki lab.efi --firmware OVMF_CODE_4M.fd --vars vars.fd --json > predicted.json`
