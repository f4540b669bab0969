/** The commands about evidence: flags and help. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { EVIDENCE_KINDS } from '../evidence/kind.ts'

type Finish = (exitCode: number) => void

const kindOption = (): Option =>
  new Option('--kind <kind>', 'what FILE is (default: detected)').choices(EVIDENCE_KINDS)

const MAX_NONCE_BYTES = 64

/** Bytes of a nonce; "0x" in front is accepted. Zeros are what a field holds that nobody set. */
function nonce(text: string): Uint8Array {
  const digits = text.replace(/^0x/, '')
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(digits) || digits.length > MAX_NONCE_BYTES * 2)
    throw new InvalidArgumentError(`"${text}" is no hex of 1 to ${MAX_NONCE_BYTES} bytes.`)
  if (/^0+$/.test(digits)) throw new InvalidArgumentError('a nonce of zeros is met by evidence without one.')
  return Buffer.from(digits, 'hex')
}

const ISO_TIME = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:[.]\d{1,9})?)?(?:Z|[+-]\d\d:\d\d))?$/

/** A date alone is its midnight in UTC; a time needs its zone, or the same command would mean two things. */
function isoTime(text: string): Date {
  const time = new Date(text)
  // JavaScript takes February 30 for March 2, and hour 24 for the next day.
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`)
  const exists = !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text.slice(0, 10))
  if (!ISO_TIME.test(text) || !exists || text.includes('T24') || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError(`"${text}" is no time like 2025-07-01 or 2025-07-01T12:00:00Z.`)
  return time
}

export function addVerify(root: Command, finish: Finish): void {
  root
    .command('verify')
    .description('check whether evidence is authentic, and acceptable to a policy')
    .argument('<file>', 'a report, quote or event log')
    .addOption(kindOption())
    .option(
      '--certs <file...>',
      "issuers' certificates (PEM, DER, an SNP certificate table), or directories of them",
    )
    .option(
      '--collateral <file...>',
      'TDX collateral: TCB info, QE identity, chains and lists, or directories of them',
    )
    .option(
      '--crl <file...>',
      'revocation lists (DER or PEM); each must be current, and of an issuer in the chain',
    )
    .option(
      '--quote <file...>',
      "quotes that cover an event log, or that belong to an HCL report: a TD's, a TPM's",
    )
    .option('--event-log <file>', "event log that belongs to an HCL report: the vTPM's quotes cover it")
    .option(
      '--userspace-log <file>',
      "systemd's measurement log, which goes on where the firmware's log ends",
    )
    .option('--ak <file>', 'attestation key that you trust: a public key, TPM2B_PUBLIC, or its certificate')
    .option(
      '--ak-root <file...>',
      "authorities that you trust to certify AKs: then --ak is the AK's certificate, --certs its issuers",
    )
    .option(
      '--credential <file>',
      'record of a credential for --ak: `credential make` wrote it; with --activated it binds the AK to an EK',
    )
    .option('--activated <file>', "the secret that the guest's TPM gave back for that credential")
    .option(
      '--svsm-manifest <file>',
      'what an SVSM said of its vTPM when it asked for the report with --nonce, of 64 bytes',
    )
    .option(
      '--id-block <file>',
      'ID block that the guest was launched with (bytes or base64), with --id-auth',
    )
    .option('--id-auth <file>', 'ID authentication that goes with --id-block')
    .option('--signature <file>', 'signature of a TPM quote that lies in a file of its own')
    .option('--pcrs <file>', 'PCR values of a TPM quote, as tpm2_quote -o writes them')
    .addOption(new Option('--nonce <hex>', 'what the evidence must be bound to').argParser(nonce))
    .option('--policy <file>', 'what is acceptable (default: strict, without reference values)')
    .addOption(new Option('--at <time>', 'as of this ISO time (default: now)').argParser(isoTime))
    .option('--network', "ask the vendors' key services for endorsements that are missing")
    .option('--kds <url>', "with --network: another address than AMD's")
    .option('--pcs <url>', "with --network: a PCCS, or another address than Intel's")
    .option('--json', 'one JSON document on stdout')
    .addHelpText(
      'after',
      `
Examples:
  attestbed verify report.bin --certs vcek.der ask_ark.pem
  attestbed verify quote.bin --collateral collateral.json --policy guests.yaml
  attestbed verify quote.bin --collateral pccs/ --at 2025-07-01T00:00:00Z --json
  attestbed verify eventlog.bin --quote quote.json --ak ak.pem --nonce 0123abcd
  attestbed verify hcl-report.bin --certs chain.pem --quote quote.json --event-log eventlog.bin
  attestbed verify quote.json --ak ak-cert.pem --ak-root provider.pem --certs issuers.pem
  attestbed verify report.bin --certs chain.bin --svsm-manifest manifest.bin --nonce "$(cat nonce.hex)"
  attestbed verify quote.bin --signature quote.sig --ak ak.pub --credential record.json --activated secret.bin

Exit codes:
  0 authentic and acceptable, 5 malformed or not authentic, 6 authentic but not acceptable`,
    )
    .action(async (file: string, flags) => {
      const { verify } = await import('./verify.ts')
      finish(await verify(file, flags))
    })
}

export function addInspect(root: Command, finish: Finish): void {
  root
    .command('inspect')
    .description('decode evidence without believing any of it')
    .argument('<file>', 'a report, quote or event log')
    .addOption(kindOption())
    .option('--json', 'one JSON document on stdout')
    .addHelpText(
      'after',
      '\nExamples:\n  attestbed inspect report.bin\n  attestbed inspect eventlog.bin --json',
    )
    .action(async (file: string, flags) => {
      const { inspect } = await import('./verify.ts')
      finish(await inspect(file, flags))
    })
}

export function addCerts(root: Command, finish: Finish): void {
  const certs = root
    .command('certs')
    .description('the local cache of certificates, revocation lists and collateral')
    .addHelpText(
      'after',
      '\nExamples:\n  attestbed certs import vcek.der ask_ark.pem\n  attestbed certs list --json',
    )
  certs
    .command('import')
    .description('keep endorsements, each under what it vouches for')
    .argument('<file...>', 'PEM, DER, SNP certificate tables, TDX collateral, or directories of them')
    .option('--json', 'one JSON document on stdout')
    .action(async (files: string[], flags) => {
      const { importCerts } = await import('./certs.ts')
      finish(await importCerts(files, flags))
    })
  certs
    .command('list')
    .description('list what is kept')
    .option('--json', 'one JSON document on stdout')
    .action(async (flags) => {
      const { listCerts } = await import('./certs.ts')
      finish(await listCerts(flags))
    })
}
