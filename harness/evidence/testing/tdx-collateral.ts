/** Collateral of an emulated TDX platform, as the PCS would answer. What is overridden is signed as it is. */
import { encodePem } from '../../formats/pem.ts'
import type { KeyPair } from './pki.ts'
import { SIMULATED_FMSPC, SIMULATED_MRSIGNER, type TdxPki } from './tdx-pki.ts'
import { rawSignature } from './tdx-quote.ts'

export type Json = Readonly<Record<string, unknown>>

/** Within the validity of everything that is made by default. */
export const SIMULATED_TIME = new Date('2025-07-01T00:00:00Z')
const ISSUED = '2025-06-19T10:16:03Z'
const NEXT = '2025-07-19T10:16:03Z'

export interface LevelSpec {
  readonly sgx?: readonly number[]
  readonly pceSvn?: number
  readonly tdx?: readonly number[]
  readonly status?: string
  readonly advisoryIds?: readonly string[]
}

const components = (svns: readonly number[]) =>
  Array.from({ length: 16 }, (_, index) => ({ svn: svns[index] ?? 0 }))

/** Default: what the emulated platform has, up to date. */
export function tcbLevel({
  sgx = [3, 3, 2, 2, 4, 1, 0, 5],
  pceSvn = 11,
  tdx = [0, 0, 3],
  ...rest
}: LevelSpec = {}): Json {
  return {
    tcb: { sgxtcbcomponents: components(sgx), pcesvn: pceSvn, tdxtcbcomponents: components(tdx) },
    tcbDate: '2024-03-13T00:00:00Z',
    tcbStatus: rest.status ?? 'UpToDate',
    ...(rest.advisoryIds && { advisoryIDs: rest.advisoryIds }),
  }
}

/** Of a module or an enclave. */
export function componentLevel(isvsvn: number, status = 'UpToDate', advisoryIds?: readonly string[]): Json {
  return {
    ...{ tcb: { isvsvn }, tcbDate: '2024-03-13T00:00:00Z', tcbStatus: status },
    ...(advisoryIds && { advisoryIDs: advisoryIds }),
  }
}

const MODULE = { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'FF'.repeat(8) }

export function moduleIdentityOf(id: string, ...tcbLevels: readonly Json[]): Json {
  return { id, ...MODULE, tcbLevels }
}

/** Default levels: the platform's own, then one below that is out of date; the module's SVN 6 and 2. */
export function tcbInfo(changes: Json = {}): Json {
  return {
    ...{ id: 'TDX', version: 3, issueDate: ISSUED, nextUpdate: NEXT },
    ...{ fmspc: SIMULATED_FMSPC.toString('hex'), pceId: '0000', tcbType: 0, tcbEvaluationDataNumber: 17 },
    tdxModule: MODULE,
    tdxModuleIdentities: [
      moduleIdentityOf('TDX_01', componentLevel(6), componentLevel(2, 'OutOfDate', ['INTEL-SA-00002'])),
    ],
    tcbLevels: [
      tcbLevel(),
      tcbLevel({ sgx: [], pceSvn: 5, tdx: [], status: 'OutOfDate', advisoryIds: ['INTEL-SA-00001'] }),
    ],
    ...changes,
  }
}

export function qeIdentity(changes: Json = {}): Json {
  return {
    ...{ id: 'TD_QE', version: 2, issueDate: ISSUED, nextUpdate: NEXT, tcbEvaluationDataNumber: 17 },
    ...{ miscselect: '00000000', miscselectMask: 'FFFFFFFF' },
    ...{ attributes: `11${'00'.repeat(15)}`, attributesMask: `FB${'FF'.repeat(7)}${'00'.repeat(8)}` },
    ...{ mrsigner: SIMULATED_MRSIGNER.toString('hex').toUpperCase(), isvprodid: 2 },
    tcbLevels: [componentLevel(4), componentLevel(1, 'OutOfDate', ['INTEL-SA-00003'])],
    ...changes,
  }
}

/** `{"name":…,"signature":"…"}` over `text`, exactly. */
export function signedJson(name: 'tcbInfo' | 'enclaveIdentity', text: string, signer: KeyPair): Buffer {
  const signature = rawSignature(Buffer.from(text), signer).toString('hex')
  return Buffer.from(`{"${name}":${text},"signature":"${signature}"}`)
}

export interface CollateralSpec {
  readonly tcbInfo?: Json
  readonly qeIdentity?: Json
  /** Default TCB signing. */
  readonly signer?: KeyPair
  readonly rootCrl?: Buffer
  readonly pckCrl?: Buffer
}

/** One file each, as parseTdxCollateral reads them. */
export function collateralFiles(
  pki: TdxPki,
  spec: CollateralSpec = {},
): Readonly<Record<'tcbInfo' | 'qeIdentity' | 'signingChain' | 'rootCrl' | 'pckCrl', Buffer>> {
  const signer = spec.signer ?? pki.keys.tcbSigning
  const { tcbSigning, root } = pki.certificates
  return {
    tcbInfo: signedJson('tcbInfo', JSON.stringify(spec.tcbInfo ?? tcbInfo()), signer),
    qeIdentity: signedJson('enclaveIdentity', JSON.stringify(spec.qeIdentity ?? qeIdentity()), signer),
    signingChain: Buffer.from([tcbSigning, root].map((der) => encodePem('CERTIFICATE', der)).join('')),
    rootCrl: spec.rootCrl ?? pki.rootCrl(),
    pckCrl: spec.pckCrl ?? pki.pckCrl(),
  }
}
