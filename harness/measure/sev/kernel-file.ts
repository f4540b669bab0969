/** Whether QEMU takes a file for `-kernel` and hashes it: x86_load_linux in its hw/i386/x86-common.c. */
import { ByteView } from '../../formats/byte-view.ts'
import { parsePeSections } from '../../formats/pe.ts'

/** setup_sects, in sectors of 512 bytes, the boot sector not counted; 0 stands for 4 (Linux, arch/x86/boot.rst). */
const SETUP_SECTORS_AT = 0x1f1
const SECTOR_BYTES = 512
const OLD_SETUP_SECTORS = 4
const ELF_MAGIC = Buffer.from('\x7fELF', 'latin1')

/**
 * `other`: QEMU hashes the file like any, and OVMF will not start it. Throws FormatError for a file that QEMU refuses, for
 * one that begins as a PE image and is malformed (it was cut off), and for ELF, which QEMU loads without hashes.
 */
export function checkKernel(kernel: Uint8Array): 'pe' | 'other' {
  const view = new ByteView(kernel, 'kernel')
  const bytes = Buffer.from(kernel.buffer, kernel.byteOffset, kernel.length)
  if (bytes.subarray(0, 4).equals(ELF_MAGIC))
    throw view.error(
      'is that of ELF, a PE image (EFI stub or UKI) is required: QEMU hashes no other kernel',
      {
        ...{ code: 'bad-magic', field: 'magic', offset: 0 },
      },
    )
  const isPe = bytes.toString('latin1', 0, 2) === 'MZ'
  if (isPe) parsePeSections(kernel)
  const sectors = (bytes[SETUP_SECTORS_AT] ?? 0) || OLD_SETUP_SECTORS
  const setupBytes = (sectors + 1) * SECTOR_BYTES
  if (setupBytes > kernel.length)
    throw view.error(
      `asks for ${setupBytes} bytes of setup code, the file has ${kernel.length}; ${isPe ? 'QEMU' : 'it is no PE image, and QEMU'} refuses it`,
      { code: 'truncated', field: 'setup_sects', offset: SETUP_SECTORS_AT },
    )
  return isPe ? 'pe' : 'other'
}
