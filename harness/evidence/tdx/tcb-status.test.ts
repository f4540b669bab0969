import t from 'tap'
import {
  componentLevel,
  type Json,
  moduleIdentityOf,
  qeIdentity,
  tcbInfo,
  tcbLevel,
} from '../testing/tdx-collateral.ts'
import { readQeIdentity } from './qe-identity.ts'
import { COMPONENT_STATUSES, LEVEL_STATUSES, readTcbInfo } from './tcb-info.ts'
import { evaluateTcb, type TcbStatus } from './tcb-status.ts'

/** Expected statuses are those of Intel's Quote Verification Library, read off its TcbLevelCheck and TDRelaunchCheck. */

const svns = (...values: readonly number[]) =>
  Uint8Array.from({ length: 16 }, (_, index) => values[index] ?? 0)

interface Platform {
  readonly tee?: Uint8Array
  readonly tee2?: Uint8Array
  readonly qe?: number
  readonly cpu?: Uint8Array
  readonly pceSvn?: number
  readonly info?: Json
  readonly identity?: Json
}

function evaluate(platform: Platform = {}) {
  return evaluateTcb({
    body: { teeTcbSvn: platform.tee ?? svns(6, 1, 3), teeTcbSvn2: platform.tee2 },
    qeIsvSvn: platform.qe ?? 6,
    pck: { cpuSvnComponents: platform.cpu ?? svns(3, 3, 2, 2, 4, 1, 0, 5), pceSvn: platform.pceSvn ?? 11 },
    tcbInfo: readTcbInfo(platform.info ?? tcbInfo()),
    qeIdentity: readQeIdentity(platform.identity ?? qeIdentity()),
  })
}

/** One level of each kind that everything reaches. */
const levels = (platform: string, module: string, advisories: { readonly module?: readonly string[] } = {}) =>
  tcbInfo({
    tcbLevels: [tcbLevel({ status: platform, advisoryIds: ['INTEL-SA-00010'] })],
    tdxModuleIdentities: [moduleIdentityOf('TDX_01', componentLevel(1, module, advisories.module))],
  })
const qe = (status: string) => qeIdentity({ tcbLevels: [componentLevel(1, status)] })

t.test('the statuses of platform, module and QE are combined as the library does', async (t) => {
  const outOfDate: Readonly<Record<string, TcbStatus>> = {
    UpToDate: 'OutOfDate',
    SWHardeningNeeded: 'OutOfDate',
    ConfigurationNeeded: 'OutOfDateConfigurationNeeded',
    ConfigurationAndSWHardeningNeeded: 'OutOfDateConfigurationNeeded',
    OutOfDate: 'OutOfDate',
    OutOfDateConfigurationNeeded: 'OutOfDateConfigurationNeeded',
    Revoked: 'Revoked',
  }
  for (const platform of LEVEL_STATUSES)
    for (const part of COMPONENT_STATUSES) {
      const expected = part === 'UpToDate' ? platform : part === 'Revoked' ? 'Revoked' : outOfDate[platform]
      t.equal(evaluate({ info: levels(platform, part) }).status, expected, `${platform}, module ${part}`)
      const withQe = evaluate({ info: levels(platform, 'UpToDate'), identity: qe(part) })
      t.equal(withQe.status, expected, `${platform}, QE ${part}`)
    }
})

t.test('advisories of all parts are listed once', async (t) => {
  const info = levels('OutOfDate', 'OutOfDate', { module: ['INTEL-SA-00010', 'INTEL-SA-00011'] })
  const identity = qeIdentity({ tcbLevels: [componentLevel(1, 'OutOfDate', ['INTEL-SA-00012'])] })
  t.strictSame(evaluate({ info, identity }).advisoryIds, [
    'INTEL-SA-00010',
    'INTEL-SA-00011',
    'INTEL-SA-00012',
  ])
})

t.test('every component of a level must be reached, by its own SVN', async (t) => {
  t.equal(evaluate().platform.status, 'UpToDate')
  t.equal(evaluate({ pceSvn: 10 }).platform.status, 'OutOfDate', 'PCE')
  t.equal(evaluate({ pceSvn: 4 }).status, 'NotSupported', 'below every level')
  for (const index of [0, 1, 2, 3, 4, 5, 7]) {
    const cpu = svns(3, 3, 2, 2, 4, 1, 0, 5)
    cpu[index] = (cpu[index] ?? 0) - 1
    t.equal(evaluate({ cpu }).platform.status, 'OutOfDate', `processor component ${index}`)
  }
  t.equal(evaluate({ tee: svns(6, 1, 2) }).platform.status, 'OutOfDate', 'TDX component 2')
  const higher = svns(9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9)
  t.equal(evaluate({ cpu: higher }).status, 'UpToDate', 'above every level')
})

t.test('with a module family, components 0 and 1 are the module identity to judge', async (t) => {
  const info = tcbInfo({ tcbLevels: [tcbLevel({ tdx: [5, 0, 3] })] })
  t.equal(
    evaluate({ info, tee: svns(2, 1, 3) }).platform.status,
    'UpToDate',
    'the level does not ask component 0',
  )
  t.equal(evaluate({ info, tee: svns(2, 1, 3) }).status, 'OutOfDate', 'the module is of SVN 2')
  t.equal(evaluate({ info, tee: svns(1, 1, 3) }).status, 'NotSupported', 'below every level of the module')
  const base = evaluate({ info, tee: svns(5, 0, 3) })
  t.match(base, { status: 'UpToDate', module: { id: 'TDX', status: 'UpToDate' } })
  t.equal(evaluate({ info, tee: svns(4, 0, 3) }).status, 'NotSupported', 'without one, component 0 counts')
  const two = {
    tdxModuleIdentities: [
      moduleIdentityOf('tdx_0a', componentLevel(3)),
      moduleIdentityOf('TDX_01', componentLevel(9)),
    ],
  }
  const family = evaluate({ info: tcbInfo(two), tee: svns(3, 10, 3) })
  t.match(family, { status: 'UpToDate', module: { id: 'TDX_0A' } }, 'the family in hex, either case')
})

t.test('levels count from the highest, in whatever order the document has them', async (t) => {
  const tcbLevels = [
    tcbLevel({ sgx: [], pceSvn: 0, tdx: [], status: 'Revoked' }),
    tcbLevel(),
    tcbLevel({ pceSvn: 5, status: 'OutOfDate' }),
  ]
  for (const order of [tcbLevels, tcbLevels.toReversed()]) {
    t.equal(evaluate({ info: tcbInfo({ tcbLevels: order }) }).status, 'UpToDate')
    t.equal(evaluate({ info: tcbInfo({ tcbLevels: order }), pceSvn: 7 }).status, 'OutOfDate')
  }
  const reversed = qeIdentity({ tcbLevels: [componentLevel(1, 'Revoked'), componentLevel(4)] })
  t.equal(evaluate({ identity: reversed }).status, 'UpToDate')
})

t.test('a QE below every level is not supported, and a revoked module weighs more', async (t) => {
  t.equal(evaluate({ qe: 0 }).status, 'NotSupported')
  t.equal(evaluate({ qe: 0, info: levels('UpToDate', 'Revoked') }).status, 'Revoked')
  t.match(evaluate({ qe: 2 }), {
    status: 'OutOfDate',
    qe: { status: 'OutOfDate', advisoryIds: ['INTEL-SA-00003'] },
  })
})

t.test('a relaunch is advised where only the module was old and is no more', async (t) => {
  const old = { tee: svns(2, 1, 3) }
  t.equal(evaluate({ ...old, tee2: svns(6, 1, 3) }).status, 'TDRelaunchAdvised')
  t.equal(evaluate(old).status, 'OutOfDate', 'a version 1.0 report does not say what runs now')
  t.equal(evaluate({ ...old, tee2: svns(5, 1, 3) }).status, 'OutOfDate', 'the one running is old too')
  t.equal(evaluate({ ...old, tee2: svns(6, 1, 2) }).status, 'OutOfDate', 'its loader is old')
  t.equal(evaluate({ ...old, tee2: svns(6, 2, 3) }).status, 'OutOfDate', 'of an unknown family')
  t.equal(evaluate({ ...old, tee2: svns(6, 1, 3), qe: 2 }).status, 'OutOfDate', 'the QE is old')
  t.equal(evaluate({ ...old, tee2: svns(6, 1, 3), pceSvn: 5 }).status, 'OutOfDate', 'the platform is old')
  const configure = tcbInfo({ tcbLevels: [tcbLevel({ status: 'ConfigurationNeeded' })] })
  const advised = evaluate({ ...old, tee2: svns(6, 1, 3), info: configure })
  t.equal(advised.status, 'TDRelaunchAdvisedConfigurationNeeded')
  const base = { ...old, tee2: svns(6, 0, 3), info: tcbInfo({ tcbLevels: [tcbLevel({ tdx: [6, 0, 3] })] }) }
  t.equal(evaluate(base).status, 'TDRelaunchAdvised', 'without a family, the latest level says what is new')
  t.equal(evaluate({ ...base, tee2: svns(5, 0, 3) }).status, 'OutOfDate')
})
