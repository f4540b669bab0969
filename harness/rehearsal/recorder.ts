/** The recorder, compiled: a library that QEMU is started with. */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Store } from '../system/store.ts'

export interface RecorderOptions {
  readonly store: Store
  /** The checkout, with the recorder's source. */
  readonly checkout: string
  readonly signal?: AbortSignal | undefined
  /** A line for whoever waits while a compiler is fetched. */
  readonly tell?: ((text: string) => void) | undefined
}

/** No C library: the one of QEMU may be older or newer than the compiler's. */
const FLAGS: readonly string[] = [
  ...['-std=gnu11', '-O2', '-ffreestanding', '-fno-builtin', '-fno-stack-protector', '-fcf-protection=none'],
  ...['-fPIC', '-fvisibility=hidden', '-shared', '-nostdlib', '-Wl,-z,noexecstack', '-Wl,-z,relro,-z,now'],
]
const LIBRARY = 'recorder.so'

/** Path of the library, compiled first where the cache has none of this source. Throws HostError. */
export async function ensureRecorder({ store, checkout, signal, tell }: RecorderOptions): Promise<string> {
  const source = join(checkout, 'harness/rehearsal/recorder')
  const files = (await readdir(source)).filter((name) => /[.][ch]$/.test(name)).sort()
  const directory = await store.ensure('recorder', await keyOf(source, files), async (into) => {
    const units = files.filter((name) => name.endsWith('.c')).map((name) => join(source, name))
    const code = {
      compiler: 'gcc',
      args: [...FLAGS, '-o', join(into, LIBRARY), ...units],
      purpose: 'rehearsals',
      paths: [checkout, store.directory],
    } as const
    // Most rehearsals find it compiled: a hundred modules are not loaded for nothing.
    const { compileNative } = await import('../system/setup/compiler.ts')
    const progress = { step: (text: string) => tell?.(text), packages: () => {} }
    const options = { environment: process.env, progress, signal: signal ?? new AbortController().signal }
    await compileNative(code, options)
  })
  return join(directory, LIBRARY)
}

async function keyOf(source: string, files: readonly string[]): Promise<string> {
  const key = createHash('sha256').update(FLAGS.join('\n'))
  for (const name of files) key.update(`\n${name}\n`).update(await readFile(join(source, name)))
  return key.digest('hex').slice(0, 32)
}
