import { FormatError } from './errors.ts'

/** Where the parsed bytes lie. */
export interface FilePlace {
  /** What a person calls it: "ESP", "variable store". */
  readonly what: string
  readonly file: string
  /** Of the bytes' start in the file; default 0. */
  readonly offset?: number
}

/** Runs a parser; its FormatError then names the file, and the offset in it. */
export function inFile<Parsed>({ what, file, offset = 0 }: FilePlace, parse: () => Parsed): Parsed {
  try {
    return parse()
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    const at = offset + cause.offset
    throw new FormatError(
      `cannot read the ${what} of ${file} (0x${at.toString(16)} in it): ${cause.message}`,
      {
        ...{ code: cause.code, field: cause.field, offset: at, cause },
      },
    )
  }
}
