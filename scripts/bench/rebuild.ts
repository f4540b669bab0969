/**
 * From a changed file of the initrd to a disk that boots it. A copy of images/ is changed, never the checkout's; what
 * the builds leave in the cache is removed.
 */
import { appendFile, cp, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ensureBootDisk, FALLBACK_BOOT_PATH } from '../../harness/materials/boot-disk.ts'
import type { MaterialContext } from '../../harness/materials/context.ts'
import { ensureImage, ensureImageUki } from '../../harness/materials/images.ts'
import type { SigningKeys } from '../../harness/materials/keys.ts'
import { Scope } from '../../harness/system/scope.ts'
import type { Measure } from './figure.ts'
import { openWorkbench } from './workbench.ts'

const LIMIT_SECONDS = 10
const REPEAT = 3
const IMAGE = 'debian'

export const rebuild: Measure = {
  id: 'rebuild',
  title: 'image rebuild after a change of one file of the initrd',
  run: async ({ repeat = REPEAT, signal, tell }) => {
    await using scope = new Scope('rebuild')
    const { context, keys, directory } = await openWorkbench(scope, signal)
    const checkout = join(directory, 'checkout')
    await cp(join(context.paths.checkout, 'images'), join(checkout, 'images'), { recursive: true })
    const copy: MaterialContext = { ...context, paths: { ...context.paths, checkout } }
    tell(`image ${IMAGE} as it is`)
    await build(copy, keys)
    const samples: Sample[] = []
    for (let i = 1; i <= repeat; i++) {
      tell(`rebuild: ${i} of ${repeat}`)
      await appendFile(join(checkout, 'images', IMAGE, 'initrd/init'), `# ${process.pid} ${Date.now()}\n`)
      samples.push(await timedBuild(copy, keys))
    }
    return {
      figures: [
        {
          name: 'changed init script to bootable disk',
          unit: 's',
          samples: samples.map(({ total }) => total),
          limit: { atMost: LIMIT_SECONDS },
        },
        { name: 'initrd', unit: 's', samples: samples.map(({ initrd }) => initrd) },
        { name: 'unified kernel image, signed', unit: 's', samples: samples.map(({ uki }) => uki) },
        { name: 'disk with it on the ESP', unit: 's', samples: samples.map(({ disk }) => disk) },
      ],
    }
  },
}

/** Seconds. */
interface Sample {
  readonly total: number
  readonly initrd: number
  readonly uki: number
  readonly disk: number
}

async function timedBuild(context: MaterialContext, keys: SigningKeys): Promise<Sample> {
  const { marks, made } = await build(context, keys)
  await Promise.all(made.map((file) => rm(dirname(file), { recursive: true, force: true })))
  const [start = 0, initrd = 0, uki = 0, disk = 0] = marks.map((milliseconds) => milliseconds / 1000)
  return { total: disk - start, initrd: initrd - start, uki: uki - initrd, disk: disk - uki }
}

interface Build {
  /** Milliseconds: before, and after each part. */
  readonly marks: readonly number[]
  /** Files that depend on the initrd, each in a directory of its own. */
  readonly made: readonly string[]
}

async function build(context: MaterialContext, keys: SigningKeys): Promise<Build> {
  const marks = [performance.now()]
  const image = await ensureImage(context, IMAGE)
  marks.push(performance.now())
  const uki = await ensureImageUki(context, image, { keys })
  marks.push(performance.now())
  const disk = await ensureBootDisk(context, { base: image.disk, files: { [FALLBACK_BOOT_PATH]: uki } })
  marks.push(performance.now())
  return { marks, made: [image.initrd.file, uki.file, disk.file] }
}
