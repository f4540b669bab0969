/** `attestbed predict ...` and `attestbed diff`: flags and help; the work is imported when it is called. */
import { type Command, Option } from 'commander'
import { SEV_FAMILY, type SevPlatform } from './measured-platforms.ts'
import { addPredictTpm, addRtmr } from './predict-tpm-command.ts'

type Finish = (exitCode: number) => void

export function addPredict(root: Command, finish: Finish): void {
  const predict = root
    .command('predict')
    .description('say what a launch will measure, from its materials')
    .addHelpText('after', EXAMPLES)
  for (const [platform, title] of SEV_FAMILY) {
    const command = predict
      .command(platform)
      .description(`the launch digest of ${title}`)
      .requiredOption('--firmware <file>', 'the firmware file, as given to -bios')
    addProcessors(command, platform)
    addKernel(command)
    if (platform === 'sev-snp') addSnp(command)
    addOutput(command).action(async (flags) => {
      const { predictSevFamily } = await import('./predict-sev.ts')
      finish(await predictSevFamily(platform, flags))
    })
  }
  const tdx = predict
    .command('tdx')
    .description('MRTD of a TDX guest, and RTMR0 to 2 where what boots is given')
    .requiredOption('--firmware <file>', 'the firmware file, as given to -bios')
    .option('--two-pass', "add a section's pages before extending any of them, as older stacks did")
    .option('--memory <size>', 'memory of the guest, as 2G or 512M')
  addRtmr(tdx)
  addOutput(tdx).action(async (flags) => {
    const { predictTdx } = await import('./predict-tdx.ts')
    finish(await predictTdx(flags))
  })
  addPredictTpm(predict, finish)
}

export function addDiff(root: Command, finish: Finish): void {
  root
    .command('diff')
    .description('say which input changed which page, event or register, between two documents')
    .argument('<a>', 'output of predict or rehearse with --json, a bill.json, or a binary event log')
    .argument('<b>', 'another one')
    .option('--json', 'one JSON document on stdout')
    .addHelpText(
      'after',
      `
Exit code: 0 where nothing differs, 1 where something does.

Examples:
  attestbed diff predicted.json rehearsed.json
  attestbed diff monday/bill.json tuesday/bill.json --json`,
    )
    .action(async (a: string, b: string, flags) => {
      const { diff } = await import('./diff.ts')
      finish(await diff(a, b, flags))
    })
}

function addProcessors(command: Command, platform: SevPlatform): void {
  const features = platform === 'sev-snp' ? '0x1' : '0'
  // One command line serves all three.
  const unmeasured = platform === 'sev' ? ' (SEV measures none of the processors: this changes nothing)' : ''
  command
    .option('--vcpus <n>', `number of vCPUs${unmeasured}`, '1')
    .option('--cpu <model>', "QEMU's CPU model, or family/model/stepping in decimals", 'EPYC-v4')
    .option(
      '--guest-features <bits|name,...>',
      'SEV_FEATURES of the VMSAs: 0x21, or debug-swap, secure-tsc',
      features,
    )
    .addOption(
      new Option('--vmm <flavour>', 'whose initial registers')
        .choices(['qemu', 'ec2', 'gce'])
        .default('qemu'),
    )
}

function addKernel(command: Command): void {
  command
    .option('--kernel <file>', 'kernel or UKI of a direct boot with kernel-hashes=on')
    .option('--initrd <file>', 'its initrd')
    .option('--append <text>', 'its command line')
}

function addSnp(command: Command): void {
  command
    .option('--firmware-digest <hex>', "take the ROM's pages as measured already: 48 bytes, see --json")
    .option('--id-key <file>', 'sign an ID block with this P-384 key (PEM); needs --policy')
    .option('--author-key <file>', 'and the ID key with this one')
    .option('--policy <bits>', 'guest policy in the ID block, as given to QEMU')
    .option('--family-id <hex>', '16 bytes in the ID block')
    .option('--image-id <hex>', '16 bytes in the ID block')
    .option('--guest-svn <n>', 'security version in the ID block', '0')
}

function addOutput(command: Command): Command {
  return command
    .option('--each-page', 'list every page of the ROM, so that diff can name it')
    .option('--json', 'one JSON document on stdout, words on stderr')
}

const EXAMPLES = `
Examples:
  attestbed predict sev-snp --firmware OVMF.amdsev.fd --vcpus 4 --cpu EPYC-v4
  attestbed predict sev-snp --firmware OVMF.amdsev.fd --kernel uki.efi --append quiet --json
  attestbed predict tdx --firmware OVMF.inteltdx.fd --json > predicted.json`
