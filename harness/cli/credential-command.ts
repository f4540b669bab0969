/** The command about credentials: flags and help. */
import type { Command } from 'commander'

export function addCredential(root: Command, finish: (exitCode: number) => void): void {
  const credential = root
    .command('credential')
    .description("bind a TPM's attestation key to its endorsement key")
    .addHelpText(
      'after',
      `
Examples:
  attestbed credential make --ek ek.pub --ak ak.pub --out credential.bin --record record.json
  tpm2_activatecredential -c ak.ctx -C ek.ctx -i credential.bin -o secret.bin    (in the guest)
  attestbed verify quote.bin --signature quote.sig --ak ak.pub --credential record.json --activated secret.bin`,
    )
  credential
    .command('make')
    .description('make a credential that only the TPM with this EK can open, and only for this AK')
    .requiredOption('--ek <file>', "the EK's public area: TPM2B_PUBLIC, TPMT_PUBLIC, an SVSM's vTPM manifest")
    .requiredOption('--ak <file>', "the AK's public area, as tpm2_createak -u writes it")
    .requiredOption('--out <file>', 'the credential for the guest, as tpm2_activatecredential reads it')
    .requiredOption('--record <file>', 'what `verify --credential` needs; keep it from the guest')
    .option(
      '--secret-file <file>',
      'what to wrap: 16 bytes at least, 32 at most for most EKs (default: 32 random ones)',
    )
    .action(async (flags) => {
      const { makeCredentialFiles } = await import('./credential.ts')
      finish(await makeCredentialFiles(flags))
    })
}
