import { FormatError } from '../../base/errors.ts'
import { JsonFields } from './json-fields.ts'

/**
 * TCB info of version 3 for TDX, as Intel's Provisioning Certification Service gives it: PCS API v4, "Get TDX TCB
 * Info", appendix A "TCB Info". It says for each combination of security version numbers (SVN) what is known about it.
 */

/** What Intel says of one level. */
export const LEVEL_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const
/** `tcbStatus` of a platform level: PCS API v4, appendix A. */
export type LevelStatus = (typeof LEVEL_STATUSES)[number]

/** What Intel says of one level of a module or an enclave. */
export const COMPONENT_STATUSES = ['UpToDate', 'OutOfDate', 'Revoked'] as const
/** `tcbStatus` of a module or an enclave level. Intel PCS API v4, "Get TDX TCB Info". */
export type ComponentStatus = (typeof COMPONENT_STATUSES)[number]

/**
 * A platform level: SVNs of 16 SGX and 16 TDX components, one byte each, and PCESVN. Intel PCS API v4, "Get TDX TCB
 * Info".
 */
export interface TcbLevel {
  /** 16 SVNs of the processor's components, and the PCE's: compared with the PCK certificate's. */
  readonly sgxComponents: Uint8Array
  readonly pceSvn: number
  /** 16 SVNs that TEE_TCB_SVN is compared with. */
  readonly tdxComponents: Uint8Array
  readonly tcbDate: Date
  readonly status: LevelStatus
  readonly advisoryIds: readonly string[]
}

/** A level of a TDX module or a quoting enclave, by ISVSVN. Intel PCS API v4, "Get TDX TCB Info". */
export interface ComponentLevel {
  readonly isvSvn: number
  readonly tcbDate: Date
  readonly status: ComponentStatus
  readonly advisoryIds: readonly string[]
}

/**
 * What a TDX module must be: MRSIGNERSEAM (48 bytes), and SEAMATTRIBUTES (8 bytes) under a mask. Intel PCS API v4,
 * `tdxModule`.
 */
export interface TdxModule {
  readonly mrSigner: Uint8Array
  readonly attributes: Uint8Array
  readonly attributesMask: Uint8Array
}

/** One family of TDX modules: MRSIGNER of 48 bytes, attributes of 8. Intel PCS API v4, `tdxModuleIdentities`. */
export interface TdxModuleIdentity extends TdxModule {
  /** `TDX_01`: the family, TEE_TCB_SVN[1] in hex. */
  readonly id: string
  /** Highest ISVSVN first. */
  readonly levels: readonly ComponentLevel[]
}

/** TCB info of version 3 for TDX: PCS API v4, appendix A. */
export interface TcbInfo {
  readonly issueDate: Date
  readonly nextUpdate: Date
  /** 6 bytes. */
  readonly fmspc: Uint8Array
  /** 2 bytes. */
  readonly pceId: Uint8Array
  readonly evaluationDataNumber: number
  readonly module: TdxModule
  readonly moduleIdentities: readonly TdxModuleIdentity[]
  /** Highest first, as `compareLevels` orders them. */
  readonly levels: readonly TcbLevel[]
}

const COMPONENTS = 16
const MAX_LEVELS = { min: 1, max: 256 } as const
const U8 = 0xff
const U16 = 0xffff
const U32 = 0xffff_ffff

const OF_TDX = 'documents for SGX, and all of PCS API v3, say nothing of a TD: get those for TDX, of API v4'

/**
 * Reads the value of "tcbInfo". Throws FormatError 'bad-value' with the path of the field, also for an SGX document and
 * for a level that occurs twice. Intel PCS API v4, "Get TDX TCB Info"; at most 256 levels.
 */
export function readTcbInfo(value: unknown): TcbInfo {
  const fields = new JsonFields(value, 'TCB info')
  fields.oneOf('id', ['TDX'], OF_TDX)
  fields.oneOf('version', [3], OF_TDX)
  fields.oneOf('tcbType', [0])
  const identities = fields.has('tdxModuleIdentities')
    ? fields.objects('tdxModuleIdentities', { min: 1, max: 256 })
    : []
  // The order decides which level counts; Intel's library sorts rather than relying on the document.
  const levels = fields.objects('tcbLevels', MAX_LEVELS).map(readLevel)
  levels.sort((left, right) => compareLevels(right, left))
  refuseRepetition(levels, (left, right) => compareLevels(left, right) === 0)
  const moduleIdentities = identities
    .map(readModuleIdentity)
    .sort((left, right) => compareText(left.id, right.id))
  refuseRepetition(moduleIdentities, (left, right) => left.id === right.id)
  return {
    issueDate: fields.date('issueDate'),
    nextUpdate: fields.date('nextUpdate'),
    fmspc: fields.hex('fmspc', 6),
    pceId: fields.hex('pceId', 2),
    evaluationDataNumber: fields.integer('tcbEvaluationDataNumber', U32),
    module: readModule(fields.object('tdxModule')),
    moduleIdentities,
    levels,
  }
}

function readLevel(fields: JsonFields): TcbLevel {
  const tcb = fields.object('tcb')
  return {
    sgxComponents: readComponents(tcb, 'sgxtcbcomponents'),
    pceSvn: tcb.integer('pcesvn', U16),
    tdxComponents: readComponents(tcb, 'tdxtcbcomponents'),
    tcbDate: fields.date('tcbDate'),
    status: fields.oneOf('tcbStatus', LEVEL_STATUSES),
    advisoryIds: fields.names('advisoryIDs'),
  }
}

function readComponents(tcb: JsonFields, name: string): Uint8Array {
  const components = tcb.objects(name, { min: COMPONENTS, max: COMPONENTS })
  return Uint8Array.from(components, (component) => component.integer('svn', U8))
}

function readModule(fields: JsonFields): TdxModule {
  return {
    mrSigner: fields.hex('mrsigner', 48),
    attributes: fields.hex('attributes', 8),
    attributesMask: fields.hex('attributesMask', 8),
  }
}

function readModuleIdentity(fields: JsonFields): TdxModuleIdentity {
  return {
    ...readModule(fields),
    id: fields.string('id').toUpperCase(),
    levels: readComponentLevels(fields, U8),
  }
}

/**
 * Levels of a module or an enclave, highest ISVSVN first. Intel PCS API v4, TCB info and QE identity, `tcbLevels`.
 * Throws FormatError.
 */
export function readComponentLevels(fields: JsonFields, maxIsvSvn: number = U16): readonly ComponentLevel[] {
  const levels = fields.objects('tcbLevels', MAX_LEVELS).map((level) => ({
    isvSvn: level.object('tcb').integer('isvsvn', maxIsvSvn),
    tcbDate: level.date('tcbDate'),
    status: level.oneOf('tcbStatus', COMPONENT_STATUSES),
    advisoryIds: level.names('advisoryIDs'),
  }))
  levels.sort((left, right) => right.isvSvn - left.isvSvn)
  refuseRepetition(levels, (left, right) => left.isvSvn === right.isvSvn)
  return levels
}

/** Two entries for the same SVNs could say different things. */
function refuseRepetition<Entry>(
  sorted: readonly Entry[],
  same: (left: Entry, right: Entry) => boolean,
): void {
  const repeated = sorted.some((entry, index) => {
    const next = sorted[index + 1]
    return next !== undefined && same(entry, next)
  })
  if (!repeated) return
  throw new FormatError('cannot parse TCB levels: two levels or modules are the same', {
    ...{ code: 'bad-value', field: 'tcbLevels', offset: 0 },
  })
}

const compareText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0)

/** Lexicographic over processor components, PCE SVN, TDX components: positive where `left` is the higher one. */
function compareLevels(left: TcbLevel, right: TcbLevel): number {
  return (
    Buffer.compare(left.sgxComponents, right.sgxComponents) ||
    left.pceSvn - right.pceSvn ||
    Buffer.compare(left.tdxComponents, right.tdxComponents)
  )
}
