/** Which of many certificates is for a report, and what to ask AMD's key service for where none is. */
import { VerifyError } from '../../base/errors.ts'
import { isZero, type SnpReport } from '../../formats/snp/report.ts'
import { type SnpProduct, type SnpTcb, tcbLayout, tcbText } from '../../formats/snp/tcb.ts'
import type { Certificate } from '../../formats/x509.ts'
import { readEndorsement, type SnpEndorsement, type SnpSigner, signerOf } from './endorsement.ts'
import { LINE_NAMES } from './roots.ts'

/** Certificates to choose from, in any order: AMD 57230, VCEK and VLEK certificates. */
export interface LeafChoice {
  readonly signer: SnpSigner
  readonly certificates: readonly Certificate[]
}

/**
 * A certificate of the kind that signed; of several the one for the report's TCB and chip, else the first, so that
 * verification can say what is wrong with it. Nothing is trusted yet. Throws VerifyError 'endorsement-missing'. AMD
 * 57230, VCEK and VLEK certificates.
 */
export function chooseLeaf(report: SnpReport, { signer, certificates }: LeafChoice): Certificate {
  const leaves = certificates.filter((certificate) => signerOf(certificate) === signer)
  const [first] = leaves
  if (!first) throw missing(report, signer)
  if (leaves.length === 1) return first
  return leaves.find((leaf) => isFor(report, leaf)) ?? first
}

/**
 * Whether a certificate is for the report's TCB and chip. What it says is not verified. REPORTED_TCB and CHIP_ID of AMD
 * 56860 against the extensions of AMD 57230. Never throws.
 */
export function isFor(report: SnpReport, leaf: Certificate): boolean {
  try {
    const { tcb, hwId } = readEndorsement(leaf)
    return Buffer.compare(tcb, report.reportedTcb.raw) === 0 && fitsChip(report, hwId)
  } catch {
    // Whoever put it there: it is not the one.
    return false
  }
}

function fitsChip({ chipId }: SnpReport, hwId: SnpEndorsement['hwId']): boolean {
  return !hwId || isZero(chipId) || Buffer.compare(chipId.subarray(0, hwId.length), hwId) === 0
}

function missing(report: SnpReport, signer: SnpSigner): VerifyError {
  const identity = vcekIdentity(report)
  const where = identity
    ? `of ${identity.product} chip ${Buffer.from(identity.hwId).toString('hex')}, ${tcbText(identity.tcb)}`
    : `for ${tcbText(report.reportedTcb)}`
  return new VerifyError(`cannot verify the SNP report: its ${signer.toUpperCase()} certificate is missing`, {
    code: 'endorsement-missing',
    expected: `the ${signer.toUpperCase()} certificate ${where}`,
    got: 'none',
    hint:
      signer === 'vcek'
        ? "give it as a file, or allow AMD's key service to be asked"
        : 'VLEK certificates come from the cloud provider, with the evidence',
  })
}

/** What tells VCEK certificates apart: the parameters of a request to AMD's key service, and the key of a cache. */
export interface VcekIdentity {
  /** As the service spells the product line. */
  readonly product: 'Milan' | 'Genoa' | 'Turin'
  /** 64 bytes, on Turin 8. */
  readonly hwId: Uint8Array
  /** REPORTED_TCB; on Turin its FMC tells certificates apart too. */
  readonly tcb: SnpTcb
}

const TURIN_HW_ID_BYTES = 8

/**
 * Undefined where nobody can ask: a VLEK signed, or CHIP_ID is masked. Version 2 does not name the product: then it is
 * `product`, and undefined without. AMD 57230, chapter 4. Never throws.
 */
export function vcekIdentity(report: SnpReport, product?: SnpProduct): VcekIdentity | undefined {
  const line = report.processor?.product ?? product
  if (!line || report.keyInfo.signingKey !== 'vcek' || isZero(report.chipId)) return undefined
  const hwId = tcbLayout(line) === 'turin' ? report.chipId.subarray(0, TURIN_HW_ID_BYTES) : report.chipId
  return { product: LINE_NAMES[line], hwId, tcb: report.reportedTcb }
}
