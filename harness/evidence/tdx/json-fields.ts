import { FormatError } from '../../base/errors.ts'

/**
 * Typed access to parsed JSON of Intel's services. The documents are signed, yet read like any other input: a document
 * is read before its signature is checked, and what is missing must not become a default.
 */
export class JsonFields {
  readonly #object: object
  /** For messages: "TCB info tcbLevels[3].tcb". */
  readonly #path: string

  /** Throws FormatError 'bad-value' where `value` is no object. */
  constructor(value: unknown, path: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw failure(path, 'is no object')
    this.#object = value
    this.#path = path
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#object, name)
  }

  object(name: string): JsonFields {
    return new JsonFields(this.#get(name), this.#at(name))
  }

  /** Each element as an object; `min` to `max` of them. */
  objects(name: string, { min, max }: { readonly min: number; readonly max: number }): readonly JsonFields[] {
    const value = this.#get(name)
    if (!Array.isArray(value) || value.length < min || value.length > max) {
      throw failure(this.#at(name), `is no list of ${min} to ${max} elements`)
    }
    return value.map((element, index) => new JsonFields(element, `${this.#at(name)}[${index}]`))
  }

  string(name: string): string {
    const value = this.#get(name)
    if (typeof value !== 'string') throw failure(this.#at(name), 'is no string')
    return value
  }

  /** Short printable names, such as advisory ids; an absent list is empty. */
  names(name: string): readonly string[] {
    if (!this.has(name)) return []
    const value = this.#get(name)
    if (!Array.isArray(value) || value.length > 256 || !value.every(isName)) {
      throw failure(this.#at(name), 'is no list of names')
    }
    return value
  }

  integer(name: string, max: number): number {
    const value = this.#get(name)
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
      throw failure(this.#at(name), `is no integer from 0 to ${max}`)
    }
    return value
  }

  /** Hex digits in either case, exactly `length` bytes. */
  hex(name: string, length: number): Buffer {
    const value = this.string(name)
    if (value.length !== 2 * length || !/^[0-9a-fA-F]*$/.test(value)) {
      throw failure(this.#at(name), `is not ${length} bytes in hex`)
    }
    return Buffer.from(value, 'hex')
  }

  /** `2025-07-07T09:06:43Z`, the one form that Intel's services use. */
  date(name: string): Date {
    const value = this.string(name)
    const date = new Date(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(value) ? value : Number.NaN)
    // Reading it back shows a day that its month does not have.
    if (Number.isNaN(date.getTime()) || `${date.toISOString().slice(0, 19)}Z` !== value) {
      throw failure(this.#at(name), 'is no time as YYYY-MM-DDThh:mm:ssZ')
    }
    return date
  }

  /** `hint`: what to do about a document of another kind. */
  oneOf<const Value extends string | number>(name: string, values: readonly Value[], hint?: string): Value {
    const value = this.#get(name, hint)
    const found = values.find((candidate) => candidate === value)
    if (found === undefined) throw failure(this.#at(name), `is none of ${values.join(', ')}`, hint)
    return found
  }

  #get(name: string, hint?: string): unknown {
    if (!this.has(name)) throw failure(this.#at(name), 'is missing', hint)
    return Reflect.get(this.#object, name) as unknown
  }

  #at(name: string): string {
    return `${this.#path}.${name}`
  }
}

const isName = (value: unknown): value is string =>
  typeof value === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(value)

function failure(path: string, problem: string, hint?: string): FormatError {
  return new FormatError(`cannot parse ${path}: the value ${problem}`, {
    ...{ code: 'bad-value', field: path, offset: 0, hint },
  })
}
