/**
 * What shim 16 measures, in its order (tpm.c, mok.c, verify.c of rhboot/shim): its lists of keys into PCR 14, the
 * revocation level and the authority of its second stage into PCR 7, the second stage into PCR 4. It measures no
 * image that it refuses. The kernel inside the UKI it takes as verified with the UKI, and measures it no more.
 */
import { authenticodeParts } from '../../formats/authenticode.ts'
import { MOK_LIST, parseShim, SHIM_LOCK, type ShimContents } from '../../formats/shim.ts'
import { encodeSignatureLists, SIGNATURE_TYPES } from '../../formats/signature-list.ts'
import { findVariable, type VariableStore } from '../../formats/variable-store.ts'
import { authorityIn } from './authority.ts'
import { type EventContent, known, type PredictedEvent, unknown } from './event.ts'
import { IMAGE_SECURITY_DATABASE } from './secure-boot.ts'
import { variableEvent } from './variable-event.ts'

export interface ShimBoot {
  readonly shim: Uint8Array
  /** Its second stage. */
  readonly uki: Uint8Array
  readonly store: VariableStore
  readonly secureBoot: boolean
}

export type ShimLoad = { readonly loaded: boolean; readonly events: readonly PredictedEvent[] } & (
  | { readonly loaded: true }
  | { readonly loaded: false; readonly reason: string }
)

/** Variables that change what shim does; whoever sets them asks for more than is predicted here. */
const POLICY = ['MokSBState', 'MokDBState', 'MokListTrusted', 'MokPolicy', 'SbatPolicy'] as const

/** Throws FormatError where shim or a list of keys is malformed. */
export function loadThroughShim(boot: ShimBoot): ShimLoad {
  const { uki, store } = boot
  const contents = parseShim(boot.shim)
  const policy = POLICY.find((name) => findVariable(store, { name, guid: SHIM_LOCK }))
  const why =
    policy === undefined
      ? boot.secureBoot
        ? undefined
        : 'what shim measures without Secure Boot is not predicted'
      : `the variable ${policy} is set, which changes what shim does`
  const state = stateEvents(contents, store)
  if (why !== undefined)
    return {
      loaded: true,
      events: [...state, image(uki)].map((event) => ({ ...event, content: unknown(why) })),
    }
  const authority = secondStageAuthority(uki, { contents, store })
  if (!authority.allowed) return { loaded: false, reason: authority.reason, events: state }
  return { loaded: true, events: [...state, authority.event, image(uki)] }
}

function image(uki: Uint8Array): PredictedEvent {
  return {
    ...{ pcr: 4, type: 'EV_EFI_BOOT_SERVICES_APPLICATION', from: 'uki', what: 'UKI' },
    content: known(...authenticodeParts(uki)),
  }
}

/** In the order of shim's own table. MokListTrusted counts as set where it is not there. */
function stateEvents(contents: ShimContents, store: VariableStore): readonly PredictedEvent[] {
  const level = sbatLevel(contents, store)
  return [
    logged('MokList', known(mokList(contents, store))),
    logged('MokListX', known(deniedList(contents, store))),
    {
      ...variableEvent(7, 'EV_EFI_VARIABLE_AUTHORITY', { name: 'SbatLevel', guid: SHIM_LOCK, data: level }),
      ...{ from: 'shim', what: `SbatLevel, ${level.length} bytes` },
    },
    logged('MokListTrusted', known(Uint8Array.of(1))),
  ]
}

function logged(name: string, content: EventContent): PredictedEvent {
  return { pcr: 14, type: 'EV_IPL', from: 'shim', what: `shim's ${name}`, content }
}

/** As mirrored to MokListRT: the vendor's keys first. */
function mokList({ vendorAuthorized }: ShimContents, store: VariableStore): Buffer {
  return listWith(asLists(vendorAuthorized), findVariable(store, MOK_LIST)?.data)
}

function deniedList({ vendorDenied }: ShimContents, store: VariableStore): Buffer {
  return listWith(vendorDenied, findVariable(store, { name: 'MokListX', guid: SHIM_LOCK })?.data)
}

const NO_DIGEST = new Uint8Array(32)

/** A list of nobody's: one digest of zeros. */
function listWith(vendor: Uint8Array, stored: Uint8Array = new Uint8Array()): Buffer {
  const whole = Buffer.concat([vendor, stored])
  return whole.length > 0 ? whole : listOf(SIGNATURE_TYPES.sha256, NO_DIGEST)
}

/** DER begins with a SEQUENCE; a list begins with the GUID of its type, of which none is known to begin so. */
const DER_SEQUENCE = 0x30

function asLists(vendor: Uint8Array): Uint8Array {
  return vendor[0] === DER_SEQUENCE ? listOf(SIGNATURE_TYPES.x509, vendor) : vendor
}

function listOf(type: string, data: Uint8Array): Buffer {
  return encodeSignatureLists([{ type, header: new Uint8Array(), signatures: [{ owner: SHIM_LOCK, data }] }])
}

/** shim's own, unless the variable has one of the same date or a later one. Each begins `sbat,VERSION,DATE`. */
function sbatLevel({ automaticSbatLevel }: ShimContents, store: VariableStore): Uint8Array {
  const stored = findVariable(store, { name: 'SbatLevel', guid: SHIM_LOCK })?.data
  if (stored === undefined) return automaticSbatLevel
  const date = (level: Uint8Array) =>
    /^sbat,1,(\d{10})\n/.exec(Buffer.from(level).toString('latin1'))?.[1] ?? ''
  return date(stored) >= date(automaticSbatLevel) ? stored : automaticSbatLevel
}

type SecondStage =
  | { readonly allowed: true; readonly event: PredictedEvent }
  | { readonly allowed: false; readonly reason: string }

/** db before MokListRT; the certificate's entry is measured under the name of its list. */
function secondStageAuthority(
  uki: Uint8Array,
  { contents, store }: { readonly contents: ShimContents; readonly store: VariableStore },
): SecondStage {
  const stored = (name: string) =>
    findVariable(store, { name, guid: IMAGE_SECURITY_DATABASE })?.data ?? new Uint8Array()
  const dbx = Buffer.concat([stored('dbx'), deniedList(contents, store)])
  const lists = [
    { name: 'db', guid: IMAGE_SECURITY_DATABASE, db: stored('db') },
    { name: 'MokListRT', guid: SHIM_LOCK, db: mokList(contents, store) },
  ]
  let reason = ''
  for (const { name, guid, db } of lists) {
    const authority = authorityIn(uki, { db, dbx })
    if (!authority.allowed) {
      reason = authority.reason.replace('not in db', 'in neither db nor MokList')
      continue
    }
    const { entry } = authority
    const event = variableEvent(7, 'EV_EFI_VARIABLE_AUTHORITY', { name, guid, data: entry })
    return { allowed: true, event: { ...event, what: `authority in ${name}, ${entry.length} bytes` } }
  }
  return { allowed: false, reason }
}
