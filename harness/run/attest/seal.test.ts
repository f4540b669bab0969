/** What the guest of images/attester does about a seal, by its own shell program; vTPM, cryptsetup and attester are stand-ins. */
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { openTools } from '../../system/tools.ts'

const LIBRARY = join(import.meta.dirname, '../../../images/attester/initrd/usr/lib/attestbed/seal.sh')
const MEASURED = join(LIBRARY, '../measured.sh')
const METADATA_BYTES = 2 * 16_384
const HEADER_BYTES = 1024 * 1024
/** What the stand-in for TPM2_PolicyPCR computes. */
const POLICY = 'AB'.repeat(32)
const WRITTEN_HERE = '0x22040008'

interface Vtpm {
  readonly attributes?: string
  readonly policy?: string
  /** The header that it remembers; absent: the one on the disk. */
  readonly remembers?: Buffer
}

interface Guest {
  /** What the vTPM has in the index; absent: there is no index. */
  readonly vtpm?: Vtpm
  readonly disk?: Buffer
  /** What cannot be done. */
  readonly fails?: 'unseal' | 'broker' | 'enrol' | 'write' | 'remember'
}

const tools = await openTools()

/** A header whose metadata says `text`. */
function header(text: string): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  bytes.write('LUKS\xba\xbe\0\x02', 0, 'latin1')
  bytes.writeBigUInt64BE(BigInt(METADATA_BYTES / 2), 8)
  bytes.write(text, 4096)
  return bytes
}

const SEALED = header('{"tokens":{"0":{"type":"systemd-tpm2"}}}')
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes.subarray(0, METADATA_BYTES))

const STAND_INS = `
exec 3>&1
say() { echo "$*"; }
attach_root() {
  case $1:$2 in
    -:*header=seal/header*tpm2-device=auto*) echo "opens by=tpm2"; [ "$FAILS" != unseal ] ;;
    seal/key:header=seal/header,*) echo "opens by=$(cat seal/key)" ;;
    *) echo "opens $1 $2"; return 1 ;;
  esac
}
tpm2() {
  case $1 in
    nvreadpublic) [ -e public ] && cat public ;;
    createpolicy) printf '%s' "$POLICY" | xxd -r -p >seal/policy ;;
    nvread) cat remembered >seal/remembered ;;
    nvwrite) echo "remembers $(hex_of seal/metadata)"; [ "$FAILS" != remember ] ;;
  esac
}
systemd-cryptenroll() {
  [ "$1" != --wipe-slot=tpm2 ] || { echo "wipes $2" >&3; return 0; }
  echo "enrols $*" | sed 's/--unlock-key-file=seal.key/with the key/' >&3
  printf '{"sealed":"anew"}' | dd of=seal/header bs=4096 seek=1 conv=notrunc 2>/dev/null
  [ "$FAILS" != enrol ]
}
ask_for_key() { printf key >seal/key; echo asks; [ "$FAILS" != broker ]; }
xxd() { busybox xxd "$@"; }
`

/** What it did, line by line, and the disk after that. */
async function open({ vtpm, disk = SEALED, fails }: Guest) {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-seal-'))
  const file = (name: string, content: string | Uint8Array) => writeFile(join(directory, name), content)
  try {
    await file('disk', disk)
    if (vtpm) {
      const { attributes = WRITTEN_HERE, policy = POLICY, remembers = disk } = vtpm
      const lines = [
        '  attributes:',
        `    value: ${attributes}`,
        '  size: 32',
        `  authorization policy: ${policy}`,
      ]
      await file('public', `0x1800a78:\n${lines.join('\n')}\n`)
      await file('remembered', sha256(remembers).digest())
    }
    const script = [
      `cd '${directory}'; . '${MEASURED}'; . '${LIBRARY}'; ${STAND_INS}`,
      `SEAL=seal HEADER_MIB=1 POLICY=${POLICY} FAILS=$1 device=${fails === 'write' ? '/nowhere/disk' : 'disk'} reason=`,
      // The disk is read, and cannot be written.
      ...(fails === 'write'
        ? [
            'dd() { case $* in *of=/nowhere*) return 1 ;; if=/nowhere*) busybox dd if=disk of=seal/header bs=1M count=1 2>/dev/null ;; *) busybox dd "$@" ;; esac; }',
          ]
        : []),
      'if open_sealed; then echo "open by=$opened_by"; else echo "closed by=$opened_by why=$reason"; fi',
      '[ ! -e seal ] || echo left',
    ].join('\n')
    const { stdout } = await tools.run('busybox', ['sh', '-c', script, 'sh', fails ?? ''])
    return { said: stdout.toString().trim().split('\n'), disk: await readFile(join(directory, 'disk')) }
  } finally {
    await rm(directory, { recursive: true })
  }
}

const ENROLS = 'enrols with the key --tpm2-device=auto --tpm2-public-key= --tpm2-pcrs=0+4+7+11+12 seal/header'
const ANEW = Buffer.from(SEALED)
ANEW.write('{"sealed":"anew"}', 4096)

t.test('what the vTPM remembers is opened by it, and nobody is asked', async (t) => {
  const { said, disk } = await open({ vtpm: {} })
  t.strictSame(said, ['seal holds', 'opens by=tpm2', 'open by=tpm2'])
  t.ok(disk.equals(SEALED))
})

t.test('what it does not remember so is opened by the broker alone, and sealed', async (t) => {
  const others: Readonly<Record<string, Guest>> = {
    'nothing-sealed': {},
    'other-header': { vtpm: { remembers: header('another') } },
    // An index that anybody may write to, and one that was never written.
    'sealed-by-others': { vtpm: { attributes: '0x2206000A' } },
    'sealed-by-others ': { vtpm: { attributes: '0x2040008' } },
    'sealed-by-others  ': { vtpm: { policy: 'CD'.repeat(32) } },
  }
  for (const [why, guest] of Object.entries(others)) {
    const { said, disk } = await open(guest)
    t.strictSame(
      said,
      [
        ...[`seal unused why=${why.trim()}`, 'asks', 'opens by=key', 'wipes seal/header', ENROLS],
        ...[`remembers ${sha256(ANEW).digest('hex')}`, 'sealed pcrs=0,4,7,11,12', 'open by=broker'],
      ],
      why,
    )
    t.ok(disk.equals(ANEW), 'what the vTPM remembers is what the disk has')
  }
})

t.test('a seal that the vTPM does not open any more leads to the broker', async (t) => {
  const { said } = await open({ vtpm: {}, fails: 'unseal' })
  t.strictSame(said.slice(0, 4), ['seal holds', 'opens by=tpm2', 'seal unused why=not-unsealed', 'asks'])
})

t.test('without the broker it stays closed, and no way is tried after that', async (t) => {
  const { said, disk } = await open({ fails: 'broker' })
  t.strictSame(said, ['seal unused why=nothing-sealed', 'asks', 'closed by=broker why=not-attested'])
  t.ok(disk.equals(SEALED))
})

t.test(
  'a header that any key would open, or that could be read in two ways, is asked no key for',
  async (t) => {
    const hidden = Buffer.from(SEALED)
    hidden.write('SKUL\xba\xbe', 0x40000, 'latin1')
    const longer = Buffer.from(SEALED)
    longer.writeBigUInt64BE(32_768n, 8)
    const second = Buffer.from(SEALED)
    second.write('"encryption":"cipher_null-ecb"', 16_384 + 4096)
    for (const [disk, why] of [
      [header('"encryption":"cipher_null-ecb"'), 'null-cipher'],
      [second, 'null-cipher'],
      [header('"encryption":"cipher\\u005fnull-ecb"'), 'null-cipher'],
      [header('"segments":{"0":{"type":"linear","offset":"16777216","size":"dynamic"}}'), 'null-cipher'],
      [header('"segments":{"0":{"type":"hw-opal","offset":"16777216"}}'), 'null-cipher'],
      [header('"requirements":{"mandatory":["online-reencrypt-v2"]}'), 'null-cipher'],
      [hidden, 'other-layout'],
      [longer, 'other-layout'],
    ] as const)
      for (const vtpm of [undefined, {}]) {
        const { said } = await open({ ...(vtpm && { vtpm }), disk })
        t.strictSame(said, [`closed by=tpm2 why=${why}`])
      }
  },
)

t.test(
  'a root that could not be sealed is open, and the vTPM remembers no seal that is not on the disk',
  async (t) => {
    for (const [fails, why] of [
      ['enrol', 'not-enrolled'],
      ['write', 'not-written'],
    ] as const) {
      const { said, disk } = await open({ fails })
      t.strictSame(said.slice(-2), [`seal failed why=${why}`, 'open by=broker'])
      t.notOk(
        said.some((line) => line.startsWith('remembers')),
        why,
      )
      t.ok(disk.equals(SEALED))
    }
    const { said } = await open({ fails: 'remember' })
    t.strictSame(said.slice(-2), ['seal failed why=not-remembered', 'open by=broker'])
  },
)
