/** What a guest with a root under a hash tree says on its console. Pure. */

export interface CorruptedBlock {
  /** `data`: of the root; `metadata`: of its hash tree. */
  readonly of: 'data' | 'metadata'
  /** Of 4096 bytes, from the start of its partition. */
  readonly block: number
}

/** As the kernel names them (drivers/md/dm-verity-target.c, verity_handle_err), each once, in the order of the first. */
export function corruptedBlocks(lines: readonly string[]): readonly CorruptedBlock[] {
  const found = lines.flatMap((line) => {
    const [, of, block] =
      /device-mapper: verity: \S+: (data|metadata) block (\d+) is corrupted/.exec(line) ?? []
    return of === undefined ? [] : [`${of} ${block}`]
  })
  return [...new Set(found)].map((each) => {
    const [of, block] = each.split(' ')
    return { of: of === 'data' ? 'data' : 'metadata', block: Number(block) }
  })
}

/** Which first program of images/verity ran, as it says itself; undefined: none. */
export function userlandOf(lines: readonly string[]): string | undefined {
  return lines.flatMap((line) => /attestbed-initrd: \S+ userland init is=(\w+)/.exec(line)?.[1] ?? []).at(-1)
}
