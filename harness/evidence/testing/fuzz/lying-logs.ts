/**
 * Logs of boots that a policy does not accept, over registers that somebody vouches for. Whatever the guest writes into
 * such a log, as long as it replays, it must never become acceptable.
 */
import { sha256Hex } from '../../../base/digest.ts'
import { parseVariableEvent } from '../../../formats/event-log/efi-events.ts'
import { EV } from '../../../formats/event-log/event-types.ts'
import { utf16z, variableEvent } from '../../../formats/event-log/testing/efi-event-data.ts'
import { type SyntheticEvent, syntheticLog } from '../../../formats/event-log/testing/synthetic-log.ts'
import { eventLogSteps } from '../../event-log/examine.ts'
import { examine } from '../../examination.ts'
import type { ResolvedEventLogPolicy } from '../../policy/resolve.ts'
import type { VerifyRequest } from '../../request.ts'
import { hclSteps } from '../../vtpm/examine.ts'
import { logRequest } from '../emulated-requests.ts'
import { hclRequest } from '../hcl-report.ts'
import { GLOBAL, ukiBoot } from '../measured-boot.ts'
import type { FuzzTarget } from './engine.ts'
import { Forgery } from './forgery.ts'
import { relabel } from './relabel.ts'

const DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
const OWNERS = Buffer.from('3003020101', 'hex')
const STRANGERS = Buffer.from('3003020102', 'hex')
const COMMAND_LINE = 'console=ttyS0 quiet'

function authority(certificate: Buffer): SyntheticEvent {
  const entry = Buffer.concat([Buffer.alloc(16), certificate])
  return { register: 7, type: EV.EFI_VARIABLE_AUTHORITY, data: variableEvent(DATABASE, 'db', entry) }
}

const isAuthority = ({ type }: SyntheticEvent): boolean => type === EV.EFI_VARIABLE_AUTHORITY
const isLine = ({ register, data }: SyntheticEvent): boolean =>
  register === 12 && Buffer.from(data).equals(utf16z(COMMAND_LINE))

/** What the policy is made for: the owner's image, and beside the UKI nothing but its command line. */
const honest = ukiBoot('pcr')
  .map((event) => (isAuthority(event) ? authority(OWNERS) : event))
  .filter((event) => event.register !== 12 || isLine(event))

/** What a liar wants his log to look like. */
const HONEST_LOG = syntheticLog(honest)

const variable = (guid: string, name: string, data: Uint8Array): SyntheticEvent => ({
  ...{ register: 7, type: EV.EFI_VARIABLE_DRIVER_CONFIG, data: variableEvent(guid, name, data) },
})
const isVariable =
  (name: string) =>
  ({ type, data }: SyntheticEvent): boolean =>
    type === EV.EFI_VARIABLE_DRIVER_CONFIG && parseVariableEvent(Buffer.from(data)).name === name
const replaced = (is: (event: SyntheticEvent) => boolean, by: SyntheticEvent) =>
  honest.map((event) => (is(event) ? by : event))

interface Lie {
  readonly truth: readonly SyntheticEvent[]
  readonly section: ResolvedEventLogPolicy
}

const IMAGE = { register: 4, type: EV.EFI_BOOT_SERVICES_APPLICATION, data: 'x', measured: 'evil' }
const LINE = { register: 12, type: EV.IPL, data: utf16z('init=/bin/sh') }

const SECURE_BOOT_OFF: Lie = {
  truth: replaced(isVariable('SecureBoot'), variable(GLOBAL, 'SecureBoot', Buffer.of(0))),
  section: { secureBoot: 'on' },
}

const LIES: Readonly<Record<string, Lie>> = {
  'Secure Boot off': SECURE_BOOT_OFF,
  'another db': {
    truth: replaced(isVariable('db'), variable(DATABASE, 'db', Buffer.alloc(0))),
    section: { db: { exactly: [sha256Hex('certificate')] } },
  },
  'another image': { truth: [...honest, IMAGE], section: { images: [sha256Hex('authenticode')] } },
  'another signer': {
    truth: honest.flatMap((event) => (isAuthority(event) ? [authority(STRANGERS), event] : [event])),
    section: { imagesSignedBy: [sha256Hex(OWNERS)], ukiSignedBy: [sha256Hex(OWNERS)] },
  },
  'another command line': { truth: [...honest, LINE], section: { commandLines: [COMMAND_LINE] } },
  'an addon': { truth: [...honest, LINE], section: { addons: 'forbidden' } },
  'no end of boot services': {
    truth: honest.filter(({ data }) => !String(data).startsWith('Exit Boot Services')),
    section: { exitBootServices: 'required' },
  },
}

/** The boots that the policies of the lies were made for: acceptable, or the lies would prove nothing. */
export function honestRequests(): readonly VerifyRequest[] {
  const plain = Object.entries(LIES).filter(([name]) => name !== 'an addon')
  return plain.map(([, { section }]) => logRequest({ events: honest, policy: { eventLog: section } }))
}

/** One target for each lie; the input is the log alone, its quote stays. */
export function lyingLogTargets(): readonly FuzzTarget[] {
  return [
    ...Object.entries(LIES).map(([name, { truth, section }]) => {
      const request = logRequest({ events: truth, policy: { eventLog: section } })
      return lyingLog(name, request.evidence, (input) => examine(eventLogSteps(input, request)))
    }),
    besideHclReport(),
  ]
}

function lyingLog(
  name: string,
  seed: Uint8Array,
  run: (input: Uint8Array) => { readonly acceptable: boolean },
): FuzzTarget {
  return {
    ...{ name: `event log that hides: ${name}`, seeds: [seed], maxBytes: 64 * 1024 },
    mutate: (input, random) => relabel(input, random, HONEST_LOG),
    run: (input) => {
      if (run(input).acceptable) throw new Forgery(`acceptable, and the truth is: ${name}`)
    },
  }
}

/** The log of a cloud's VM, whose vTPM a paravisor's report endorses. */
function besideHclReport(): FuzzTarget {
  const { truth: events, section } = SECURE_BOOT_OFF
  const request = hclRequest({ events, policy: { snp: {}, hcl: {}, tpm: {}, eventLog: section } })
  return lyingLog('Secure Boot off, beside an HCL report', request.eventLog ?? new Uint8Array(), (eventLog) =>
    examine(hclSteps(request.evidence, { ...request, eventLog })),
  )
}
