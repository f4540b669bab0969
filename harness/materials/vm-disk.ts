/** The disk of one VM: an overlay over what is shared, with the VM's own LUKS header. Takes well under a second. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { MaterialError } from '../base/errors.ts'
import { type BootDisk, createOverlay, type EspFiles, ensureBootDisk, writeRegion } from './boot-disk.ts'
import type { MaterialContext } from './context.ts'
import type { BaseDisk } from './disk.ts'
import { type Enrolment, editHeader } from './luks.ts'

export interface VmDiskRequest {
  readonly base: BaseDisk
  /** What lies on the ESP. */
  readonly files: EspFiles
  /** Private directory of the VM; the disk is made in it. */
  readonly directory: string
  /** Keys of the encrypted root; absent: the build's own key only, which nobody knows. */
  readonly enrol?: Enrolment
  /** File name without extension; default `disk`. */
  readonly name?: string
}

export interface VmDisk {
  readonly file: string
  readonly format: 'qcow2'
  /** What it is an overlay of; undefined for a brought disk. */
  readonly boot: BootDisk
}

export async function prepareDisk(context: MaterialContext, request: VmDiskRequest): Promise<VmDisk> {
  const { base, files, directory, enrol, name = 'disk' } = request
  const { tools } = context
  const file = join(directory, `${name}.qcow2`)
  const boot = await ensureBootDisk(context, { base, files })
  const overlay = createOverlay(tools, { file, backing: boot.file, backingFormat: boot.format })
  const header = enrol && newHeader(context, { base, directory, enrol })
  // Both at once; neither may still be writing when this one has failed.
  await Promise.allSettled([overlay, header])
  await overlay
  await installHeader(context, { disk: file, header: await header, base })
  return { file, format: 'qcow2', boot }
}

async function installHeader(
  { tools }: MaterialContext,
  { disk, header, base }: { disk: string; header: string | undefined; base: BaseDisk },
): Promise<void> {
  if (header === undefined || !base.root) return
  await writeRegion(tools, disk, { file: header, offset: base.root.offset })
  await rm(header)
}

async function newHeader(
  { tools }: MaterialContext,
  { base, directory, enrol }: { base: BaseDisk; directory: string; enrol: Enrolment },
): Promise<string> {
  if (!base.luks || !base.root)
    throw new MaterialError('cannot enrol keys: the disk has no encrypted root', { code: 'bad-format' })
  const { header, buildKeyFile } = base.luks
  return editHeader(tools, { header, buildKeyFile, deviceBytes: base.root.size, enrol, directory })
}
