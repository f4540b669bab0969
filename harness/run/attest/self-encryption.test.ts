/**
 * What images/attester does with a root that it is to encrypt itself: its own shell program, in the busybox of the guests,
 * with the cryptsetup of the tools tree, on files. There is no device mapper: what a mapping would read as is made by
 * decrypting a copy, and the broker is a file that says what it gives.
 */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openTools } from '../../system/tools.ts'

const INITRD = join(import.meta.dirname, '../../../images/attester/initrd/usr/lib/attestbed')
const FUNCTIONS = join(import.meta.dirname, '../../../images/initrd/functions.sh')
const MIB = 1 << 20
const KEY = 'the key of this root, as its broker has it'
const tools = await openTools()
t.setTimeout(300_000)

/** In place of what only a guest has. `broker`: what it gives for the key, and whether it has the proof. */
const STUBS = `
say() { echo "$*" >>said; }
give_up_here() { say failed "$@"; exit 1; }
find_partition() { case $1 in root) device=$PWD/root ;; *) device=$PWD/header ;; esac; }
measured_words() { [ ! -e unmeasured ]; }
usual=$(command -v cryptsetup)
cryptsetup() {
  case $1 in reencrypt) set -- "$@" --force-offline-reencrypt ;; esac
  "$usual" --disable-locks "$@"
}
ask_broker() {
  say asks "$@"
  [ ! -e denies ] || return 1
  case $2 in */key) cp the-key "$3"; [ ! -e has-proof ] || echo recorded >"$5" ;; *) echo recorded >"$3" ;; esac
}
systemd-cryptsetup() {
  header_copy=\${5#header=}; header_copy=\${header_copy%%,*}
  cp "$3" mapped && cp "$header_copy" mapped-header
  cryptsetup open --test-passphrase --key-file "$4" mapped-header || return 1
  cryptsetup reencrypt --decrypt --batch-mode --resilience none --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --header mapped-header --key-file "$4" mapped >&2
}
digest_of_file() {
  [ "$1" != /dev/mapper/root ] || set -- mapped
  sum=$(sha256sum <"$1"); echo "\${sum%% *}"
}
command_line=$1 unlock=broker after=root
`

class Disk {
  readonly directory: string
  readonly image: Buffer
  readonly digest: string

  private constructor(directory: string, image: Buffer) {
    this.directory = directory
    this.image = image
    this.digest = sha256(image)
  }

  static async make(t: Test): Promise<Disk> {
    const directory = await mkdtemp(join(tmpdir(), 'attestbed-root-'))
    t.teardown(() => rm(directory, { recursive: true }))
    const disk = new Disk(directory, Buffer.alloc(MIB, 'a word of the image\n'))
    await mkdir(disk.at('work'))
    await writeFile(disk.at('the-key'), KEY)
    await writeFile(disk.at('header'), Buffer.alloc(MIB))
    await writeFile(disk.at('root'), disk.image)
    return disk
  }

  at(name: string): string {
    return join(this.directory, name)
  }

  /** One boot: what the guest said. `script` in place of opening the root. */
  async boot(script = 'open_first_boot; say open', image = this.digest): Promise<readonly string[]> {
    await writeFile(this.at('said'), '')
    const sources = `cd '${this.directory}'; . '${FUNCTIONS}'; . '${INITRD}/measured.sh'; . '${INITRD}/first-boot.sh'`
    const words = `quiet attestbed.image=sha256:${image}`
    const all = [sources, STUBS, `WORK=$PWD/work`, script].join('\n')
    await tools.run('busybox', ['sh', '-c', all, 'sh', words]).catch(() => undefined)
    const said = (await readFile(this.at('said'), 'utf8')).trim().split('\n')
    return said.filter((line) => !line.startsWith('first-boot progress'))
  }

  /** Boots until a part of the root is encrypted, and then no more. */
  async bootAndCut(): Promise<void> {
    const partly = `
      luks_encrypt() { :; }
      (open_first_boot)
      luks_encrypt() { "$usual" reencrypt "$@" --disable-locks --force-offline-reencrypt --batch-mode --header "$header" \\
        --key-file the-key "$device"; }
      header=$PWD/header device=$PWD/root
      luks_encrypt --encrypt --init-only $LUKS_FORMAT $LUKS_AREAS --resilience checksum || exit
      "$usual" reencrypt --resume-only --disable-locks --force-offline-reencrypt --batch-mode --header "$header" \\
        --key-file the-key --hotzone-size 4k "$device" & pid=$!
      until cryptsetup luksDump header | grep -q 'length: [0-9]'; do :; done
      kill -9 $pid`
    await this.boot(partly)
  }

  async change(name: 'root' | 'header', change: (bytes: Buffer) => void): Promise<void> {
    const bytes = await readFile(this.at(name))
    change(bytes)
    await writeFile(this.at(name), bytes)
  }

  async root(): Promise<Buffer> {
    return readFile(this.at('root'))
  }

  async header(): Promise<string> {
    return sha256(await readFile(this.at('header')))
  }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const blocksInClear = (disk: Disk, root: Buffer) =>
  Array.from({ length: root.length / 4096 }, (_, index) => index * 4096).filter((at) =>
    root.subarray(at, at + 4096).equals(disk.image.subarray(at, at + 4096)),
  ).length

const asksForKey = (statement: string, disk: Disk) =>
  `asks ${statement} default/root/key ${disk.at('work/key')} default/root/receipt ${disk.at('work/proven')}`
const asksForReceipt = (statement: string, disk: Disk) =>
  `asks ${statement} default/root/receipt ${disk.at('work/proven')}`
const proofOf = async (disk: Disk) =>
  `{"digest":"${disk.digest}","header":"${await disk.header()}","state":"whole"}`

t.test(
  'a root in clear is encrypted, read back through the encryption, and said to the broker',
  async (t) => {
    const disk = await Disk.make(t)
    const said = await disk.boot()
    t.strictSame(said, [
      'first-boot state=plain',
      asksForKey(`{"digest":"${disk.digest}","state":"plain"}`, disk),
      ...['first-boot encrypting', 'first-boot encrypted', asksForReceipt(await proofOf(disk), disk)],
      ...['first-boot proven', 'open'],
    ])
    t.equal(blocksInClear(disk, await disk.root()), 0)
    await t.rejects(readFile(disk.at('work/key')), 'the key is gone')

    await writeFile(disk.at('has-proof'), '')
    // What the root's own system wrote, and what the host did to the copy that is not read: no longer the image.
    t.strictSame(await disk.boot(), [
      ...['first-boot state=whole', asksForKey(`{"header":"${await disk.header()}","state":"whole"}`, disk)],
      'open',
    ])
  },
)

t.test('an image that was changed, or that no measured word names, is not encrypted', async (t) => {
  const disk = await Disk.make(t)
  await disk.change('root', (root) => root.write('x', MIB / 2))
  const changed = sha256(await disk.root())
  t.strictSame(await disk.boot(), ['first-boot state=plain', `failed image why=altered digest=${changed}`])
  await writeFile(disk.at('unmeasured'), '')
  t.strictSame(await disk.boot(undefined, changed), ['failed image why=unmeasured'])
  t.equal(sha256(await disk.root()), changed)
  for (const word of ['', 'AB'.repeat(32), changed.slice(1)]) {
    await rm(disk.at('unmeasured'), { force: true })
    t.strictSame(await disk.boot(undefined, word), ['failed image why=no-digest'])
  }
})

t.test('without the key nothing is encrypted', async (t) => {
  const disk = await Disk.make(t)
  await writeFile(disk.at('denies'), '')
  t.equal((await disk.boot()).at(-1), 'failed key')
  t.ok((await disk.root()).equals(disk.image))
})

t.test('after a cut it goes on, and what was changed meanwhile is found at its end', async (t) => {
  const disk = await Disk.make(t)
  await disk.bootAndCut()
  const atCut = { root: await disk.root(), header: await readFile(disk.at('header')) }
  const clear = blocksInClear(disk, atCut.root)
  t.ok(clear > 0 && clear < disk.image.length / 4096, `${clear} blocks are in clear`)
  t.strictSame(await disk.boot(), [
    ...['first-boot state=partial', asksForKey('{"state":"partial"}', disk), 'first-boot encrypting'],
    ...['first-boot encrypted', asksForReceipt(await proofOf(disk), disk), 'first-boot proven', 'open'],
  ])

  await writeFile(disk.at('header'), atCut.header)
  await writeFile(disk.at('root'), atCut.root)
  await disk.change('root', (root) => root.write('x', root.length - 100))
  const said = await disk.boot()
  t.match(said.at(-1), /^failed image why=altered digest=[0-9a-f]{64}$/)
  t.equal(said.filter((line) => line.startsWith('asks')).length, 1, 'there is no proof')
  // Cut again before it was found out: a root that is wholly encrypted is held against the image as well.
  t.match((await disk.boot()).at(-1), /^failed image why=altered/)
})

t.test('a header by somebody else, which encrypts nothing or opens with any key, is not used', async (t) => {
  const disk = await Disk.make(t)
  const format = (cipher: string) => `
    "$usual" luksFormat --disable-locks --batch-mode --type luks2 --cipher ${cipher} --key-size 256 --offset 0 \\
      --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --luks2-metadata-size 16k --luks2-keyslots-size 512k \\
      --header header --key-file the-key root`
  await disk.boot(format('cipher_null-ecb'))
  t.equal((await disk.boot()).at(-1), 'failed header why=foreign')
  await writeFile(disk.at('header'), Buffer.alloc(MIB))
  await disk.boot(format('aes-cbc-essiv:sha256'))
  t.equal((await disk.boot()).at(-1), 'failed header why=foreign')
})
