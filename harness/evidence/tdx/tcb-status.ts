import type { TdReport } from '../../formats/tdx/td-report.ts'
import type { PckIdentity } from './pck.ts'
import type { QeIdentity } from './qe-identity.ts'
import type {
  ComponentLevel,
  ComponentStatus,
  LevelStatus,
  TcbInfo,
  TcbLevel,
  TdxModuleIdentity,
} from './tcb-info.ts'

/**
 * How Intel's Quote Verification Library turns TCB info and QE identity into one status: its appendix "TCB level
 * check" (4.1.2.4.17) and "TD relaunch". Pure; everything given here must be verified already.
 */

/** Converged status as Intel spells it: QVL 4.1.2.4.17. */
export type TcbStatus =
  | LevelStatus
  /** The running module is up to date, the TD was started under an older one (TDX 1.5 quotes only). */
  | 'TDRelaunchAdvised'
  | 'TDRelaunchAdvisedConfigurationNeeded'
  /** Below every level that the collateral knows. */
  | 'NotSupported'
  /** There was no collateral to tell. */
  | 'Unknown'

/**
 * A part of the TCB and the level it reached; status 'NotSupported' where it reached none. Intel PCS API v4, "Get TDX
 * TCB Info".
 */
export interface TcbPart<Status extends string> {
  readonly status: Status | 'NotSupported'
  /** When the level's last vulnerability became known. */
  readonly tcbDate: Date | undefined
  readonly advisoryIds: readonly string[]
}

/** The converged status and what it comes from: Intel's Quote Verification Library (QVL), 4.1.2.4.17. */
export interface TdxTcb {
  /** The three parts combined. */
  readonly status: TcbStatus
  /** Of all parts, in order, without repetition. */
  readonly advisoryIds: readonly string[]
  /** Processor, PCE and SEAM loader. */
  readonly platform: TcbPart<LevelStatus>
  /** `TDX` where TEE_TCB_SVN[1] is 0: then the platform's level covers the module. */
  readonly module: TcbPart<ComponentStatus> & { readonly id: string }
  readonly qe: TcbPart<ComponentStatus>
}

/**
 * What is compared: SVNs of the platform, the module and the enclave. A byte each, PCESVN 16 bits. Intel PCS API v4,
 * "Get TDX TCB Info".
 */
export interface TcbInputs {
  readonly body: Pick<TdReport, 'teeTcbSvn' | 'teeTcbSvn2'>
  readonly qeIsvSvn: number
  readonly pck: Pick<PckIdentity, 'cpuSvnComponents' | 'pceSvn'>
  readonly tcbInfo: TcbInfo
  readonly qeIdentity: QeIdentity
}

/** TEE_TCB_SVN[1]: the family of modules, 0 before TDX 1.5. One byte. Never throws. */
export function moduleFamily(teeTcbSvn: Uint8Array): number {
  return teeTcbSvn[1] ?? 0
}

/**
 * The identity of the family in the TCB info; undefined for family 0 and for a family that the document lacks. Intel
 * PCS API v4, `tdxModuleIdentities`. Never throws.
 */
export function moduleIdentity(tcbInfo: TcbInfo, teeTcbSvn: Uint8Array): TdxModuleIdentity | undefined {
  const family = moduleFamily(teeTcbSvn)
  if (family === 0) return undefined
  return tcbInfo.moduleIdentities.find(({ id }) => id === moduleId(family))
}

/** "TDX_01" of a family. Intel PCS API v4, `tdxModuleIdentities`. Never throws. */
export function moduleId(family: number): string {
  return family === 0 ? 'TDX' : `TDX_${family.toString(16).padStart(2, '0').toUpperCase()}`
}

/**
 * Converges the levels of platform, module and quoting enclave: Intel's QVL, 4.1.2.4.17 (TCB level of a quote). Never
 * throws.
 */
export function evaluateTcb(inputs: TcbInputs): TdxTcb {
  const { body, tcbInfo } = inputs
  const sgxLevel = tcbInfo.levels.find((level) => reachesProcessor(inputs.pck, level))
  const level = tcbInfo.levels.find(
    (candidate) => reachesProcessor(inputs.pck, candidate) && reachesTdx(body.teeTcbSvn, candidate),
  )
  const identity = moduleIdentity(tcbInfo, body.teeTcbSvn)
  const module = modulePart(identity, body.teeTcbSvn)
  const platform = partOf(level)
  const qe = partOf(levelOf(inputs.qeIdentity.levels, inputs.qeIsvSvn))
  const parts = { platform, module, qe }
  const advisoryIds = [...new Set(Object.values(parts).flatMap((part) => part.advisoryIds))]
  return { status: converge(inputs, parts, sgxLevel), advisoryIds, ...parts }
}

type Parts = Pick<TdxTcb, 'platform' | 'module' | 'qe'>

/** 4.1.2.4.17: module, then relaunch, then QE. */
function converge(inputs: TcbInputs, parts: Parts, sgxLevel: TcbLevel | undefined): TcbStatus {
  const { platform, module, qe } = parts
  if (platform.status === 'NotSupported' || module.status === 'NotSupported') return 'NotSupported'
  const withModule = lower(platform.status, module.status)
  if (withModule === 'Revoked') return 'Revoked'
  const relaunch = relaunchStatus(inputs, parts, { sgxStatus: sgxLevel?.status, tdxStatus: withModule })
  if (qe.status === 'NotSupported') return 'NotSupported'
  return relaunch ?? lower(withModule, qe.status)
}

/** A part that is out of date or revoked lowers the whole; the other's need of configuration is kept. */
function lower(status: LevelStatus, part: ComponentStatus): LevelStatus {
  if (part === 'Revoked') return 'Revoked'
  if (part === 'UpToDate') return status
  switch (status) {
    case 'UpToDate':
    case 'SWHardeningNeeded':
      return 'OutOfDate'
    case 'ConfigurationNeeded':
    case 'ConfigurationAndSWHardeningNeeded':
      return 'OutOfDateConfigurationNeeded'
    default:
      return status
  }
}

const NOT_LOWERED: readonly (LevelStatus | undefined)[] = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
]

/** 4.1.2.4.17.4.3: only the module is old, and TEE_TCB_SVN_2 says that the one running now is the latest. */
function relaunchStatus(
  { body: { teeTcbSvn2 }, tcbInfo }: TcbInputs,
  { module, qe }: Parts,
  { sgxStatus, tdxStatus }: { readonly sgxStatus: LevelStatus | undefined; readonly tdxStatus: LevelStatus },
): TcbStatus | undefined {
  const tdxIsOld = tdxStatus === 'OutOfDate' || tdxStatus === 'OutOfDateConfigurationNeeded'
  const onlyModule = tdxIsOld && module.status === 'OutOfDate' && NOT_LOWERED.includes(sgxStatus)
  if (teeTcbSvn2 === undefined || !onlyModule || qe.status !== 'UpToDate') return undefined
  const [latest] = tcbInfo.levels
  const identity = moduleIdentity(tcbInfo, teeTcbSvn2)
  if (latest === undefined || (moduleFamily(teeTcbSvn2) > 0 && identity === undefined)) return undefined
  const neededSvn = identity ? identity.levels[0]?.isvSvn : latest.tdxComponents[0]
  const reached =
    (teeTcbSvn2[0] ?? 0) >= (neededSvn ?? Number.POSITIVE_INFINITY) &&
    (teeTcbSvn2[2] ?? 0) >= (latest.tdxComponents[2] ?? Number.POSITIVE_INFINITY)
  if (!reached) return undefined
  const configuration = [sgxStatus, tdxStatus].some((status) => status?.includes('Configuration'))
  return configuration ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised'
}

function reachesProcessor({ cpuSvnComponents, pceSvn }: TcbInputs['pck'], level: TcbLevel): boolean {
  return reaches(cpuSvnComponents, level.sgxComponents, 0) && pceSvn >= level.pceSvn
}

/** With a module family of its own, components 0 and 1 are the module's and judged by its identity. */
function reachesTdx(teeTcbSvn: Uint8Array, level: TcbLevel): boolean {
  return reaches(teeTcbSvn, level.tdxComponents, moduleFamily(teeTcbSvn) > 0 ? 2 : 0)
}

/** Every component from `first` on is at least the needed one. */
function reaches(svns: Uint8Array, needed: Uint8Array, first: number): boolean {
  return needed.every((svn, index) => index < first || (svns[index] ?? -1) >= svn)
}

function modulePart(identity: TdxModuleIdentity | undefined, teeTcbSvn: Uint8Array): TdxTcb['module'] {
  const family = moduleFamily(teeTcbSvn)
  const id = moduleId(family)
  if (family === 0) return { id, status: 'UpToDate', tcbDate: undefined, advisoryIds: [] }
  return { id, ...partOf(levelOf(identity?.levels ?? [], teeTcbSvn[0] ?? 0)) }
}

/** The highest level that `isvSvn` reaches; `levels` are sorted. */
function levelOf(levels: readonly ComponentLevel[], isvSvn: number): ComponentLevel | undefined {
  return levels.find((level) => isvSvn >= level.isvSvn)
}

function partOf<Status extends string>(
  level:
    | { readonly status: Status; readonly tcbDate: Date; readonly advisoryIds: readonly string[] }
    | undefined,
): TcbPart<Status> {
  if (level === undefined) return { status: 'NotSupported', tcbDate: undefined, advisoryIds: [] }
  const { status, tcbDate, advisoryIds } = level
  return { status, tcbDate, advisoryIds }
}
