/** Reference values out of what `attestbed predict --json` wrote: whoever predicts and whoever verifies may be two. */
import { UsageError } from '../base/errors.ts'
import type { PcrBank, TdRegister } from '../evidence/policy/predictions.ts'
import { PCR_BANKS, TD_REGISTERS } from '../evidence/policy/predictions.ts'
import type { MeasuredDocument } from '../measure/documents/document.ts'
import { readDocument } from '../measure/documents/read-document.ts'
import type { ReadMaterial } from './reference-values.ts'

/** A pretty-printed prediction with every page is below 1 MiB. */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

interface Predicted {
  readonly document: MeasuredDocument
  /** Registers that the document says are not known: "rtmr1", "pcr9". */
  readonly unknown: readonly string[]
}

/** 48 bytes in hex. Throws UsageError `bad-config` where the document has none. */
export async function documentLaunchDigest(file: string, read: ReadMaterial): Promise<string> {
  const { document } = await readPrediction(file, read)
  return known(document.launchDigest, 48, `${file}: launchDigest`)
}

export interface TdRequest {
  readonly file: string
  /** Default all, and none may be unknown. */
  readonly registers?: readonly TdRegister[] | undefined
}

/** 48 bytes each in hex. Throws UsageError `bad-config` where one that is asked for is not known. */
export async function documentTdRegisters(
  { file, registers }: TdRequest,
  read: ReadMaterial,
): Promise<Partial<Record<TdRegister, string>>> {
  const { document, unknown } = await readPrediction(file, read)
  const { mrtd, rtmr = [], rtmrs = {} } = document
  const values: Partial<Record<string, string>> = {
    ...(mrtd !== undefined && { mrtd }),
    ...Object.fromEntries(rtmr.map((value, index) => [`rtmr${index}`, value])),
    ...Object.fromEntries(Object.entries(rtmrs).map(([index, value]) => [`rtmr${index}`, value])),
  }
  if (registers === undefined) refuseUnknown(file, unknown)
  const wanted = registers ?? TD_REGISTERS.filter((name) => values[name] !== undefined)
  if (wanted.length === 0) throw wrong(`${file} has no register of a TD`)
  return Object.fromEntries(wanted.map((name) => [name, known(values[name], 48, `${file}: ${name}`)]))
}

export interface PcrRequest {
  readonly file: string
  readonly pcrs?: readonly number[] | undefined
}

/** By bank and number, in hex. Throws UsageError `bad-config` where one that is asked for is not known. */
export async function documentPcrs(
  { file, pcrs }: PcrRequest,
  read: ReadMaterial,
): Promise<Partial<Record<PcrBank, Record<string, string>>>> {
  const { document, unknown } = await readPrediction(file, read)
  if (pcrs === undefined) refuseUnknown(file, unknown)
  const banks = Object.entries(document.pcrs ?? {}).filter(([bank]) => bank in PCR_BANKS)
  if (banks.length === 0) throw wrong(`${file} has no PCR`)
  return Object.fromEntries(
    banks.map(([bank, values]) => {
      const wanted = pcrs?.map(String) ?? Object.keys(values)
      const bytes = PCR_BANKS[bank as PcrBank]
      return [
        bank,
        Object.fromEntries(
          wanted.map((index) => [index, known(values[index], bytes, `${file}: ${bank}, PCR ${index}`)]),
        ),
      ]
    }),
  )
}

async function readPrediction(file: string, read: ReadMaterial): Promise<Predicted> {
  const bytes = await read(file)
  if (bytes.length > MAX_DOCUMENT_BYTES)
    throw wrong(`${file} has ${bytes.length} bytes, at most ${MAX_DOCUMENT_BYTES} are read`)
  const json = parse(bytes, file)
  const document = readDocument(json, file)
  // What was observed once is no prediction: a log of the very guest that is judged would agree with it.
  if (document.kind !== 'prediction')
    throw wrong(`${file} is a document of kind ${document.kind}, not a prediction`)
  const { unknown } = json as { readonly unknown?: unknown }
  return { document, unknown: Array.isArray(unknown) ? unknown.map(registerOf) : [] }
}

function parse(bytes: Uint8Array, file: string): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch (cause) {
    throw new UsageError(`${file}, which the policy names, is not JSON`, { code: 'bad-config', cause })
  }
}

function registerOf(entry: unknown): string {
  const isNamed = typeof entry === 'object' && entry !== null && 'register' in entry
  return isNamed && typeof entry.register === 'string' ? entry.register : 'a register without a name'
}

function refuseUnknown(file: string, unknown: readonly string[]): void {
  if (unknown.length === 0) return
  throw new UsageError(`${file} does not know every register: not ${unknown.join(', ')}`, {
    code: 'bad-config',
    hint: 'predict with all that it needs, or name the registers that count',
  })
}

function known(value: string | undefined, bytes: number, what: string): string {
  if (value?.length === bytes * 2) return value
  throw wrong(`${what} is ${value === undefined ? 'not in the document' : `no value of ${bytes} bytes`}`)
}

function wrong(problem: string): UsageError {
  return new UsageError(`cannot take the prediction that the policy names: ${problem}`, {
    code: 'bad-config',
  })
}
