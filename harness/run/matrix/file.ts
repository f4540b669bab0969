/** Reads a matrix file, and says of each of its parts where it stands. */
import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type Position, UsageError } from '../../base/errors.ts'
import { parsePlacedYaml } from '../../formats/yaml.ts'
import { type VariantMatcher, variantMatcher } from './matcher.ts'
import { type MatrixAxes, type MatrixBudget, type MatrixDocument, matrixSchema } from './schema.ts'

/** Values of axes, and where they stand: those of the file itself, or those that an `include` names. */
export interface MatrixBlock {
  readonly axes: MatrixAxes
  /** Patterns; absent: the file's, or the user's. */
  readonly scenarios?: readonly string[]
  /** Leaves out what `exclude` matches; absent for an `include`. */
  readonly exclude?: VariantMatcher
  /** Where an entry of `exclude` names `emulated`: what it matches differs from host to host. */
  readonly excludeByHost?: Position
  readonly positionOf: (axis: keyof MatrixAxes, index: number) => Position
  /** Of the block as a whole. */
  readonly position: Position
}

export interface MatrixMark {
  readonly matches: VariantMatcher
  readonly kind: 'unstable' | 'skip'
  readonly reason: string
  /** Of a skip: the last day on which it holds, ISO 8601. */
  readonly until?: string
  readonly position: Position
}

export interface Matrix {
  readonly file: string
  readonly title: string | undefined
  /** Patterns; absent: all scenarios. */
  readonly scenarios: readonly string[] | undefined
  readonly blocks: readonly MatrixBlock[]
  readonly marks: readonly MatrixMark[]
  readonly budget: MatrixBudget
  /** Every pattern of scenarios in the file. */
  readonly patterns: readonly { readonly pattern: string; readonly position: Position }[]
}

const MOST_BYTES = 1 << 20

/** Throws UsageError `bad-config`, with the position where there is one. */
export async function readMatrix(file: string): Promise<Matrix> {
  const text = await readBounded(file).catch((cause: unknown) => {
    if (cause instanceof UsageError) throw cause
    const words = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(`cannot read the matrix ${file}: ${words}`, { code: 'bad-config', cause })
  })
  return parseMatrix(text, file)
}

async function readBounded(file: string): Promise<string> {
  const { size } = await stat(file)
  if (size > MOST_BYTES)
    throw new UsageError(`the matrix ${file} has ${size} bytes, at most ${MOST_BYTES} are allowed`, {
      code: 'bad-config',
    })
  return readFile(file, 'utf8')
}

/** `file`: what positions name, and from whose folder paths in it start. Throws UsageError `bad-config`. */
export function parseMatrix(text: string, file: string): Matrix {
  const { value, positionOf } = parsePlacedYaml(text, { file, schema: matrixSchema })
  const document = withOwnPaths(value, dirname(file))
  const excluded = document.exclude.map(variantMatcher)
  const byHost = document.exclude.findIndex(({ emulated }) => emulated !== undefined)
  const base: MatrixBlock = {
    axes: document.axes,
    exclude: (subject) => excluded.some((matches) => matches(subject)),
    ...(byHost >= 0 && { excludeByHost: positionOf(['exclude', byHost, 'emulated']) }),
    positionOf: (axis, index) => positionOf(['axes', axis, index]),
    position: positionOf(['axes']),
  }
  const included = document.include.map(({ scenario, ...axes }, number): MatrixBlock => {
    return {
      axes,
      ...(scenario && { scenarios: scenario }),
      positionOf: (axis, index) => positionOf(['include', number, axis, index]),
      position: positionOf(['include', number]),
    }
  })
  const matrix: Matrix = {
    ...{ file, title: document.title, scenarios: document.scenarios, budget: document.budget },
    blocks: [base, ...included],
    marks: document.marks.map((mark, number) => markOf(mark, positionOf(['marks', number]))),
    patterns: patternsOf(document).map(({ pattern, path }) => ({ pattern, position: positionOf(path) })),
  }
  requireKnownValues(document, matrix, positionOf)
  return matrix
}

function patternsOf({ scenarios, exclude, include, marks }: MatrixDocument) {
  const lists: readonly (readonly [readonly string[] | undefined, readonly PropertyKey[]])[] = [
    [scenarios, ['scenarios']],
    ...exclude.map(({ scenario }, number) => [scenario, ['exclude', number, 'scenario']] as const),
    ...include.map(({ scenario }, number) => [scenario, ['include', number, 'scenario']] as const),
    ...marks.map(({ match }, number) => [match.scenario, ['marks', number, 'match', 'scenario']] as const),
  ]
  return lists.flatMap(([list = [], path]) =>
    list.map((pattern, index) => ({ pattern, path: [...path, index] })),
  )
}

type Mark = MatrixDocument['marks'][number]

function markOf({ match, unstable, skip }: Mark, position: Position): MatrixMark {
  const matches = variantMatcher(match)
  if (skip === undefined) return { matches, kind: 'unstable', reason: unstable ?? '', position }
  const at = skip.lastIndexOf(' until ')
  const until = skip.slice(at + ' until '.length)
  // What Date makes of the 31st of June is another day.
  const day = new Date(`${until}T00:00:00Z`)
  if (Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) !== until)
    throw new UsageError(`a mark says until ${until}, which is no day`, { code: 'bad-config', position })
  return { matches, kind: 'skip', reason: skip.slice(0, at), until, position }
}

/** An entry whose value the axis does not have would never match: a mistake that nobody would notice. */
function requireKnownValues(
  { axes, exclude, marks }: MatrixDocument,
  { blocks }: Matrix,
  positionOf: (path: readonly PropertyKey[]) => Position,
): void {
  const entries = [
    ...exclude.map((entry, number) => ({ entry, among: [axes], path: ['exclude', number] })),
    ...marks.map(({ match: entry }, number) => {
      return { entry, among: blocks.map((block) => block.axes), path: ['marks', number, 'match'] }
    }),
  ]
  for (const { entry, among, path } of entries) {
    const { scenario: _, emulated: __, ...named } = entry
    for (const [axis, list] of Object.entries(named)) {
      const values: readonly (string | number)[] | undefined = list
      const lists = among.map(
        (block): readonly (string | number)[] | undefined => block[axis as keyof MatrixAxes],
      )
      // Where one of them leaves the axis to the plan, any value may come.
      if (values === undefined || lists.some((list) => list === undefined)) continue
      const known = new Set<string | number>(lists.flatMap((list) => list ?? []))
      const index = values.findIndex((value) => !known.has(value))
      if (index >= 0)
        throw new UsageError(
          `${path.join('.')}.${axis}: ${shown(axis, values[index])} is no value of the axis, which has ${[...known].map((value) => shown(axis, value)).join(', ')}`,
          { code: 'bad-config', position: positionOf([...path, axis, index]) },
        )
    }
  }
}

function shown(axis: string, value: string | number | undefined): string {
  return axis === 'memory' ? `${value}M` : String(value)
}

type Paths = Pick<MatrixAxes, 'image' | 'qemu'>

/** Paths of images and QEMUs start from the file's folder, wherever the program was started. */
function withOwnPaths(document: MatrixDocument, folder: string): MatrixDocument {
  const own = <Axes extends Paths>(axes: Axes): Axes => {
    return {
      ...axes,
      ...(axes.image && { image: axes.image.map((value) => ownPath(value, folder)) }),
      ...(axes.qemu && { qemu: axes.qemu.map((value) => ownPath(value, folder)) }),
    }
  }
  return {
    ...document,
    axes: own(document.axes),
    exclude: document.exclude.map(own),
    include: document.include.map(own),
    marks: document.marks.map((mark) => ({ ...mark, match: own(mark.match) })),
  }
}

function ownPath(value: string, folder: string): string {
  const isPath = value.includes('/') || /\.ya?ml$/.test(value)
  return isPath && !value.startsWith('/') ? resolve(folder, value) : value
}
