/**
 * What QEMU does to a kernel on its way to the firmware of a TD: x86_load_linux in its hw/i386/x86-common.c. As a boot
 * loader it fills in fields of the setup header (Linux, Documentation/arch/x86/boot.rst), and OVMF measures what it
 * gets. Since 10.2 it leaves the kernel of every confidential guest alone, as it long did for SEV. 10.0 and 10.1 offer
 * the untouched file beside the other, as `etc/boot/kernel`, which OVMF takes where it knows of it (edk2 2025.02).
 */
import { UsageError } from '../../base/errors.ts'
import { lowMemory } from './td-hob.ts'

/** Major and minor version of QEMU. */
export type QemuVersion = readonly [major: number, minor: number]

const UNTOUCHED_SINCE: QemuVersion = [10, 2]
const OFFERS_UNTOUCHED_SINCE: QemuVersion = [10, 0]

/** Prefix of the files that newer firmware looks for; it stands in the driver that loads the kernel. */
const NAMED_FILES = Buffer.from('etc/boot/')

/** Whether a QEMU hands the kernel over with a header of its own making. `volumes`: the firmware's, decompressed. */
export function rewritesSetupHeader(qemu: QemuVersion, volumes: readonly Uint8Array[]): boolean {
  if (isSince(qemu, UNTOUCHED_SINCE)) return false
  const finds = volumes.some((volume) =>
    Buffer.from(volume.buffer, volume.byteOffset, volume.length).includes(NAMED_FILES),
  )
  return !(finds && isSince(qemu, OFFERS_UNTOUCHED_SINCE))
}

function isSince([major, minor]: QemuVersion, [sinceMajor, sinceMinor]: QemuVersion): boolean {
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)
}

/** Offsets in the file. */
const FIELD = {
  commandLineMagic: 0x20,
  videoMode: 0x1fa,
  magic: 0x202,
  version: 0x206,
  loaderType: 0x210,
  loadFlags: 0x211,
  initrdAddress: 0x218,
  initrdSize: 0x21c,
  heapEnd: 0x224,
  commandLine: 0x228,
  initrdMax: 0x22c,
  extendedLoadFlags: 0x236,
} as const

const MAGIC = 0x5372_6448
const QEMU_LOADER = 0xb0
const LOADED_HIGH = 0x01
const CAN_USE_HEAP = 0x80
const ABOVE_4G = 0x02
/** What QEMU keeps free below the end of low memory for ACPI tables. */
const ACPI_BYTES = 0x2_8000
const OLD_INITRD_MAX = 0x37ff_ffff
/** The last field that is written or read ends here. */
const HEADER_BYTES = 0x238

export interface LoadedKernel {
  readonly kernel: Uint8Array
  readonly initrd?: Uint8Array
  readonly commandLine: string
  /** Of the guest, in bytes; decides where the initrd would lie. Undefined: not known. */
  readonly memory?: number
}

/**
 * The kernel as QEMU before 10.2 hands it over; undefined where it has an initrd and the memory is not given. A file
 * without a setup header (a UKI) stays as it is. Throws UsageError where QEMU refuses: `vga=` with no number, or an
 * initrd larger than the memory.
 */
export function rewrittenKernel({
  kernel,
  initrd,
  commandLine,
  memory,
}: LoadedKernel): Uint8Array | undefined {
  if (kernel.length < HEADER_BYTES) return kernel
  const header = Buffer.from(kernel.subarray(0, HEADER_BYTES))
  if (header.readUInt32LE(FIELD.magic) !== MAGIC) return kernel
  const version = header.readUInt16LE(FIELD.version)
  if (version === 0) return kernel
  if (initrd && memory === undefined) return undefined
  const places = placesOf(header, version, commandLine)
  writeCommandLine(header, version, places)
  const mode = videoMode(commandLine)
  if (mode !== undefined) header.writeUInt16LE(mode, FIELD.videoMode)
  if (version >= 0x200) header.writeUInt8(QEMU_LOADER, FIELD.loaderType)
  if (version >= 0x201) {
    header.writeUInt8(header.readUInt8(FIELD.loadFlags) | CAN_USE_HEAP, FIELD.loadFlags)
    header.writeUInt16LE(places.commandLine - places.setup - 0x200, FIELD.heapEnd)
  }
  if (initrd && memory !== undefined) writeInitrd(header, { version, size: initrd.length, memory })
  return Buffer.concat([header, kernel.subarray(HEADER_BYTES)])
}

interface Places {
  readonly setup: number
  readonly commandLine: number
}

/** Where QEMU would put setup code and command line in low memory. */
function placesOf(header: Buffer, version: number, text: string): Places {
  const isHigh = version >= 0x200 && (header.readUInt8(FIELD.loadFlags) & LOADED_HIGH) !== 0
  if (isHigh && version >= 0x202) return { setup: 0x1_0000, commandLine: 0x2_0000 }
  return { setup: 0x9_0000, commandLine: 0x9_a000 - ((Buffer.byteLength(text) + 16) & ~15) }
}

function writeCommandLine(header: Buffer, version: number, { setup, commandLine }: Places): void {
  if (version >= 0x202) {
    header.writeUInt32LE(commandLine, FIELD.commandLine)
    return
  }
  header.writeUInt16LE(0xa33f, FIELD.commandLineMagic)
  header.writeUInt16LE(commandLine - setup, FIELD.commandLineMagic + 2)
}

const VIDEO_MODES = [
  ['normal', 0xffff],
  ['ext', 0xfffe],
  ['ask', 0xfffd],
] as const

/** Of the first `vga=`, wherever it stands: a word that begins so, or a number up to a blank. */
function videoMode(commandLine: string): number | undefined {
  const at = commandLine.indexOf('vga=')
  if (at < 0) return undefined
  const value = commandLine.slice(at + 4)
  const named = VIDEO_MODES.find(([name]) => value.startsWith(name))
  if (named) return named[1]
  const [digits = ''] = value.split(' ')
  // As strtoul reads it: octal after a zero.
  const number = /^0[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number(digits)
  if (/^(0x[0-9a-f]{1,8}|[0-9]{1,10})$/i.test(digits) && Number.isInteger(number)) return number & 0xffff
  throw new UsageError(`cannot predict the kernel: QEMU refuses "vga=${digits}" on its command line`, {
    code: 'bad-value',
  })
}

function writeInitrd(
  header: Buffer,
  { version, size, memory }: { readonly version: number; readonly size: number; readonly memory: number },
): void {
  const highest = Math.min(initrdMax(header, version), lowMemory(memory) - ACPI_BYTES - 1)
  if (size >= highest)
    throw new UsageError(
      `cannot predict the kernel: QEMU refuses an initrd of ${size} bytes, at most ${highest - 1} fit in the memory`,
      { code: 'bad-value', hint: 'give the TD more memory' },
    )
  const address = highest - size
  header.writeUInt32LE(address - (address % 0x1000), FIELD.initrdAddress)
  header.writeUInt32LE(size, FIELD.initrdSize)
}

function initrdMax(header: Buffer, version: number): number {
  if (version >= 0x20c && (header.readUInt16LE(FIELD.extendedLoadFlags) & ABOVE_4G) !== 0) return 0xffff_ffff
  return version >= 0x203 ? header.readUInt32LE(FIELD.initrdMax) : OLD_INITRD_MAX
}
