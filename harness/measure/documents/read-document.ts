/** Documents that somebody else's process wrote: checked field by field before anything is compared. */
import { UsageError } from '../../base/errors.ts'
import {
  INPUTS,
  type InputName,
  type MeasuredDocument,
  type MeasuredEvent,
  type MeasuredPages,
} from './document.ts'

const KINDS = ['prediction', 'rehearsal', 'event-log', 'bill-of-materials'] as const
const HEX = /^[0-9a-f]{40,128}$/
const ADDRESS = /^0x[0-9a-f]{1,13}$/
/** Bounds what a document makes us compare. */
const MAX_ITEMS = 100_000
const MAX_TEXT = 100_000

type Json = Readonly<Record<string, unknown>>

/**
 * Reads what `predict --json` and `rehearse --json` write, or the bill of materials of a run. Fields that are not known
 * are left out. Throws UsageError that names the field; `name` is the file's.
 */
export function readDocument(json: unknown, name: string): MeasuredDocument {
  const reader = new DocumentReader(name)
  const document = reader.object(json, 'document')
  if ('materials' in document) return reader.bill(document)
  return reader.document(document)
}

class DocumentReader {
  readonly #name: string

  constructor(name: string) {
    this.#name = name
  }

  document(json: Json): MeasuredDocument {
    const text = (field: string, pattern?: RegExp) =>
      json[field] === undefined ? {} : { [field]: this.text(json[field], field, pattern) }
    const kind = json['kind'] ?? (json['agree'] === undefined ? 'prediction' : 'rehearsal')
    const read: MeasuredDocument = {
      kind: this.#oneOf(kind, 'kind', KINDS),
      ...text('platform'),
      ...text('launchDigest', HEX),
      ...text('firmwareDigest', HEX),
      ...text('mrtd', HEX),
      ...(json['inputs'] !== undefined && { inputs: this.#inputs(json['inputs']) }),
      ...(json['fields'] !== undefined && { fields: this.#texts(json['fields'], 'fields') }),
      ...(json['rtmr'] !== undefined && {
        rtmr: this.list(json['rtmr'], 'rtmr').map((value, index) => this.text(value, `rtmr[${index}]`, HEX)),
      }),
      ...(json['rtmrs'] !== undefined && { rtmrs: this.#texts(json['rtmrs'], 'rtmrs', HEX) }),
      ...(json['pcrs'] !== undefined && { pcrs: this.#pcrs(json['pcrs']) }),
      ...(json['pages'] !== undefined && {
        pages: this.list(json['pages'], 'pages').map((page, index) => this.#pages(page, `pages[${index}]`)),
      }),
      ...(json['events'] !== undefined && {
        events: this.list(json['events'], 'events').map((event, index) =>
          this.#event(event, `events[${index}]`),
        ),
      }),
    }
    const says = ['launchDigest', 'mrtd', 'rtmr', 'pcrs', 'pages', 'events'].some((field) => field in read)
    if (!says) throw this.#error('document', 'has nothing that can be compared')
    return read
  }

  /** `bill.json` of a run: materials by their role, packages by name. */
  bill(json: Json): MeasuredDocument {
    const materials = this.list(json['materials'], 'materials').map((item, index) => {
      const field = `materials[${index}]`
      const material = this.object(item, field)
      const digest = material['sha256'] ?? material['modified']
      return [this.text(material['role'], `${field}.role`), this.text(digest, `${field}.sha256`)] as const
    })
    const packages = json['packages'] === undefined ? [] : this.list(json['packages'], 'packages')
    const tools = json['tools'] === undefined ? undefined : this.object(json['tools'], 'tools')['digest']
    return {
      kind: 'bill-of-materials',
      inputs: {
        ...knownInputs(Object.fromEntries(materials)),
        ...(tools !== undefined && { tools: this.text(tools, 'tools.digest', HEX) }),
      },
      packages: Object.fromEntries(
        packages.map((item, index) => {
          const entry = this.object(item, `packages[${index}]`)
          const field = (name: string) => this.text(entry[name], `packages[${index}].${name}`)
          return [field('name'), field('version')]
        }),
      ),
    }
  }

  object(value: unknown, field: string): Json {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
    throw this.#error(field, 'must be an object')
  }

  list(value: unknown, field: string): readonly unknown[] {
    if (Array.isArray(value) && value.length <= MAX_ITEMS) return value
    throw this.#error(field, `must be a list of at most ${MAX_ITEMS}`)
  }

  text(value: unknown, field: string, pattern?: RegExp): string {
    if (typeof value !== 'string' || value.length > MAX_TEXT) throw this.#error(field, 'must be a text')
    if (pattern && !pattern.test(value))
      throw this.#error(field, `must be ${pattern === HEX ? 'a digest in lower-case hex' : 'an address'}`)
    return value
  }

  #number(value: unknown, field: string, most: number): number {
    if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= most) return value
    throw this.#error(field, `must be a whole number from 1 to ${most}`)
  }

  #oneOf<Value extends string>(value: unknown, field: string, allowed: readonly Value[]): Value {
    const found = allowed.find((each) => each === value)
    if (found !== undefined) return found
    throw this.#error(field, `must be one of ${allowed.join(', ')}`)
  }

  #inputs(value: unknown): Readonly<Partial<Record<InputName, string>>> {
    return knownInputs(this.#texts(value, 'inputs'))
  }

  #texts(value: unknown, field: string, pattern?: RegExp): Readonly<Record<string, string>> {
    return Object.fromEntries(
      Object.entries(this.object(value, field)).map(([name, text]) => [
        name,
        this.text(text, `${field}.${name}`, pattern),
      ]),
    )
  }

  #pcrs(value: unknown): Readonly<Record<string, Readonly<Record<string, string>>>> {
    return Object.fromEntries(
      Object.entries(this.object(value, 'pcrs')).map(([bank, values]) => [
        bank,
        this.#texts(values, `pcrs.${bank}`, HEX),
      ]),
    )
  }

  #pages(value: unknown, field: string): MeasuredPages {
    const json = this.object(value, field)
    const gpa = typeof json['gpa'] === 'number' ? `0x${json['gpa'].toString(16)}` : json['gpa']
    return {
      gpa: this.text(gpa, `${field}.gpa`, ADDRESS),
      size: this.#number(json['size'], `${field}.size`, 2 ** 40),
      type: this.text(json['type'], `${field}.type`),
      ...(json['sha256'] !== undefined && { sha256: this.text(json['sha256'], `${field}.sha256`, HEX) }),
      ...(json['count'] !== undefined && { count: this.#number(json['count'], `${field}.count`, 4096) }),
      ...(json['what'] !== undefined && { what: this.text(json['what'], `${field}.what`) }),
      ...(json['registers'] !== undefined && {
        registers: this.#texts(json['registers'], `${field}.registers`),
      }),
    }
  }

  #event(value: unknown, field: string): MeasuredEvent {
    const json = this.object(value, field)
    return {
      register: this.text(json['register'], `${field}.register`),
      type: this.text(json['type'], `${field}.type`),
      description: this.text(json['description'] ?? '', `${field}.description`),
      digests: this.#texts(json['digests'], `${field}.digests`, HEX),
    }
  }

  #error(field: string, problem: string): UsageError {
    return new UsageError(`cannot compare ${this.#name}: ${field} ${problem}`, {
      code: 'bad-value',
      hint: 'diff takes what predict and rehearse write with --json, a bill.json of a run, and binary event logs',
    })
  }
}

function knownInputs(texts: Readonly<Record<string, string>>): Readonly<Partial<Record<InputName, string>>> {
  return Object.fromEntries(Object.entries(texts).filter(([name]) => Object.hasOwn(INPUTS, name)))
}
