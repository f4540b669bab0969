/**
 * Whether an SNP report is authentic: signed by a key of AMD's that was made for this TCB and this chip. AMD 56860,
 * 7.3, and AMD 57230. Nothing here asks whether the guest is one that should be trusted.
 */
import type { KeyObject } from 'node:crypto'
import { type VerifyCode, VerifyError } from '../../base/errors.ts'
import type { Crl } from '../../formats/crl.ts'
import { isZero, type SnpReport } from '../../formats/snp/report.ts'
import { decodeTcb, tcbLayout, tcbText } from '../../formats/snp/tcb.ts'
import type { Certificate } from '../../formats/x509.ts'
import { checkStillValid } from '../certificates/chain.ts'
import type { RevocationMode } from '../certificates/revocation.ts'
import {
  type EcdsaSignedBytes,
  isEcdsaSignedBy,
  isEcdsaSignedByAside,
  keyObject,
} from '../certificates/signature.ts'
import { type VerifiedSnpChain, verifySnpChain } from './chain.ts'
import type { SnpSigner } from './endorsement.ts'
import { chooseLeaf } from './leaf.ts'
import { inOrder } from './p384.ts'
import { LINE_NAMES, type SnpRoot } from './roots.ts'

/**
 * Certificates from wherever: the evidence's table, files, a cache. In any order; none is trusted for being here. AMD
 * 57230.
 */
export interface SnpEndorsements {
  /** In any order: VCEK or VLEK, ASK or ASVK. At most 64. */
  readonly certificates: readonly Certificate[]
  readonly crls?: readonly Crl[]
  readonly revocation?: RevocationMode
  /** Default AMD's. */
  readonly roots?: readonly SnpRoot[]
}

declare const verified: unique symbol

/** Made by verifySnpReport and verifySnpReportAside alone: what it holds was signed. AMD 56860, table 23, bytes 0 to 0x29F. */
export interface VerifiedSnpReport {
  readonly [verified]: true
  readonly report: SnpReport
  readonly signer: SnpSigner
  /** For further reports of the same key. */
  readonly chain: VerifiedSnpChain
  /**
   * `certified`: CHIP_ID is the hwID of the VCEK certificate. `masked`: it is zero. `uncertified`: it is not, but a
   * VLEK signed, which belongs to a cloud provider and names no chip.
   */
  readonly chipId: 'certified' | 'masked' | 'uncertified'
}

/** When everything must be valid: RFC 5280, 6.1.1. */
export interface VerifyTime {
  /** No clock is read. */
  readonly at: Date
}

/**
 * Verifies a report with endorsements, or with a chain that was verified before. Throws VerifyError at the first break:
 * 'bad-signing-key' (it is not signed), 'endorsement-missing', those of verifySnpChain, 'product-mismatch',
 * 'tcb-mismatch', 'chip-mismatch', 'report-signature'. AMD 56860, 7.3; AMD 57230.
 */
export function verifySnpReport(
  report: SnpReport,
  endorsements: SnpEndorsements | VerifiedSnpChain,
  { at }: VerifyTime,
): VerifiedSnpReport {
  const claim = claimOf(report, { endorsements, at })
  return signed(claim, isEcdsaSignedBy(claim.key, claim.signature))
}

/**
 * The same, its last and longest step in another thread: a server answers others meanwhile. Rejects with what
 * verifySnpReport throws. AMD 56860, 7.3; AMD 57230.
 */
export async function verifySnpReportAside(
  report: SnpReport,
  endorsements: SnpEndorsements | VerifiedSnpChain,
  { at }: VerifyTime,
): Promise<VerifiedSnpReport> {
  const claim = claimOf(report, { endorsements, at })
  return signed(claim, await isEcdsaSignedByAside(claim.key, claim.signature))
}

/** A report of which everything holds but its signature, which was not looked at. */
interface Claim {
  readonly report: SnpReport
  readonly signer: SnpSigner
  readonly chain: VerifiedSnpChain
  readonly chipId: VerifiedSnpReport['chipId']
  readonly key: KeyObject
  readonly signature: EcdsaSignedBytes
}

function claimOf(
  report: SnpReport,
  { endorsements, at }: VerifyTime & { readonly endorsements: SnpEndorsements | VerifiedSnpChain },
): Claim {
  const signer = signerOfReport(report)
  const chain =
    'chain' in endorsements ? reused(endorsements, at) : chainFor(report, { signer, endorsements, at })
  checkSigner(chain, signer)
  checkProduct(report, chain)
  checkTcb(report, chain)
  const chipId = checkChip(report, chain)
  const { r, s } = inRange(report)
  const key = keyObject(chain.chain.leaf.publicKey)
  return { report, signer, chain, chipId, key, signature: { hash: 'sha384', data: report.signed, r, s } }
}

function signed({ report, signer, chain, chipId }: Claim, isSigned: boolean): VerifiedSnpReport {
  if (!isSigned)
    throw failure('report-signature', 'the certified key did not sign the report', {
      expected: 'a signature over bytes 0 to 0x29F',
      got: 'one that does not verify',
    })
  return { report, signer, chain, chipId } as unknown as VerifiedSnpReport
}

function signerOfReport({ keyInfo: { signingKey, maskChipKey } }: SnpReport): SnpSigner {
  const expected = 'a report signed by a VCEK or VLEK'
  if (signingKey === 'none')
    throw failure('bad-signing-key', 'the host asked for a report without a signature', {
      expected,
      got: 'none',
    })
  if (signingKey === 'vcek' && maskChipKey)
    throw failure('bad-signing-key', "the host masked the chip's key, so the report has no signature", {
      expected,
      got: 'KEY_INFO with MASK_CHIP_KEY',
    })
  return signingKey
}

function reused(chain: VerifiedSnpChain, at: Date): VerifiedSnpChain {
  checkStillValid(chain.chain, at)
  return chain
}

interface ChainNeed {
  readonly signer: SnpSigner
  readonly endorsements: SnpEndorsements
  readonly at: Date
}

function chainFor(report: SnpReport, { signer, endorsements, at }: ChainNeed): VerifiedSnpChain {
  const leaf = chooseLeaf(report, { signer, certificates: endorsements.certificates })
  return verifySnpChain({ ...endorsements, leaf, at })
}

function checkSigner({ endorsement }: VerifiedSnpChain, signer: SnpSigner): void {
  if (endorsement.signer !== signer)
    throw failure('bad-signing-key', 'the chain is for another kind of key than signed', {
      expected: signer.toUpperCase(),
      got: endorsement.signer.toUpperCase(),
    })
}

function checkProduct({ processor, tcbLayout: layout }: SnpReport, { root }: VerifiedSnpChain): void {
  const fits = processor ? processor.product === root.product : layout === tcbLayout(root.product)
  if (!fits)
    throw failure('product-mismatch', 'the report is from another product line than the chain', {
      expected: `a processor of ${LINE_NAMES[root.product]}'s line, as ${root.anchor.label} certifies`,
      got: processor?.name ?? 'a CHIP_ID that does not have the form of that line',
    })
}

/** The key is derived from REPORTED_TCB, so the certificate must name exactly that one (AMD 57230, VCEK). */
function checkTcb({ reportedTcb }: SnpReport, { endorsement: { tcb, product } }: VerifiedSnpChain): void {
  if (Buffer.compare(reportedTcb.raw, tcb) === 0) return
  throw failure('tcb-mismatch', 'the certificate is for another TCB than REPORTED_TCB', {
    expected: tcbText(decodeTcb(tcb, tcbLayout(product))),
    got: tcbText(reportedTcb),
  })
}

function checkChip(
  { chipId }: SnpReport,
  { endorsement: { hwId } }: VerifiedSnpChain,
): VerifiedSnpReport['chipId'] {
  if (isZero(chipId)) return 'masked'
  if (!hwId) return 'uncertified'
  const same = Buffer.compare(chipId.subarray(0, hwId.length), hwId) === 0
  if (same && isZero(chipId.subarray(hwId.length))) return 'certified'
  throw failure('chip-mismatch', 'the certificate is for another chip than CHIP_ID', {
    expected: Buffer.from(hwId).toString('hex'),
    got: Buffer.from(chipId).toString('hex'),
  })
}

function inRange({ signature: { r, s } }: SnpReport): SnpReport['signature'] {
  const range = [r, s].findIndex((component) => !inOrder(component))
  if (range < 0) return { r, s }
  throw failure('report-signature', 'a component of the signature is out of range', {
    expected: `${range === 0 ? 'r' : 's'} from 1 to the order of P-384 minus 1`,
    got: Buffer.from(range === 0 ? r : s).toString('hex'),
  })
}

function failure(
  code: VerifyCode,
  problem: string,
  details: { readonly expected: string; readonly got: string; readonly hint?: string },
): VerifyError {
  return new VerifyError(`cannot verify the SNP report: ${problem}`, { code, ...details })
}
