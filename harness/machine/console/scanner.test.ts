import fc from 'fast-check'
import t from 'tap'
import { UsageError } from '../../base/errors.ts'
import { ConsoleText, MOST_EXTRA_BYTES } from './clean.ts'
import { FAILURE_PATTERNS } from './failure-patterns.ts'
import { requiredLiterals } from './literals.ts'
import { NeedleSearch } from './needle-search.ts'
import { type CompiledPattern, compilePattern, type Pattern } from './patterns.ts'
import { Scanner } from './scanner.ts'
import { Wait } from './wait.ts'
import { LINE_REACH, TextWindow } from './window.ts'

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const edges = [...new Set([0, ...at.map((edge) => edge % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  )
  return edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge))
}

function plain(chunks: readonly Uint8Array[]): string {
  const text = new ConsoleText()
  const target = Buffer.alloc(chunks.reduce((sum, chunk) => sum + chunk.length, 0) + MOST_EXTRA_BYTES)
  let length = 0
  for (const chunk of chunks) length += text.write(chunk, target, length)
  return target.toString('latin1', 0, length)
}

/** Everything the patterns match one after the other, as "index:start-end". */
function matches(
  chunks: readonly Buffer[],
  patterns: readonly CompiledPattern[],
  options = { settle: true },
): string[] {
  const scanner = new Scanner({ windowBytes: 1 })
  const found: string[] = []
  const arm = (from: number): void => {
    const wait = new Wait({
      window: scanner.window,
      patterns,
      from,
      onFound: ({ index, start, end }) => {
        found.push(`${index}:${start}-${end}`)
        scanner.remove(wait)
        if (found.length < 200) arm(Math.max(end, from + 1))
      },
    })
    scanner.add(wait)
  }
  arm(0)
  for (const chunk of chunks) scanner.push(chunk)
  if (options.settle) scanner.settle()
  return found
}

/** Pieces of console output, harmless and hostile, from which streams are put together. */
const PIECES = [
  'debian login: ',
  'Password:',
  'Last login: Mon\r\n',
  '[   12.345678] Kernel panic - not syncing: VFS\r\n',
  '\r\n',
  '\n',
  '\r',
  'root@debian:~# ',
  'ok 1\n',
  '\0\0',
  '\x1b[0;32mOK\x1b[0m',
  '\x1b]3008;start=abc;machineid=def\x1b\\',
  '\x1b]0;title\x07',
  '\x1b[2J\x1b[01;01H',
  '\x1b]unterminated',
  '\x1b',
  '\x1b[',
  '\x1bP',
  'grüße 日本\n',
  'state=17 ',
  'VALUE',
  'value',
  'aab',
  'ab',
]
const piece = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...PIECES).map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)) },
)
const stream = fc.array(piece, { maxLength: 40 }).map((pieces) => Buffer.concat(pieces))
const cuts = fc.array(fc.nat(), { maxLength: 60 })

const PATTERNS: readonly Pattern[] = [
  /login: $/,
  'Password:',
  /Kernel panic - not syncing: (\w+)/,
  /[#$] $/,
  /state=(\d+)/,
  /^value$/i,
  'aab',
  'OK\n',
  /grüße (\S+)/,
]

t.test('the plain text', async (t) => {
  const samples: readonly (readonly [string, string, string])[] = [
    ['colours', 'a\x1b[1;31mb\x1b[0mc', 'abc'],
    ["systemd's OSC 3008", 'x\x1b]3008;start=1;user=root\x1b\\y', 'xy'],
    ['OSC ended by BEL', 'x\x1b]0;title\x07y', 'xy'],
    ['line ends of a terminal', 'a\r\nb\r\r\nc\n', 'a\nb\nc\n'],
    ['a bare CR is a new line', '10%\r20%\r\n', '10%\n20%\n'],
    ['NULs and other controls', 'lo\0g\x08i\x7fn\x07', 'login'],
    ['firmware moves the cursor', 'one\x1b[05;01Htwo', 'one\ntwo'],
    ['charset and keypad sequences', '\x1b(B\x1b>\x1b=ok', 'ok'],
    [
      'an unfinished OSC becomes text',
      'a\x1b]3008;x[ 1.0] Kernel panic\r\nb',
      'a3008;x[ 1.0] Kernel panic\nb',
    ],
    ['an unfinished CSI becomes text', 'a\x1b[12;\nb', 'a12;\nb'],
    ['a cancelled sequence is dropped', 'a\x1b[12\x18b', 'ab'],
    ['an OSC broken by another sequence', 'a\x1b]title\x1b[0mb', 'atitleb'],
    ['UTF-8 stays', 'é日', Buffer.from('é日').toString('latin1')],
  ]
  for (const [title, input, expected] of samples) t.equal(plain([Buffer.from(input)]), expected, title)

  const endless = Buffer.from(`a\x1b]${'x'.repeat(100_000)}`)
  t.ok(plain([endless]).length > 90_000, 'an endless OSC does not swallow the console')

  fc.assert(
    fc.property(stream, cuts, (bytes, edges) => plain(cut(bytes, edges)) === plain([bytes])),
    { numRuns: 500 },
  )
  t.pass('does not depend on where the stream was cut')
  fc.assert(
    fc.property(stream, (bytes) => plain([...bytes].map((byte) => Buffer.from([byte]))) === plain([bytes])),
  )
  t.pass('not even when every byte comes alone')
})

t.test('matches', async (t) => {
  const compiled = PATTERNS.map(compilePattern)

  fc.assert(
    fc.property(stream, cuts, (bytes, edges) => {
      const whole = matches([bytes], compiled).join()
      const single = [...bytes].map((byte) => Buffer.from([byte]))
      return (
        matches(cut(bytes, edges), compiled).join() === whole && matches(single, compiled).join() === whole
      )
    }),
    { numRuns: 400 },
  )
  t.pass('do not depend on where the stream was cut')

  const slow = compiled.map((pattern) => (pattern.regexp ? { ...pattern, needles: [] } : pattern))
  fc.assert(
    fc.property(stream, cuts, (bytes, edges) => {
      return matches(cut(bytes, edges), compiled).join() === matches([bytes], slow).join()
    }),
    { numRuns: 400 },
  )
  t.pass('are those of trying every expression on every line')

  const order = (text: string, ...patterns: Pattern[]): string[] =>
    matches([Buffer.from(text)], patterns.map(compilePattern), { settle: false })
  t.same(order('b a\n', /a/, /b/), ['1:0-1', '0:2-3'], 'leftmost on a line first')
  t.same(order('ab ab\n', /ab$/, 'ab'), ['1:0-2', '1:3-5'], 'a string is decided before its line ends')
  t.same(order('login: ', /login: $/), [], 'an expression waits for the end of the line')
  t.same(order('x\nlogin: \n', /^login: $/), ['0:2-9'], 'anchors are those of the line')
  t.same(
    order('xlogin\n', 'x', /^login/),
    ['0:0-1'],
    'text before the start of a search keeps ^ from matching',
  )
  t.same(order('a\nb\n', 'a\r\nb'), ['0:0-3'], 'a string may hold line ends')
})

t.test('lines without an end', async (t) => {
  const long = Buffer.from(`${'x'.repeat(LINE_REACH * 5)}needle=42${'y'.repeat(LINE_REACH * 3)}`)
  const start = LINE_REACH * 5
  const expected = [`0:${start}-${start + 9}`]
  const edges = [LINE_REACH * 5 + 4, 70_000, 12_345]
  for (const patterns of [[/needle=(\d+)/], [/n.{5}=(\d+)/], ['needle=42']]) {
    const compiled = patterns.map((pattern) => compilePattern(pattern))
    t.same(matches([long], compiled), expected, `${patterns[0]} in one chunk`)
    t.same(matches(cut(long, edges), compiled), expected, `${patterns[0]} in several`)
  }
  // The first hit decides how far the line is looked at; a later one lies across that end.
  const across = Buffer.from(`needle=x${'y'.repeat(LINE_REACH - 8)}needle=42${'z'.repeat(LINE_REACH * 2)}`)
  t.same(matches([across], [compilePattern(/needle=(\d+)/)]), [`0:${LINE_REACH}-${LINE_REACH + 9}`])
  // Literals without end must not make every one of them look at the same text again.
  const hostile = Buffer.alloc(4 << 20, 'needle=')
  const before = process.cpuUsage()
  t.same(matches([hostile], [compilePattern(/needle=\d/)]), [])
  const { user } = process.cpuUsage(before)
  t.ok(user < 2_000_000, `4 MiB of false hits took ${user / 1000} ms of CPU`)
})

t.test('the window drops old text and keeps offsets', async (t) => {
  const window = new TextWindow(100)
  for (let i = 0; i < 50; i++) {
    const at = window.reserve(10)
    window.buffer.write(`line ${String(i).padStart(4, '0')}\n`, at, 'latin1')
    window.commit(10)
  }
  t.equal(window.end, 500)
  t.ok(window.start >= 300 && window.start <= 400)
  t.equal(window.bytes({ start: 490, end: 499 }).toString(), 'line 0049')
  t.equal(window.lineStart(495), 490)
  t.equal(window.lineEnd(492), 499)
  t.equal(window.bytes({ start: 0, end: 10 }).length, 0, 'what is gone reads as nothing')
})

t.test('the search for needles finds what indexOf finds', async () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 6 })
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'A', 'C', '!'), maxLength: 60 })
  const words = fc.tuple(fc.uniqueArray(word, { minLength: 1, maxLength: 6 }), fc.integer({ min: 1, max: 5 }))
  fc.assert(
    fc.property(words, text, fc.nat(60), ([all, shortest], haystack, split) => {
      const needles = all.filter((one) => one.length >= shortest)
      if (needles.length === 0) return true
      const search = new NeedleSearch(needles.map((one) => Buffer.from(one)))
      const bytes = Buffer.from(haystack)
      const got: string[] = []
      const note = (needle: number, end: number): void => void got.push(`${needles[needle]}@${end}`)
      const from = search.scan(bytes, { from: 0, to: Math.min(split, bytes.length), lowest: 0 }, note)
      search.scan(bytes, { from, to: bytes.length, lowest: 0 }, note)
      const wanted: string[] = []
      const folded = haystack.toLowerCase()
      for (const one of needles) {
        for (let at = folded.indexOf(one); at >= 0; at = folded.indexOf(one, at + 1)) {
          wanted.push(`${one}@${at + one.length}`)
        }
      }
      return got.sort().join() === wanted.sort().join()
    }),
    { numRuns: 2000 },
  )
})

t.test('requiredLiterals', async (t) => {
  const samples: readonly (readonly [RegExp, readonly string[] | undefined])[] = [
    [/login: $/, ['login: ']],
    [/Kernel panic - not syncing: (.*)/, ['Kernel panic - not syncing: ']],
    [/(?:foo|barbaz)\d+/, ['foo', 'barbaz']],
    [/foo|[a-z]+/, undefined],
    [/[#$] $/, undefined],
    [/ab?c/, undefined],
    [/abc*de/, ['ab']],
    [/(abc)?defg/, ['defg']],
    [/(?:abc){2}x/, ['abc']],
    [/(?:abc){0,2}xy/, ['xy']],
    [/(?!nothing)some/, ['some']],
    [/(?<!Last )login:/, ['login:']],
    [/(?<name>value)=/, ['value']],
    [/\$\(x\)/, ['$(x)']],
    [/\u{1f600}smile/u, ['smile']],
    [/Straße/i, ['Stra']],
    [/kelvin/iu, undefined],
    [/a{2}bc/, ['bc']],
    [/\d\d/, undefined],
    [/x\/y/, ['x/y']],
    [/[\]x]literal/, ['literal']],
    [/\x41bc\cJdef/, ['def']],
  ]
  for (const [regexp, expected] of samples) t.same(requiredLiterals(regexp), expected, String(regexp))
})

t.test('patterns that could never match, or always would, are refused', async (t) => {
  t.throws(() => compilePattern(/a\nb/), UsageError)
  t.throws(() => compilePattern(/a[\n\r]b/), UsageError)
  t.throws(() => compilePattern(''), UsageError)
  t.doesNotThrow(() => compilePattern(/a[^\n]b\\n/))
})

/** Real wording, with what stands around it on a console. */
const FAILURE_SAMPLES: Readonly<Record<string, readonly string[]>> = {
  'kernel-panic': [
    '[    4.123456] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n',
    '<0>[    9.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n',
  ],
  'kernel-oops': [
    '[   10.1] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI\r\n',
    '[   10.1] general protection fault: 0000 [#1] SMP PTI\r\n',
    '[   10.1] Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP\r\n',
    '[   10.1] invalid opcode: 0000 [#1] SMP\r\n',
  ],
  'kernel-bug': ['[    2.0] kernel BUG at fs/ext4/inode.c:1234!\r\n'],
  'kernel-bad-access': [
    '[   10.0] BUG: kernel NULL pointer dereference, address: 0000000000000008\r\n',
    '[   10.0] BUG: unable to handle page fault for address: ffffdead\r\n',
  ],
  'dracut-emergency-shell': [
    'Entering emergency mode. Exit the shell to continue.\r\n',
    '[  184.062855] dracut-initqueue[218]: Warning: Could not boot.\r\n',
  ],
  'dracut-prompt': ['dracut:/# ', 'switch_root:/# '],
  'systemd-emergency-mode': [
    'You are in emergency mode. After logging in, type "journalctl -xb" to view\r\n',
    '[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39memergency.target\x1b[0m - Emergency Mode.\r\n',
  ],
  'maintenance-prompt': [
    'Give root password for maintenance\r\n',
    'Press Enter for system maintenance\r\n',
    'Press Enter for maintenance\r\n',
  ],
  'console-locked': ['Cannot open access to console, the root account is locked.\r\n'],
  'initramfs-dropped-to-shell': ['ALERT!  UUID=abc does not exist.  Dropping to a shell!\r\n'],
  'initramfs-prompt': ['(initramfs) '],
  'grub-rescue': ['grub rescue> ', 'grub> '],
  'systemd-freeze': [
    '[    3.3] systemd[1]: Freezing execution.\r\n',
    '[\x1b[0;1;31m!!!!!!\x1b[0m] Failed to mount API filesystems.\r\n',
  ],
  'firmware-refused-image': [
    'BdsDxe: failed to load Boot0001 "UEFI QEMU HARDDISK QM00001 " from PciRoot(0x0)/Pci(0x2,0x0)/Sata(0x0,0xFFFF,0x0): Access Denied\r\n',
    'BdsDxe: failed to start Boot0002 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0): Security Violation\r\n',
  ],
  'shim-refused-image': ['Verification failed: (0x1A) Security Violation\r\n'],
  'loader-refused-image': [
    'Error loading \\EFI\\Linux\\lab.efi: Access denied\r\n',
    'Error preparing initrd: Security violation\r\n',
  ],
  'nothing-to-boot': ['BdsDxe: No bootable option or device was found.\r\n'],
  'uefi-shell': ['UEFI Interactive Shell v2.2\r\n', 'Shell> '],
  'firmware-exception': [
    '!!!! X64 Exception Type - 0D(#GP - General Protection)  CPU Apic ID - 00000000 !!!!\r\n',
  ],
  'kvm-internal-error': ['KVM internal error. Suberror: 1\r\n'],
}

/** Lines of healthy guests that are nearly failures. */
const HARMLESS = [
  'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0): Not Found\r\n',
  'watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [swapper/0:1]\r\n',
  '[    0.1] Kernel command line: root=LABEL=root panic=3 oops=panic\r\n',
  '[  OK  ] Stopped target emergency.target - something else.\r\n',
  '[    1.0] pci 0000:00:1f.0: [8086:2918] type 00 class 0x060100\r\n',
  'TPM policy does not match current system state. Either system has been tampered with or policy out-of-date\r\n',
  'echo (initramfs) is fine\r\n',
  'audit: type=1400 avc:  Access denied by policy\r\n',
]

t.test('failure patterns', async (t) => {
  const compiled = FAILURE_PATTERNS.map(compilePattern)
  const nameOf = (found: string | undefined): string | undefined =>
    FAILURE_PATTERNS[Number.parseInt(found ?? '', 10)]?.name
  for (const { name } of FAILURE_PATTERNS) {
    const samples = FAILURE_SAMPLES[name] ?? []
    t.ok(samples.length > 0, `${name} has a sample`)
    for (const sample of samples) {
      const found = matches([Buffer.from(`[    1.0] before\r\n${sample}`)], compiled)
      t.equal(nameOf(found[0]), name, sample.trim())
    }
  }
  t.same(matches([Buffer.from(HARMLESS.join(''))], compiled), [], 'lines of healthy guests are none')
  const slow = compiled.filter(({ needles }) => needles.length === 0 || needles.some((one) => one.length < 6))
  t.same(slow, [], 'each has literal text of six bytes or more, so that the console stays fast')
})
