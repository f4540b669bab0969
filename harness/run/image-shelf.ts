/** The images of a run: each described and built once, however many scenarios boot it. */
import { UsageError } from '../base/errors.ts'
import type { MaterialContext } from '../materials/context.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { findImage, type KnownImage } from '../materials/image-list.ts'
import type { ImageOptions } from '../materials/images.ts'
import { type BootableImage, broughtImage, builtImage } from './image.ts'

export class ImageShelf {
  readonly #context: MaterialContext
  readonly #known = new Map<string, KnownImage>()
  readonly #images = new Map<string, Promise<BootableImage>>()

  readonly #options: ImageOptions

  constructor(context: MaterialContext, options: ImageOptions = {}) {
    this.#context = context
    this.#options = options
  }

  /** `name`: an id, or the path of a description of somebody's own disk. Throws UsageError. */
  async describe(name: string): Promise<ImageDescription> {
    const known = await findImage(this.#context.paths.checkout, name)
    const description = known.origin === 'built' ? known.recipe.description : known.image.description
    const { id, file } = description
    const earlier = this.#known.get(id)
    if (earlier && fileOf(earlier) !== file)
      throw new UsageError(`two images are called "${id}": ${fileOf(earlier)} and ${file}; ids must differ`, {
        code: 'bad-config',
      })
    this.#known.set(id, known)
    return description
  }

  async describeAll(names: readonly string[]): Promise<ReadonlyMap<string, ImageDescription>> {
    const descriptions = await Promise.all([...new Set(names)].map((name) => this.describe(name)))
    return new Map(descriptions.map((description) => [description.id, description]))
  }

  /** Ready to boot; built where the cache does not have it. `id` must have been described before. */
  open(id: string): Promise<BootableImage> {
    const image = this.#images.get(id) ?? this.#open(id)
    this.#images.set(id, image)
    return image
  }

  async #open(id: string): Promise<BootableImage> {
    const known = this.#known.get(id)
    return known?.origin === 'brought'
      ? broughtImage(this.#context, known.image)
      : builtImage(this.#context, id, this.#options)
  }

  /** Builds what is missing; what fails is reported by `open` to whoever needs it. */
  async buildAll(ids: Iterable<string>): Promise<void> {
    await Promise.allSettled([...ids].map((id) => this.open(id)))
  }
}

function fileOf(known: KnownImage): string {
  return known.origin === 'built' ? known.recipe.description.file : known.image.description.file
}
