/**
 * Fields and values as QEMU 10.0.13 and 11.1 wrote them for an ordinary guest of q35, read back through fw_cfg (ports 0x510
 * and 0x511, item 0x18) for a cloud kernel of 7.2 and an initrd of 777000 bytes.
 */
import t from 'tap'
import { UsageError } from '../../base/errors.ts'
import { rewritesSetupHeader, rewrittenKernel } from './setup-header.ts'

const MIB = 2 ** 20
const initrd = Buffer.alloc(777_000)

/** A setup header with the fields of that kernel, in front of a program. */
function kernel({ version = 0x20f, loadFlags = 1, extended = 0x7f } = {}): Buffer {
  const file = Buffer.alloc(0x1000, 0xee)
  file.writeUInt8(39, 0x1f1)
  file.writeUInt16LE(0xffff, 0x1fa)
  file.write('HdrS', 0x202, 'latin1')
  file.writeUInt16LE(version, 0x206)
  file.writeUInt8(0, 0x210)
  file.writeUInt8(loadFlags, 0x211)
  file.writeUInt32LE(0, 0x218)
  file.writeUInt32LE(0, 0x21c)
  file.writeUInt16LE(0x5c20, 0x224)
  file.writeUInt32LE(0, 0x228)
  file.writeUInt32LE(0x7fff_ffff, 0x22c)
  file.writeUInt16LE(extended, 0x236)
  return file
}

/** Offset, old and new of every byte that differs, in hexadecimal. */
function changes(before: Buffer, after: Uint8Array | undefined): readonly string[] {
  return [...(after ?? [])].flatMap((byte, at) =>
    byte === before[at] ? [] : `${at.toString(16)}: ${byte.toString(16)}`,
  )
}

const LOADER = ['210: b0', '211: 81']
const REST = ['21c: 28', '21d: db', '21e: b', '224: 0', '225: fe', '22a: 2']

t.test('the fields that a boot loader fills in are those that QEMU fills in', async (t) => {
  const file = kernel()
  const rewritten = (commandLine: string, memory?: number) =>
    changes(file, rewrittenKernel({ kernel: file, initrd, commandLine, ...(memory && { memory }) }))
  t.same(rewritten('quiet vga=791', 512 * MIB), [
    ...['1fa: 17', '1fb: 3', ...LOADER, '219: a0', '21a: f1', '21b: 1f'],
    ...REST,
  ])
  t.same(rewritten('quiet', 4096 * MIB), [...LOADER, '219: a0', '21a: f1', '21b: 7f', ...REST])
  t.same(rewritten('vga=ask x', 3072 * MIB), ['1fa: fd', ...LOADER, '219: a0', '21a: f1', '21b: 7f', ...REST])
  const alone = rewrittenKernel({ kernel: file, commandLine: 'quiet' })
  t.same(changes(file, alone), [...LOADER, '224: 0', '225: fe', '22a: 2'], 'no memory is needed')
})

t.test('the place of the initrd comes from the memory, and is not known without', async (t) => {
  const file = kernel()
  t.equal(rewrittenKernel({ kernel: file, initrd, commandLine: '' }), undefined)
  const place = (memory: number, header = file) =>
    Buffer.from(
      rewrittenKernel({ kernel: header, initrd, commandLine: '', memory }) ?? Buffer.alloc(0x238),
    ).readUInt32LE(0x218)
  t.not(place(512 * MIB), place(768 * MIB))
  t.equal(place(2048 * MIB), place(4096 * MIB), 'more than 2.75 GiB leaves 2 GiB below the hole')
  t.equal(place(2560 * MIB, kernel({ extended: 0 })), (0x7fff_ffff - 777_000) & ~0xfff, 'initrd_addr_max')
  t.throws(() => place(0x2_8000 + 777_000), { name: UsageError.name, message: /refuses an initrd of 777000/ })
})

t.test('what has no setup header stays as it is, and a kernel that is cut off', async (t) => {
  const commandLine = ''
  for (const file of [Buffer.alloc(0x1000), kernel().subarray(0, 0x237), Buffer.alloc(0)])
    t.equal(rewrittenKernel({ kernel: file, commandLine }), file)
  const old = kernel({ version: 0x201, loadFlags: 0 })
  const rewritten = changes(old, rewrittenKernel({ kernel: old, commandLine: 'quiet' }))
  t.same(rewritten, ['20: 3f', '21: a3', '22: f0', '23: 9f', '210: b0', '211: 80', '224: f0', '225: 9d'])
})

t.test('a video mode that QEMU refuses is refused', async (t) => {
  for (const commandLine of ['vga=', 'vga=mode', 'vga=12x', 'vga=99999999999'])
    t.throws(() => rewrittenKernel({ kernel: kernel(), commandLine }), { message: /QEMU refuses "vga=/ })
})

t.test(
  'who rewrites: QEMU before 10.2, but for firmware that takes the untouched file of 10.0 on',
  async (t) => {
    const [older, newer] = [[Buffer.from('driver')], [Buffer.alloc(9), Buffer.from('..etc/boot/\0..')]]
    const at = (volumes: readonly Uint8Array[]) =>
      (
        [
          [9, 1],
          [10, 0],
          [10, 1],
          [10, 2],
          [11, 1],
        ] as const
      ).map((qemu) => rewritesSetupHeader(qemu, volumes))
    t.same(at(older), [true, true, true, false, false])
    t.same(at(newer), [true, false, false, false, false])
  },
)
