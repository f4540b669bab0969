/** Firmware volumes made byte by byte from the specification: UEFI PI 1.8, volume 3, chapter 3.2. */
import { guidBytes } from '../guid.ts'

const VOLUME_BYTES = 0x1000
const HEADER_BYTES = 72
const FFS2 = '8c8ce578-8a3d-4f1c-9935-896185c32dd3'
const LZMA = 'ee4e5898-3914-4259-9d6e-dc7bd79403cf'
const DRIVER = 7
const VOLUME_IMAGE_FILE = 11

/** A section with `volume([{ guid: '11111111-2222-3333-4444-555555555555', text: 'program' }])`, by liblzma. */
const COMPRESSED_SECTION = Buffer.from(
  '5d0000010004100000000000000002048222ab6264be4de3a4088df822a1ec72a763d885f1b3aca93db2f8b6a74a1790230a055c47447df65ea3' +
    'ed5284e935c40cacc626a002c4c183e7b93c0afd0ac6f0782a13c889e78c913cd1e5e23a174f5bdd106d8891dcee5ffcd92b40',
  'hex',
)

export interface SyntheticFile {
  readonly guid: string
  /** Content of its one section, a PE32 one. */
  readonly text: string | Uint8Array
}

/** 4 KiB with a driver for each of `files`. */
export function volume(files: readonly SyntheticFile[]): Buffer {
  return volumeOf(files.map(({ guid, text }) => file(guid, DRIVER, section(0x10, Buffer.from(text)))))
}

/** Flash with one volume whose one file holds another volume, compressed. */
export function compressedFirmware(): Buffer {
  const fixed = Buffer.concat([Buffer.alloc(4), guidBytes(LZMA), Buffer.from([24, 0, 1, 0])])
  const guided = Buffer.concat([fixed, COMPRESSED_SECTION])
  guided.writeUIntLE(guided.length, 0, 3)
  guided[3] = 0x02
  return volumeOf([file('99999999-8888-7777-6666-555555555555', VOLUME_IMAGE_FILE, guided)])
}

function volumeOf(files: readonly Buffer[]): Buffer {
  const bytes = Buffer.alloc(VOLUME_BYTES, 0xff)
  bytes.fill(0, 0, HEADER_BYTES)
  bytes.set(guidBytes(FFS2), 16)
  bytes.writeBigUInt64LE(BigInt(VOLUME_BYTES), 32)
  bytes.write('_FVH', 40)
  bytes.writeUInt16LE(HEADER_BYTES, 48)
  let at = HEADER_BYTES
  for (const each of files) {
    bytes.set(each, at)
    at = Math.ceil((at + each.length) / 8) * 8
  }
  return bytes
}

function file(guid: string, type: number, content: Buffer): Buffer {
  const header = Buffer.alloc(24)
  header.set(guidBytes(guid))
  header[18] = type
  header.writeUIntLE(24 + content.length, 20, 3)
  header[23] = 0xf8
  return Buffer.concat([header, content])
}

function section(type: number, content: Buffer): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntLE(4 + content.length, 0, 3)
  header[3] = type
  return Buffer.concat([header, content])
}
