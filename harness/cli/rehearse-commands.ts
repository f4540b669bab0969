/** `attestbed rehearse ...`: flags and help; the work is imported when it is called. */
import { type Command, Option } from 'commander'
import { REHEARSED } from './measured-platforms.ts'
import { names } from './values.ts'

type Finish = (exitCode: number) => void

export function addRehearse(root: Command, finish: Finish): void {
  const rehearse = root
    .command('rehearse')
    .description("run QEMU's own launch without the hardware, and say what it would have measured")
    .addHelpText('after', EXAMPLES)
  for (const [platform, title] of REHEARSED) {
    const command = rehearse
      .command(platform)
      .description(`the launch of ${title}, compared with the prediction`)
      .option('--firmware <file>', 'the firmware file (default: that of the platform in ovmf/manifest.yaml)')
      .option('--vcpus <n>', 'number of vCPUs', '1')
      .option('--cpu <model>', "QEMU's CPU model (default: the platform's own)")
      .option('--memory <size>', 'memory of the guest, as 2G or 512M', '512M')
    if (platform === 'tdx') addTdx(command)
    else addSev(command)
    if (platform === 'sev-snp') addSnp(command)
    addOutput(command).action(async (flags) => {
      const { rehearse } = await import('./rehearse.ts')
      finish(await rehearse(platform, flags))
    })
  }
}

function addSev(command: Command): void {
  command
    .option('--kernel <file>', 'kernel or UKI of a direct boot with kernel-hashes=on')
    .option('--initrd <file>', 'its initrd')
    .option('--append <text>', 'its command line')
    .option('--policy <bits>', 'names such as smt,debug, or a number')
}

function addSnp(command: Command): void {
  command
    .option('--host-data <hex>', '32 bytes for the field HOST_DATA of the report')
    .option('--id-block <base64>', 'signed ID block, as predict --json gives it')
    .option('--id-auth <base64>', 'its signatures and keys')
    .option('--author-key', 'the ID key is signed by an author key')
    .option(
      '--guest-features <name,...|bits>',
      'debug-swap, secure-tsc, or their bits as 0x21: where QEMU has them',
    )
}

function addTdx(command: Command): void {
  command
    .option('--mrconfigid <hex>', '48 bytes')
    .option('--mrowner <hex>', '48 bytes')
    .option('--mrownerconfig <hex>', '48 bytes')
    .addOption(
      new Option(
        '--td-attributes <name,...>',
        'debug, sept-ve-disable, pks (default: sept-ve-disable)',
      ).argParser(names),
    )
}

function addOutput(command: Command): Command {
  return command
    .option('--recording <file>', 'keep what was recorded: equal launches give equal files')
    .option('--each-page', 'list every page on its own, so that diff can name it')
    .addOption(new Option('--tools <from>', 'QEMU from the tools tree or the host').choices(['tree', 'host']))
    .option('--json', 'one JSON document on stdout, words on stderr')
}

const EXAMPLES = `
Needs any /dev/kvm that opens; neither SEV nor TDX, and never touches either.
Exit code 0: prediction and rehearsal agree; 1: they do not; 3: this host cannot rehearse.

Examples:
  attestbed rehearse sev-snp --vcpus 4 --cpu EPYC-Genoa
  attestbed rehearse sev-snp --kernel uki.efi --host-data 00..ff --json
  attestbed rehearse tdx --firmware OVMF.inteltdx.fd --recording launch.rec`
