/**
 * Which broker the attester of images/attester asks, and by which words images/verity opens its root: by their own shell
 * programs in the busybox of the guests.
 */
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openTools } from '../../system/tools.ts'

const LIBRARY = join(import.meta.dirname, '../../../images/attester/initrd/usr/lib/attestbed/measured.sh')
const ROOT_WORDS = join(import.meta.dirname, '../../../images/verity/initrd/usr/lib/attestbed/root-words.sh')
const FUNCTIONS = join(import.meta.dirname, '../../../images/initrd/functions.sh')
const NAMED = 'attestbed.broker=https://10.0.2.100:8443 attestbed.broker-pin=sha256:QUFB'
const ZERO = '0'.repeat(64)
const EXTENDED = `${'0'.repeat(63)}1`
const INIT_DATA = [
  ...['version = "0.1.0"', 'algorithm = "sha256"', '', '[data]'],
  ...['"attestbed.broker" = "https://10.0.2.100:8443"', '"attestbed.broker-pin" = "sha256:QUFB"', ''],
].join('\n')

interface Guest {
  readonly commandLine: string
  readonly pcr12?: string | 'absent'
  /** What the firmware started. */
  readonly pcr4?: string
  readonly secureBoot?: 0 | 1
  /** Strings of its SMBIOS tables. */
  readonly smbios?: readonly string[] | 'absent'
  readonly tee?: 'snp' | 'tdx'
  /** What loaders and stub say of themselves in EFI variables. */
  readonly loader?: readonly string[]
  readonly initData?: string
  /** HOST_DATA or MRCONFIGID of its report. */
  readonly bound?: Uint8Array
}

const OFFSETS = { snp: 192, tdx: 232 }
const tools = await openTools()

/** `uki https://... sha256:...`, or why it is refused, and what of its place is not measured. */
const broker = (guest: Guest) =>
  told(guest, 'if name_broker; then echo "$named_by $broker $pin"; else echo "$reason $unmeasured"; fi')

/** `broker`, `tpm2`, or why neither is to open the root. */
const way = (guest: Guest) =>
  told(guest, 'if name_way; then echo "$unlock"; else echo "$reason $unmeasured"; fi')

/** `HASH OPTIONS`, or why images/verity opens no root. */
const root = (guest: Guest) =>
  told(guest, `give_up() { echo "$*"; exit; }; . '${ROOT_WORDS}'; name_root; echo "$root_hash $options"`)

async function told(guest: Guest, question: string): Promise<string> {
  const {
    commandLine,
    pcr12 = ZERO,
    pcr4 = EXTENDED,
    secureBoot,
    smbios = [],
    tee = 'snp',
    loader = [],
    initData,
    bound,
  } = guest
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-measured-'))
  const file = (name: string, content: string | Uint8Array) => writeFile(join(directory, name), content)
  try {
    if (pcr12 !== 'absent') await file('12', `${pcr12.toUpperCase()}\n`)
    await file('4', `${pcr4.toUpperCase()}\n`)
    if (secureBoot !== undefined) await file('secure-boot', Buffer.from([6, 0, 0, 0, secureBoot]))
    for (const name of loader) await file(`${name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f`, '')
    if (smbios !== 'absent') await file('smbios', `\x0b\x05\0\0\x01${smbios.join('\0')}\0\0`)
    // As the kernel has it: a file whose size says nothing of what it holds.
    if (initData !== undefined) await file('handed-over', initData)
    const report = Buffer.alloc(1184)
    report.set(bound ?? [], OFFSETS[tee])
    await file('first-report', report)
    const script = [
      `cd '${directory}'; . '${FUNCTIONS}'; . '${LIBRARY}'`,
      '[ ! -e handed-over ] || { mkfifo given; cat handed-over >given & }',
      'modprobe() { :; }; SECURE_BOOT=secure-boot PCRS=. SMBIOS=smbios INIT_DATA=given VARIABLES=.',
      'command_line=$1 tee=$2 reason=',
      question,
    ].join('\n')
    const { stdout } = await tools.run('busybox', ['sh', '-u', '-c', script, 'sh', commandLine, tee])
    return stdout.toString().trim()
  } finally {
    await rm(directory, { recursive: true })
  }
}

const ASKED = 'https://10.0.2.100:8443 sha256:QUFB'

t.test('the command line of the UKI names the broker while nothing was added to it', async (t) => {
  t.equal(await broker({ commandLine: `quiet ${NAMED}` }), `uki ${ASKED}`)
  t.equal(await broker({ commandLine: `${NAMED} attestbed.broker=https://10.0.2.9:1` }), 'broker-named-twice')
  t.equal(await broker({ commandLine: `${NAMED} attestbed.broker-pin=sha256:QkJC` }), 'no-pin')
  t.equal(await broker({ commandLine: 'attestbed.broker=https://10.0.2.9:1' }), 'no-pin')
  t.equal(await broker({ commandLine: 'quiet' }), 'no-broker-named')
})

t.test(
  'an addition to it counts where the firmware verified it, and nothing of it is from SMBIOS',
  async (t) => {
    const added: Guest = { commandLine: NAMED, pcr12: EXTENDED, secureBoot: 1 }
    t.equal(await broker(added), `addon ${ASKED}`)
    t.equal(await broker({ ...added, smbios: ['OEM', 'another string'] }), `addon ${ASKED}`)
    const injected = `io.systemd.stub.kernel-cmdline-extra=${NAMED}`
    t.equal(await broker({ ...added, smbios: ['OEM', injected] }), 'broker-unmeasured smbios')
    t.equal(await broker({ ...added, smbios: 'absent' }), 'broker-unmeasured no-smbios')
    const refused = 'broker-unmeasured not-signed'
    t.equal(await broker({ ...added, secureBoot: 0 }), refused)
    t.equal(await broker({ commandLine: NAMED, pcr12: EXTENDED }), refused, 'no such variable')
  },
)

t.test('an injection from SMBIOS is refused whatever PCR 12 holds', async (t) => {
  const injected = { commandLine: NAMED, smbios: [`io.systemd.stub.kernel-cmdline-extra=${NAMED}`] }
  t.equal(await broker(injected), 'broker-unmeasured smbios', 'PCR 12 as at power-on')
  t.equal(await broker({ ...injected, pcr12: 'absent' }), 'broker-unmeasured smbios')
  t.equal(await broker({ commandLine: NAMED, smbios: 'absent' }), 'broker-unmeasured no-smbios')
})

t.test(
  'a vTPM into which the firmware measures nothing shows nothing, with Secure Boot or without',
  async (t) => {
    const silent: Guest = { commandLine: NAMED, pcr4: ZERO }
    const refused = 'broker-unmeasured no-measures'
    t.equal(await broker(silent), refused)
    t.equal(await broker({ ...silent, secureBoot: 1 }), refused)
    t.equal(await broker({ ...silent, pcr12: EXTENDED, secureBoot: 1 }), refused)
    t.equal(await way({ ...silent, commandLine: 'attestbed.unlock=tpm2' }), 'way-unmeasured no-measures')
  },
)

t.test('without a vTPM no word of the command line names a broker, and init data does', async (t) => {
  const without: Guest = { commandLine: NAMED, pcr12: 'absent' }
  t.equal(await broker(without), 'broker-unmeasured no-vtpm')
  t.equal(await broker({ ...without, secureBoot: 1 }), 'broker-unmeasured no-vtpm')
  const bound = createHash('sha256').update(INIT_DATA).digest()
  t.equal(
    await broker({ commandLine: 'quiet', pcr12: 'absent', initData: INIT_DATA, bound }),
    `init-data ${ASKED}`,
  )
})

t.test('the broker gives the key, unless one measured word says that the vTPM does', async (t) => {
  t.equal(await way({ commandLine: NAMED }), 'broker')
  t.equal(await way({ commandLine: 'quiet' }), 'broker')
  t.equal(await way({ commandLine: 'quiet', pcr12: 'absent', smbios: 'absent' }), 'broker')
  const sealed: Guest = { commandLine: 'attestbed.unlock=tpm2' }
  t.equal(await way(sealed), 'tpm2')
  const kept: Guest = { commandLine: 'attestbed.unlock=sealed' }
  t.equal(await way(kept), 'sealed')
  t.equal(await way({ ...kept, pcr12: EXTENDED, secureBoot: 0 }), 'way-unmeasured not-signed')
  t.equal(await way({ ...kept, pcr12: 'absent' }), 'way-unmeasured no-vtpm')
  t.equal(await way({ ...sealed, pcr12: EXTENDED, secureBoot: 1 }), 'tpm2')
  t.equal(await way({ ...sealed, pcr12: EXTENDED, secureBoot: 0 }), 'way-unmeasured not-signed')
  t.equal(await way({ ...sealed, pcr12: 'absent' }), 'way-unmeasured no-vtpm')
  const injected = ['io.systemd.stub.kernel-cmdline-extra=attestbed.unlock=tpm2']
  t.equal(await way({ ...sealed, smbios: injected }), 'way-unmeasured smbios')
  t.equal(await way({ commandLine: 'attestbed.unlock=broker attestbed.unlock=tpm2' }), 'way-named-twice')
  t.equal(await way({ commandLine: 'attestbed.unlock=auto' }), 'bad-way')
})

t.test('what stands in the header of the disk does not choose who gives the key', async (t) => {
  const program = await readFile(join(LIBRARY, '../open-root'), 'utf8')
  t.equal(program.match(/[$]tokens/g)?.length, 1, 'it is said on the console, and not asked')
  t.notMatch(program, /^[^#]*\bunlock=/m, 'measured.sh alone sets it')
})

t.test('init data counts where the report has its digest', async (t) => {
  const digest = (algorithm: string, text: string) => createHash(algorithm).update(text).digest()
  const given: Guest = { commandLine: 'quiet', initData: INIT_DATA, bound: digest('sha256', INIT_DATA) }
  t.equal(await broker(given), `init-data ${ASKED}`)
  t.equal(await broker({ ...given, tee: 'tdx' }), `init-data ${ASKED}`, 'filled up with zeros')
  const long = INIT_DATA.replace('"sha256"', '"sha384"')
  t.equal(
    await broker({ ...given, tee: 'tdx', initData: long, bound: digest('sha384', long) }),
    `init-data ${ASKED}`,
  )
  t.equal(await broker({ ...given, bound: new Uint8Array(32) }), 'init-data-not-bound')
  const other = INIT_DATA.replace('8443', '8444')
  t.equal(await broker({ ...given, initData: other }), 'init-data-not-bound')
  for (const text of ['[x]\nalgorithm = "sha256"\n', 'algorithm = "md5"\n', 'algorithm = "sha256"\n\u00e9\n'])
    t.equal(await broker({ ...given, initData: text, bound: digest('sha256', text) }), 'init-data-not-bound')
})

t.test('an address or a pin that could be anything else is refused', async (t) => {
  const pin = 'attestbed.broker-pin=sha256:QUFB'
  for (const address of ['http://10.0.2.9:1', 'https://example.test:1', 'https://1.2.3.4;reboot', 'https://'])
    t.equal(await broker({ commandLine: `attestbed.broker=${address} ${pin}` }), 'bad-broker', address)
  for (const other of ['md5:QUFB', 'sha256:QU;FB', 'sha256:'])
    t.equal(
      await broker({ commandLine: `attestbed.broker=https://10.0.2.9:1 attestbed.broker-pin=${other}` }),
      'bad-pin',
      other,
    )
})

t.test('a root under a hash tree opens by words that nobody could add unseen', async (t) => {
  const hash = 'ab'.repeat(32)
  const options = 'systemd.verity_root_options=panic-on-corruption'
  const own: Guest = { commandLine: `quiet roothash=${hash}` }
  t.equal(await root(own), hash)
  t.equal(await root({ commandLine: `${own.commandLine} ${options}` }), `${hash} panic-on-corruption`)
  t.equal(await root({ commandLine: 'quiet' }), 'root-hash words=0')
  t.equal(await root({ commandLine: `${own.commandLine} roothash=${hash}` }), 'root-hash words=2')
  t.equal(await root({ commandLine: `${own.commandLine} ${options} ${options}` }), 'root-hash words=options')

  const lenient = `${own.commandLine} systemd.verity_root_options=ignore-corruption`
  const smbios = ['io.systemd.stub.kernel-cmdline-extra=systemd.verity_root_options=ignore-corruption']
  t.equal(await root({ commandLine: lenient, pcr12: EXTENDED }), 'words why=not-signed')
  t.equal(await root({ commandLine: lenient, pcr12: EXTENDED, secureBoot: 1 }), `${hash} ignore-corruption`)
  t.equal(await root({ commandLine: lenient, pcr12: EXTENDED, secureBoot: 1, smbios }), 'words why=smbios')
  t.equal(await root({ commandLine: lenient, smbios }), 'words why=smbios')
  t.equal(await root({ ...own, smbios: 'absent' }), 'words why=no-smbios')
})

t.test('so it does without a vTPM where QEMU brought the UKI, to which no addon can come', async (t) => {
  const hash = 'ab'.repeat(32)
  const brought: Guest = { commandLine: `roothash=${hash}`, pcr12: 'absent', loader: ['StubInfo'] }
  t.equal(await root(brought), hash)
  const smbios = ['io.systemd.stub.kernel-cmdline-extra=anything']
  t.equal(await root({ ...brought, smbios }), 'words why=smbios')
  t.equal(await root({ ...brought, smbios: 'absent' }), 'words why=no-smbios')
  const refused = 'words why=no-vtpm'
  for (const loader of [[], ['StubInfo', 'StubDevicePartUUID'], ['StubInfo', 'LoaderDevicePartUUID']])
    t.equal(await root({ ...brought, loader }), refused, loader.join())
})
