/** Files about a machine's boot that several commands take. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { digest, sha256Hex } from '../base/digest.ts'
import { UsageError } from '../base/errors.ts'
import { parseGpt } from '../formats/gpt.ts'
import type { MeasuredDocument } from '../measure/documents/document.ts'
import type { AcpiBlobs } from '../measure/tpm/acpi-events.ts'
import type { BootDevice } from '../measure/tpm/boot-entries.ts'
import { FILE_LIMITS, readMaterial, wholeNumber } from './material-files.ts'

/** Primary GPT with 128 entries, behind the protective MBR. */
const GPT_BYTES = 34 * 512
const LAST_SLOT = 31n

/** The first bytes of a raw disk, up to the end of its partition table. Throws UsageError. */
export async function diskStart(path: string): Promise<Uint8Array> {
  const handle = await open(path).catch((cause: NodeJS.ErrnoException) => {
    throw new UsageError(`cannot read --disk ${path}: ${cause.code}`, { code: 'bad-value', cause })
  })
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(GPT_BYTES), 0, GPT_BYTES, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

/** Partitions are those of the disk that is given: it is taken for the first device. */
export function devicesOf(slots: readonly string[], disk: Uint8Array | undefined): readonly BootDevice[] {
  const partitions = disk ? parseGpt(disk).partitions.map(({ guid }) => guid) : []
  return slots.map((text, index) => {
    const slot = wholeNumber(text, '--boot-slot')
    if (slot > LAST_SLOT)
      throw new UsageError(`--boot-slot is "${text}", 0 to ${LAST_SLOT} are possible`, { code: 'bad-value' })
    return { slot: Number(slot), partitions: index === 0 ? partitions : [] }
  })
}

/** From a folder with the files of QEMU's fw_cfg. */
export async function acpiOf(folder: string): Promise<AcpiBlobs> {
  const blob = (name: string) => readMaterial(join(folder, name), '--acpi', FILE_LIMITS.document)
  return { loader: await blob('table-loader'), rsdp: await blob('rsdp'), tables: await blob('tables') }
}

/** What a prediction came from, for `diff` to name: files as digests, the partition table as that of what was read. */
export function machineInputs({
  disk,
  bootSlot,
  acpi,
}: {
  readonly disk: Uint8Array | undefined
  readonly bootSlot: readonly string[] | undefined
  readonly acpi: AcpiBlobs | undefined
}): NonNullable<MeasuredDocument['inputs']> {
  return {
    ...(disk && { partitions: sha256Hex(disk) }),
    ...(bootSlot && { bootSlots: bootSlot.join() }),
    ...(acpi && { acpi: digest('sha256', acpi.loader, acpi.rsdp, acpi.tables).toString('hex') }),
  }
}
