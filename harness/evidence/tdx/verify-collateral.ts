import { type Finding, VerifyError } from '../../base/errors.ts'
import type { TdReport } from '../../formats/tdx/td-report.ts'
import { type Certificate, commonName } from '../../formats/x509.ts'
import { verifyChain } from '../certificates/chain.ts'
import { keyObject } from '../certificates/signature.ts'
import type { TdxCollateral } from './collateral.ts'
import type { PckIdentity } from './pck.ts'
import type { QeIdentity } from './qe-identity.ts'
import type { TdxRoot } from './root.ts'
import { hasSigned } from './signatures.ts'
import type { SignedDocument } from './signed-document.ts'
import type { TcbInfo, TdxModule } from './tcb-info.ts'
import { moduleFamily, moduleId, moduleIdentity } from './tcb-status.ts'

/** TCB info and QE identity: QVL 4.1.2.7 (TCB info), 4.1.2.9 (enclave report), and what 4.1.2.4 compares of them. */

/** What collateral has to fit: Intel's QVL, 4.1.2.4. */
export interface CollateralContext {
  readonly at: Date
  readonly root: TdxRoot
  readonly pck: PckIdentity
}

/** Documents that the root vouches for. Intel PCS API v4, "Get TDX TCB Info" and "Get TDX QE Identity". */
export interface VerifiedCollateral {
  /** For the platform of the PCK; undefined where none was given. */
  readonly tcbInfo: TcbInfo | undefined
  readonly qeIdentity: QeIdentity | undefined
  readonly findings: readonly Finding[]
}

/**
 * The documents that fit, verified. Throws VerifyError 'fmspc-mismatch' and 'pce-mismatch' where TCB info was given,
 * but for other platforms; 'collateral-signature', 'collateral-expired', 'collateral-not-yet-valid'; and those of
 * verifyChain for the certificate that signed them. Intel PCS API v4, "Get TDX TCB Info" and "Get TDX QE Identity".
 */
export function verifyCollateral(collateral: TdxCollateral, context: CollateralContext): VerifiedCollateral {
  const signers = tcbSigners(collateral, context.at)
  const trusted = new Set<Certificate>()
  const verify = <Content extends Dated>(
    documents: readonly SignedDocument<Content>[],
    what: string,
  ): Content | undefined => {
    const newest = pickNewest(documents, context.at)
    // Without what could have signed it, a document is worth as much as none: a finding, as for any that is missing.
    if (newest === undefined || signers.length === 0) return undefined
    verifyDocument(newest, { ...context, collateral, signers, trusted, what })
    return newest.content
  }
  const tcbInfo = verify(matching(collateral.tcbInfos, context.pck), 'TCB info')
  const qeIdentity = verify(collateral.qeIdentities, 'QE identity')
  return { tcbInfo, qeIdentity, findings: findingsOf({ tcbInfo, qeIdentity, signers }) }
}

interface Dated {
  readonly issueDate: Date
  readonly nextUpdate: Date
  readonly evaluationDataNumber: number
}

/** Valid ones first, then by evaluation, then by date: an old document must not hide a new one. */
function pickNewest<Content extends Dated>(
  documents: readonly SignedDocument<Content>[],
  at: Date,
): SignedDocument<Content> | undefined {
  const rank = ({ content }: SignedDocument<Content>): readonly [number, number, number] => [
    content.issueDate <= at && at <= content.nextUpdate ? 1 : 0,
    content.evaluationDataNumber,
    content.issueDate.getTime(),
  ]
  return documents.toSorted((left, right) => {
    const [ofLeft, ofRight] = [rank(left), rank(right)]
    return ofRight[0] - ofLeft[0] || ofRight[1] - ofLeft[1] || ofRight[2] - ofLeft[2]
  })[0]
}

function matching(
  tcbInfos: readonly SignedDocument<TcbInfo>[],
  { fmspc, pceId }: PckIdentity,
): readonly SignedDocument<TcbInfo>[] {
  if (tcbInfos.length === 0) return []
  const ofFmspc = tcbInfos.filter(({ content }) => hex(content.fmspc) === hex(fmspc))
  if (ofFmspc.length === 0) {
    throw new VerifyError('cannot tell the TCB status: the TCB info is for another platform', {
      code: 'fmspc-mismatch',
      expected: `FMSPC ${hex(fmspc)}, as in the PCK certificate`,
      got: tcbInfos.map(({ content }) => hex(content.fmspc)).join(', '),
    })
  }
  const ofPce = ofFmspc.filter(({ content }) => hex(content.pceId) === hex(pceId))
  if (ofPce.length === 0) {
    throw new VerifyError('cannot tell the TCB status: the TCB info is for another PCE', {
      code: 'pce-mismatch',
      expected: `PCEID ${hex(pceId)}, as in the PCK certificate`,
      got: ofFmspc.map(({ content }) => hex(content.pceId)).join(', '),
    })
  }
  return ofPce
}

/**
 * Any leaf of the root could sign a text; this name is given only to what signs collateral. Intel PCS API v4,
 * TCB-Info-Issuer-Chain.
 */
export const TCB_SIGNING = 'SGX TCB Signing'

/** Valid ones first: Intel renewed the certificate in 2025 and kept the key, so the old one fits as well. */
function tcbSigners({ certificates }: TdxCollateral, at: Date): readonly Certificate[] {
  const isValid = ({ notBefore, notAfter }: Certificate) => notBefore <= at && at <= notAfter
  return certificates
    .filter(({ subject }) => commonName(subject)?.includes(TCB_SIGNING))
    .toSorted((left, right) => Number(isValid(right)) - Number(isValid(left)))
}

interface DocumentContext extends CollateralContext {
  readonly collateral: TdxCollateral
  readonly signers: readonly Certificate[]
  /** Signers whose chain was verified in this call: both documents have the same, as a rule. */
  readonly trusted: Set<Certificate>
  readonly what: string
}

function verifyDocument(
  { content, signedBytes, signature }: SignedDocument<Dated>,
  { at, root, collateral, signers, trusted, what }: DocumentContext,
): void {
  const signer = signers.find(
    ({ publicKey }) =>
      publicKey.kind === 'ec' &&
      publicKey.curve === 'P-256' &&
      hasSigned(keyObject(publicKey), signedBytes, signature),
  )
  if (signer === undefined) {
    throw new VerifyError(`cannot trust the ${what}: no certificate given for it has signed it`, {
      code: 'collateral-signature',
      expected: `a signature over its exact text by a certificate named "${TCB_SIGNING}" in the collateral`,
      got: 'one that does not verify',
    })
  }
  if (!trusted.has(signer)) verifySigner(signer, { at, root, collateral })
  trusted.add(signer)
  checkDates(content, { at, what })
}

type SignerContext = Pick<DocumentContext, 'at' | 'root' | 'collateral'>

/** No issuer but the root is looked for: what signs collateral stands directly below it. */
function verifySigner(signer: Certificate, { at, root, collateral }: SignerContext): void {
  verifyChain({
    leaf: signer,
    certificates: [],
    anchors: [root.anchor],
    at,
    crls: collateral.crls,
    require: { curve: 'P-256', keyUsage: 'digitalSignature' },
  })
}

function checkDates({ issueDate, nextUpdate }: Dated, { at, what }: { at: Date; what: string }): void {
  // Negated, so that an invalid time is never within.
  if (!(at >= issueDate)) {
    throw new VerifyError(`cannot use the ${what}: it was issued later`, {
      code: 'collateral-not-yet-valid',
      expected: `not before ${issueDate.toISOString()}`,
      got: timeText(at),
    })
  }
  if (at <= nextUpdate) return
  throw new VerifyError(`cannot use the ${what}: the next one is due`, {
    code: 'collateral-expired',
    expected: `not after ${nextUpdate.toISOString()}`,
    got: timeText(at),
    hint: 'fetch the collateral again, or give the time at which the quote is to be judged',
  })
}

interface Found {
  readonly tcbInfo: TcbInfo | undefined
  readonly qeIdentity: QeIdentity | undefined
  readonly signers: readonly Certificate[]
}

function findingsOf({ tcbInfo, qeIdentity, signers }: Found): readonly Finding[] {
  const absent = [...(tcbInfo ? [] : ['TCB info']), ...(qeIdentity ? [] : ['QE identity'])]
  const missing = signers.length === 0 ? [`certificate "${TCB_SIGNING}" that vouches for them`] : absent
  if (missing.length > 0) {
    return [
      {
        code: 'collateral-missing',
        message: 'the TCB status is unknown: the platform may have known vulnerabilities',
        expected: 'TCB info and QE identity, and the certificate that signed them',
        got: `no ${missing.join(', no ')}`,
      },
    ]
  }
  const numbers = [tcbInfo, qeIdentity].map((document) => document?.evaluationDataNumber)
  if (numbers[0] === numbers[1]) return []
  return [
    {
      code: 'collateral-inconsistent',
      message: 'TCB info and QE identity are of different evaluations',
      expected: 'the same tcbEvaluationDataNumber',
      got: `TCB info ${numbers[0]}, QE identity ${numbers[1]}`,
    },
  ]
}

/**
 * That the TDX module is the vendor's: QVL 4.1.2.4.11, by the identity of its family, by the TCB info for a module
 * without family, by what is pinned where there is no TCB info. Throws VerifyError 'module-identity'.
 */
export function checkModule(
  body: TdReport,
  { tcbInfo, pinned }: { readonly tcbInfo: TcbInfo | undefined; readonly pinned: TdxModule },
): void {
  const family = moduleFamily(body.teeTcbSvn)
  const module = tcbInfo ? (family > 0 ? moduleIdentity(tcbInfo, body.teeTcbSvn) : tcbInfo.module) : pinned
  if (module === undefined) {
    throw moduleError(
      `a module family in ${tcbInfo?.moduleIdentities.map(({ id }) => id).join(', ')}`,
      moduleId(family),
    )
  }
  if (hex(body.mrSignerSeam) !== hex(module.mrSigner)) {
    throw moduleError(`MRSIGNERSEAM ${hex(module.mrSigner)}`, hex(body.mrSignerSeam))
  }
  const attributes = body.seamAttributes.map((byte, index) => byte & (module.attributesMask[index] ?? 0xff))
  // A production module has no attribute, whatever a mask leaves out.
  const unmasked = body.seamAttributes.some((byte) => byte !== 0)
  if (hex(attributes) !== hex(module.attributes) || unmasked) {
    throw moduleError(`SEAMATTRIBUTES ${hex(module.attributes)}`, hex(body.seamAttributes))
  }
}

function moduleError(expected: string, got: string): VerifyError {
  return new VerifyError("cannot trust the TDX module: it is not the vendor's", {
    ...{ code: 'module-identity', expected, got },
  })
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const timeText = (date: Date): string =>
  Number.isNaN(date.getTime()) ? 'an invalid time' : date.toISOString()
