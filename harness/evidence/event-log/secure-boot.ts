/** Secure Boot as the firmware measured it: PFP, 3.3.4.8 (PCR 7, Secure Boot policy). */

import { parseVariableEvent, type VariableEvent } from '../../formats/event-log/efi-events.ts'
import type { LogEvent } from '../../formats/event-log/event.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { parseSignatureLists, type SignatureList } from '../../formats/signature-list.ts'
import { separates } from './data-check.ts'
import { type LogView, type Reading, wellFormed } from './view.ts'

const PCR = 7
const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
const IMAGE_SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'

/** The variables that decide what may be loaded, and whose they are. */
const DATABASES = { PK: GLOBAL, KEK: GLOBAL, db: IMAGE_SECURITY, dbx: IMAGE_SECURITY } as const
/** UEFI 2.10, "Globally Defined Variables" and 32.4.1: variables of Secure Boot. */
export type DatabaseName = keyof typeof DATABASES

/** One of them, as EFI_SIGNATURE_LISTs (UEFI 2.10, 32.4.1). */
export interface KeyDatabase {
  readonly name: DatabaseName
  /** Empty where the variable does not exist; undefined where it is no list of signatures. */
  readonly lists: readonly SignatureList[] | undefined
  readonly bytes: Uint8Array
}

/** PCR 7 (or its part of RTMR0) in words. PFP 1.06, PCR 7. */
export interface SecureBootReading {
  /** Undefined where the firmware's part of the register does not say it exactly once. */
  readonly enabled: Reading<boolean> | undefined
  readonly databases: Partial<Readonly<Record<DatabaseName, Reading<KeyDatabase>>>>
  /** Other variables that the firmware measured as configuration: DeployedMode, SbatLevel. */
  readonly otherVariables: readonly Reading<VariableEvent>[]
  /**
   * What allowed each image to run, in order: a signature's entry of db, or shim's own certificate, MokListRT or
   * SbatLevel. Software that runs later can add to this list, and take nothing away: judge all of it.
   */
  readonly authorities: readonly Reading<VariableEvent>[]
  /**
   * Events after the separator whose bytes are not in the log: each may be an authority under another type. In a TD the
   * ACPI tables are always among them, since they share the register.
   */
  readonly opaque: readonly LogEvent[]
}

/**
 * The state is read from before the separator only: what comes after it is not the firmware's. A variable that occurs
 * twice there is not believed. Neither the type of an event nor its place in the log is hashed, only the order within
 * its register; so an event counts for what its data are, once the digest is over them. PFP 1.06, 3.3.4.8 (PCR 7).
 * Never throws.
 */
export function readSecureBoot(view: LogView): SecureBootReading {
  const { before, after } = view.aroundSeparator(PCR)
  const first = before.flatMap((event) => readVariable(view, event, EV.EFI_VARIABLE_DRIVER_CONFIG))
  const enabled = once(first, (variable) => isNamed(variable, 'SecureBoot', GLOBAL))
  const state = enabled && stateOf(enabled)
  const databases = (Object.keys(DATABASES) as DatabaseName[]).flatMap((name) => {
    const found = once(first, (variable) => isNamed(variable, name, DATABASES[name]))
    return found ? [[name, { ...found, value: database(name, found.value) }] as const] : []
  })
  const told = new Set([enabled?.event, ...databases.map(([, { event }]) => event)])
  const otherVariables = first.filter(({ event }) => !told.has(event))
  return {
    enabled: state,
    databases: Object.fromEntries(databases),
    otherVariables,
    authorities: [
      ...otherVariables.filter((variable) => isNamed(variable.value, 'db', IMAGE_SECURITY)),
      ...before.flatMap((event) => readVariable(view, event, EV.EFI_VARIABLE_AUTHORITY)),
      ...after.flatMap((event) => readAuthority(view, event)),
    ],
    opaque: after.filter((event) => isOpaque(view, event)),
  }
}

/** By what was hashed: a guest that gives an authority another type must not hide it. */
function readAuthority(view: LogView, event: LogEvent): readonly Reading<VariableEvent>[] {
  const bytes = view.hashedBytes(event)
  const variable = bytes && wellFormed(() => parseVariableEvent(bytes))
  // In a TD the boot variables share the register; nothing of that owner allows an image to run.
  if (!variable || (variable.guid === GLOBAL && event.type !== EV.EFI_VARIABLE_AUTHORITY)) return []
  return [view.fromDigest(PCR, event, variable)]
}

function isOpaque(view: LogView, event: LogEvent): boolean {
  return view.hashedBytes(event) === undefined && separates(event, view.bank) === undefined
}

function readVariable(view: LogView, event: LogEvent, type: number): readonly Reading<VariableEvent>[] {
  const variable = event.type === type ? wellFormed(() => parseVariableEvent(event.data)) : undefined
  return variable ? [view.fromData(PCR, event, variable)] : []
}

function isNamed(variable: VariableEvent, name: string, guid: string): boolean {
  return variable.name === name && variable.guid === guid
}

function once(
  readings: readonly Reading<VariableEvent>[],
  wanted: (variable: VariableEvent) => boolean,
): Reading<VariableEvent> | undefined {
  const found = readings.filter(({ value }) => wanted(value))
  return found.length === 1 ? found[0] : undefined
}

/** One byte, 0 or 1; a variable that does not exist is measured without data, and is off. UEFI 2.10, SecureBoot. */
function stateOf({ value, ...reading }: Reading<VariableEvent>): Reading<boolean> | undefined {
  const { data } = value
  if (data.length > 1 || (data[0] ?? 0) > 1) return undefined
  return { ...reading, value: data[0] === 1 }
}

function database(name: DatabaseName, { data }: VariableEvent): KeyDatabase {
  return { name, lists: wellFormed(() => parseSignatureLists(data)), bytes: data }
}
