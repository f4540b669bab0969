/** A raw disk that is put into the state after any number of the recorded writes. */
import { type FileHandle, open } from 'node:fs/promises'
import type { LoggedWrite } from '../../formats/write-log.ts'

export class CutDisk {
  readonly file: string
  readonly #writes: readonly LoggedWrite[]
  /** What each write replaced on the disk as it was before the first. */
  readonly #originals: readonly Buffer[]

  private constructor(file: string, writes: readonly LoggedWrite[], originals: readonly Buffer[]) {
    this.file = file
    this.#writes = writes
    this.#originals = originals
  }

  /** `file`: the disk before `earlier`, which is written to it for good; `writes` come and go. */
  static async open(
    file: string,
    {
      earlier,
      writes,
    }: { readonly earlier: readonly LoggedWrite[]; readonly writes: readonly LoggedWrite[] },
  ): Promise<CutDisk> {
    const disk = await open(file, 'r+')
    try {
      await apply(disk, earlier)
      const originals: Buffer[] = []
      for (const { offset, data } of writes) {
        const original = Buffer.alloc(data.length)
        await disk.read(original, 0, original.length, offset)
        originals.push(original)
      }
      return new CutDisk(file, writes, originals)
    } finally {
      await disk.close()
    }
  }

  /** Nothing may have the disk open. `writes`: of those that it was opened with, from the first. */
  async goTo(writes: readonly LoggedWrite[]): Promise<void> {
    const disk = await open(this.file, 'r+')
    try {
      await apply(
        disk,
        this.#writes.map((write, index) => ({ ...write, data: this.#originals[index] ?? write.data })),
      )
      await apply(disk, writes)
    } finally {
      await disk.close()
    }
  }

  async read(offset: number, size: number): Promise<Buffer> {
    const disk = await open(this.file, 'r')
    try {
      const bytes = Buffer.alloc(size)
      await disk.read(bytes, 0, size, offset)
      return bytes
    } finally {
      await disk.close()
    }
  }
}

async function apply(disk: FileHandle, writes: readonly LoggedWrite[]): Promise<void> {
  for (const { kind, offset, data } of writes)
    if (kind === 'write') await disk.write(data, 0, data.length, offset)
}
