/**
 * The two slots of a VM that updates itself, as the host prepares and inspects them while the VM is off: UKIs on its
 * ESP, and what has the new one tried before it becomes the default.
 */
import { copyFile, mkdtemp, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import { inFile } from '../base/in-file.ts'
import type { FatVolume } from '../formats/fat.ts'
import { parsePeSections } from '../formats/pe.ts'
import { FALLBACK_BOOT_PATH } from '../materials/boot-disk.ts'
import { changeEsp, type Esp, type EspChange, findEsp, readEsp } from '../materials/esp.ts'
import type { ImageUkiOptions } from '../materials/images.ts'
import { makeUpdateMedium } from '../materials/update-medium.ts'
import type { FirstUki } from './image.ts'
import type { SlotOwner } from './slot-owner.ts'

export type Slot = 'a' | 'b'

/**
 * `boot-next`: each slot has an entry in the variables, and BootNext has one tried.
 * `counting`: systemd-boot counts tries in the file name.
 * `fallback`: slot `a` is what firmware boots that has no entry at all.
 */
export type SlotLayout = 'boot-next' | 'counting' | 'fallback'

/** An update, and what is wrong with it. */
export interface SlotUki extends Omit<ImageUkiOptions, 'keys' | 'version'> {
  /** Somebody's own UKI, in place of one that is built here. */
  readonly file?: string
  /** Bytes that are left of the file, as a share of it. */
  readonly truncatedTo?: number
  /** With boot counting: how often it may fail; default 1. */
  readonly tries?: number
}

/** What the next boot will be chosen by. */
export type SlotState =
  | { readonly order: readonly Slot[]; readonly next: Slot | 'none' | 'other' }
  /** Files of `EFI/Linux`, sorted. */
  | { readonly files: readonly string[] }

const VERSIONS = { a: '1', b: '2' } as const
export const UKI_DIRECTORY = 'EFI/Linux'

/** The UKI that a VM with slots begins with. */
export function initialUki(layout: SlotLayout, extraCommandLine?: string): FirstUki {
  const path = layout === 'fallback' ? FALLBACK_BOOT_PATH : `${UKI_DIRECTORY}/a.efi`
  return { path, change: changeFor('a', extraCommandLine === undefined ? {} : { extraCommandLine }) }
}

function changeFor(
  slot: Slot,
  { extraCommandLine, ...change }: Omit<SlotUki, 'file' | 'truncatedTo' | 'tries'>,
): FirstUki['change'] {
  const words = [`attestbed.slot=${slot}`, ...(extraCommandLine === undefined ? [] : [extraCommandLine])]
  return { ...change, version: VERSIONS[slot], extraCommandLine: words.join(' ') }
}

export abstract class Slots {
  protected readonly vm: SlotOwner
  protected readonly partition: Esp

  constructor(vm: SlotOwner, partition: Esp) {
    this.vm = vm
    this.partition = partition
  }

  /** Has the next boot try `uki` in slot `b`; slot `a` stays the default. */
  abstract offer(uki: SlotUki): Promise<void>

  abstract state(): Promise<SlotState>

  /** A UKI for a slot; its file may be shared with other VMs. Throws FormatError for a file that is none. */
  async build(slot: Slot, { file: own, truncatedTo, tries: _, ...uki }: SlotUki = {}): Promise<string> {
    const file = own === undefined ? await this.#buildFor(slot, uki) : await checkedUki(own)
    if (truncatedTo === undefined) return file
    const part = join(await this.#scratch('uki-'), `${slot}.efi`)
    await copyFile(file, part)
    await truncate(part, Math.floor((await stat(part)).size * truncatedTo))
    return part
  }

  #buildFor(slot: Slot, uki: Parameters<typeof changeFor>[1]): Promise<string> {
    const built = this.vm.disk.uki
    if (!built) throw new UsageError('an image with slots has UKIs of ours', { code: 'bad-scenario' })
    return built.build(changeFor(slot, uki))
  }

  /** The ESP as it is on the disk. */
  async esp(): Promise<FatVolume> {
    this.vm.requireOff('read the ESP')
    return readEsp(this.vm.spec.bench.tools, this.partition, this.vm.spec.directory)
  }

  /** Names of the files in `EFI/Linux`, sorted. */
  protected async ukiFiles(): Promise<readonly string[]> {
    const prefix = `${UKI_DIRECTORY}/`
    const { entries } = await this.esp()
    return entries
      .filter(({ path, kind }) => kind === 'file' && path.startsWith(prefix))
      .map(({ path }) => path.slice(prefix.length))
      .sort()
  }

  async changeEsp(...changes: readonly EspChange[]): Promise<void> {
    this.vm.requireOff('change the ESP')
    const { bench, directory } = this.vm.spec
    await changeEsp(bench.tools, this.partition, { directory, changes })
  }

  /** Puts a file called `fill` on the ESP, so that at most `leaving` bytes stay free. */
  async fillEsp({ leaving }: { readonly leaving: number }): Promise<void> {
    const { freeBytes } = await this.esp()
    const file = join(await this.#scratch('fill-'), 'fill')
    await writeFile(file, '')
    await truncate(file, Math.max(0, freeBytes - leaving))
    await this.changeEsp({ kind: 'put', path: 'fill', file })
  }

  /** Gives the VM's next QEMU a second disk with the UKI as `b.efi`, for the guest's own tools to install. */
  async attachUpdate(uki: SlotUki = {}): Promise<void> {
    const image = join(await this.#scratch('medium-'), 'update.img')
    const files = { 'b.efi': await this.build('b', uki) }
    await makeUpdateMedium(this.vm.spec.bench.tools, { image, files })
    this.vm.attach({ id: 'update', file: image, format: 'raw', readOnly: true })
  }

  #scratch(prefix: string): Promise<string> {
    return mkdtemp(join(this.vm.spec.directory, prefix))
  }
}

async function checkedUki(file: string): Promise<string> {
  const bytes = await readFile(file)
  inFile({ what: 'UKI', file }, () => parsePeSections(bytes))
  return file
}

/** The ESP of a VM that is off. */
export function espOf(vm: SlotOwner): Promise<Esp> {
  return findEsp(vm.spec.bench.tools, { disk: vm.disk.file, directory: vm.spec.directory })
}
