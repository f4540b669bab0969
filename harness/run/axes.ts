/** What the user and the matrix file name, as the things themselves. */
import { HostError, type Position, UsageError } from '../base/errors.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import { type Diagnosis, diagnoseHost } from '../platforms/diagnose.ts'
import type { PlatformId } from '../platforms/platform-id.ts'
import { platform } from '../platforms/platforms.ts'
import { withOtherQemu } from '../system/other-qemu.ts'
import type { Tools } from '../system/tools.ts'
import type { VtpmKind } from './events.ts'
import type { MatrixBlock } from './matrix/file.ts'
import type { MatrixAxes } from './matrix/schema.ts'
import { type Axes, type QemuChoice, TOOLS_QEMU } from './plan.ts'
import { bestPlatform, firmwareBuild, type PlanningOffice } from './workshop.ts'

/** A QEMU that this host lacks is a reason to skip what needs it, not to run nothing. */
function withoutPlatforms(host: Diagnosis, reason: string): Diagnosis {
  const verdicts = Object.keys(host.report.platforms).map((id) => [id, { usable: false, reason }] as const)
  return { ...host, report: { ...host.report, platforms: Object.fromEntries(verdicts) } }
}

/** Values that the user named; an absent axis is the matrix's, or the plan's to choose. */
export interface NamedAxes {
  readonly platforms?: readonly PlatformId[]
  /** What TEEs are emulated on, also where the host has them. */
  readonly emulatedOn?: PlatformId
  readonly vtpms?: readonly VtpmKind[]
  readonly firmware?: readonly string[]
  /** Image ids, or paths of descriptions of somebody's own disk. */
  readonly images?: readonly string[]
  /** `tools`, `host`, or the absolute path of a binary. */
  readonly qemus?: readonly string[]
  readonly vcpus?: readonly number[]
  readonly memoryMiB?: readonly number[]
}

/** A QEMU that is there, or why none is; tools and diagnosis are those to launch its guests with. */
export interface OpenedQemu extends QemuChoice {
  readonly tools: Tools
  readonly host: Diagnosis
}

/** Opens each thing once, however many blocks name it. */
export class AxisCatalogue {
  readonly #office: PlanningOffice
  readonly #qemus = new Map<string, Promise<OpenedQemu>>()

  constructor(office: PlanningOffice) {
    this.#office = office
  }

  /** The QEMU of a variant. */
  qemu(id: string): Promise<OpenedQemu> {
    const opened = this.#qemus.get(id) ?? this.#openQemu(id)
    this.#qemus.set(id, opened)
    return opened
  }

  async #openQemu(id: string): Promise<OpenedQemu> {
    const { tools, host, paths } = this.#office
    if (id === TOOLS_QEMU) return { id, tools, host }
    try {
      const own = await withOtherQemu(tools, id)
      return { id, tools: own, host: await diagnoseHost({ paths, tools: own }) }
    } catch (error) {
      if (!(error instanceof HostError)) throw error
      return { id, tools, host: withoutPlatforms(host, error.message) }
    }
  }

  /**
   * The axes of a block of the matrix, or of none, as the user narrows them. Throws UsageError `bad-value`,
   * `unknown-image`, `bad-config`: for what the file names, with its place in it; HostError `platform-unusable`.
   */
  async open(named: NamedAxes, block?: MatrixBlock): Promise<Axes> {
    const { host, shelf } = this.#office
    const own = block?.axes ?? {}
    const placed = <Name extends keyof MatrixAxes>(axis: Name) => placedValues(own[axis], axis, block)
    const platforms = narrowed(own.platform, named.platforms)
    const vtpms = narrowed(own.vtpm, named.vtpms)
    const vcpus = narrowed(own.vcpus, named.vcpus)
    const memoryMiB = narrowed(own.memory, named.memoryMiB)
    const byId = <Value extends { readonly id: string }>(
      ours: readonly Value[] | undefined,
      theirs: readonly Value[] | undefined,
    ) => narrowed(ours, theirs, ({ id }) => id)
    const build = async (id: string) => firmwareBuild(id, host)
    const describe = (name: string): Promise<ImageDescription> => shelf.describe(name)
    const qemu = (id: string) => this.qemu(id)
    const firmware = byId(await each(placed('firmware'), build), await each(plain(named.firmware), build))
    const images = byId(await each(placed('image'), describe), await each(plain(named.images), describe))
    const qemus = byId(await each(placed('qemu'), qemu), await each(plain(named.qemus), qemu))
    return {
      ...(platforms
        ? { platforms: platforms.map(platform) }
        : { platforms: [bestPlatform(host)], isOwnPlatform: true }),
      ...(named.emulatedOn && { emulatedOn: platform(named.emulatedOn) }),
      ...(vtpms && { vtpms }),
      ...(own.vtpm && { vtpmsOf: whoNamesVtpms(named, block) }),
      ...(firmware && { firmware }),
      ...(images && { images }),
      ...(qemus && { qemus }),
      ...(vcpus && { vcpus }),
      ...(memoryMiB && { memoryMiB }),
    }
  }
}

/** Axes that the user narrows select, as flags do: what they leave out was left out on purpose. */
function whoNamesVtpms({ vtpms }: NamedAxes, block: MatrixBlock | undefined): NonNullable<Axes['vtpmsOf']> {
  if (block?.exclude === undefined) return 'include'
  return vtpms === undefined ? 'axes' : 'flags'
}

interface Placed {
  readonly value: string
  /** Absent for what the user typed. */
  readonly position?: Position
}

function placedValues(
  values: readonly (string | number)[] | undefined,
  axis: keyof MatrixAxes,
  block: MatrixBlock | undefined,
): readonly Placed[] | undefined {
  return values?.map((value, index) => {
    return { value: String(value), ...(block && { position: block.positionOf(axis, index) }) }
  })
}

function plain(values: readonly string[] | undefined): readonly Placed[] | undefined {
  return values?.map((value) => ({ value }))
}

async function each<Value>(
  placed: readonly Placed[] | undefined,
  open: (value: string) => Promise<Value>,
): Promise<readonly Value[] | undefined> {
  if (placed === undefined) return undefined
  return Promise.all(placed.map(({ value, position }) => atPlace(position, () => open(value))))
}

/** A mistake in what a file names is one of the file, with its place. */
export async function atPlace<Value>(
  position: Position | undefined,
  action: () => Promise<Value>,
): Promise<Value> {
  try {
    return await action()
  } catch (error) {
    if (position === undefined || !(error instanceof Error)) throw error
    if (!(error instanceof UsageError) || error.position !== undefined) throw error
    throw new UsageError(error.message, {
      ...{ code: 'bad-config', position, cause: error },
      hint: error.hint,
    })
  }
}

/** Each value once; where both name the axis, those that both have. */
function narrowed<Value>(
  ours: readonly Value[] | undefined,
  theirs: readonly Value[] | undefined,
  idOf: (value: Value) => unknown = (value) => value,
): readonly Value[] | undefined {
  const list = ours ?? theirs
  if (list === undefined) return undefined
  const allowed = new Set((theirs ?? list).map(idOf))
  const once = new Map(list.map((value) => [idOf(value), value]))
  return [...once.values()].filter((value) => allowed.has(idOf(value)))
}
