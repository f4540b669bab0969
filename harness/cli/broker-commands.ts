/** The commands of the key broker: flags and help. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { names } from './values.ts'

type Finish = (exitCode: number) => void

const configOption = (): Option =>
  new Option('--config <file>', 'what is served, and by which policies (YAML)').makeOptionMandatory()

function digest(text: string): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text
  throw new InvalidArgumentError(`"${text}" is no SHA-256 in 64 hex digits.`)
}

const CONFIG_HELP = `
A configuration:
  listen: {host: 127.0.0.1, port: 8443}
  tls: {certificate: broker.pem, key: broker.key}
  store: {directory: store, key: store.key}
  audit: {log: audit.jsonl, evidence: evidence}
  resources:
    - {path: default/key/root, policy: guest.yaml, certificates: [chain.pem]}
    - {path: default/key/vtpm, policy: vtpm.yaml, delivery: activate-credential}

Examples:
  attestbed broker key store.key
  attestbed broker put default/key/root root.key --config broker.yaml
  attestbed broker serve --config broker.yaml
  attestbed broker audit audit.jsonl`

export function addBroker(root: Command, finish: Finish): void {
  const broker = root
    .command('broker')
    .description(
      "a key broker (Trustee's KBS protocol 0.4.0): releases resources to guests that a policy accepts",
    )
    .addHelpText('after', CONFIG_HELP)
  broker
    .command('serve')
    .description('serve until SIGTERM; the URL is the one line of stdout')
    .addOption(configOption())
    .addOption(
      new Option(
        '--self-signed <name...>',
        'with a new certificate for these names; shown on stderr',
      ).argParser(names),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  attestbed broker serve --config broker.yaml\n  attestbed broker serve --config broker.yaml --self-signed localhost',
    )
    .action(async (flags) => finish(await (await import('./broker.ts')).serveBroker(flags)))
  addStoreCommands(broker, finish)
  addToken(broker, finish)
  broker
    .command('audit')
    .description("check a log's chain and show its records")
    .argument('<file>', 'the log')
    .addOption(
      new Option('--head <sha256>', 'a head that was noted before: it must still be there').argParser(digest),
    )
    .option('--json', 'one JSON document on stdout: how many records, and the head')
    .addHelpText('after', '\nExamples:\n  attestbed broker audit audit.jsonl | grep refused')
    .action(async (file: string, flags) => finish(await (await import('./broker.ts')).showAudit(file, flags)))
}

function addToken(broker: Command, finish: Finish): void {
  broker
    .command('token')
    .description('check an attestation token as a relying party, and show its claims')
    .argument('<file>', 'the token')
    .option('--anchors <file>', 'authorities whose certificates vouch for the key in its header (PEM)')
    .option(
      '--keys <file>',
      'keys of issuers: a JSON Web Key set, such as a broker has at /.well-known/jwks.json',
    )
    .addHelpText('after', '\nExamples:\n  attestbed broker token guest.jwt --keys jwks.json')
    .action(async (file: string, flags) =>
      finish(await (await import('./broker.ts')).checkToken(file, flags)),
    )
}

function addStoreCommands(broker: Command, finish: Finish): void {
  broker
    .command('put')
    .description('keep a resource, encrypted')
    .argument('<path>', 'repository/type/tag')
    .argument('<file>', 'its content, at most 1 MiB; - for stdin')
    .addOption(configOption())
    .action(async (path: string, file: string, flags) =>
      finish(await (await import('./broker.ts')).putResource(path, file, flags)),
    )
  broker
    .command('list')
    .description('names of what is kept')
    .addOption(configOption())
    .action(async (flags) => finish(await (await import('./broker.ts')).listResources(flags)))
  broker
    .command('remove')
    .description('forget a resource')
    .argument('<path>', 'repository/type/tag')
    .addOption(configOption())
    .action(async (path: string, flags) =>
      finish(await (await import('./broker.ts')).removeResource(path, flags)),
    )
  broker
    .command('key')
    .description('make a key for a store, in a new file of mode 0600')
    .argument('<file>', 'where')
    .action(async (file: string) => finish(await (await import('./broker.ts')).makeKey(file)))
}
