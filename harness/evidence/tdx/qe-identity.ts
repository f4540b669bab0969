import { ENCLAVE_DEBUG, type EnclaveReport } from '../../formats/tdx/enclave-report.ts'
import { JsonFields } from './json-fields.ts'
import { type ComponentLevel, readComponentLevels } from './tcb-info.ts'

/**
 * Identity of the quoting enclave for TDs (TD_QE), version 2: PCS API v4, "Get TDX QE Identity". The PCK
 * signs the report of any enclave that the platform's owner lets near it, so this is what makes a QE a QE.
 */

/** A quoting enclave's identity: PCS API v4, "Get TDX QE Identity". */
export interface QeIdentity {
  readonly issueDate: Date
  readonly nextUpdate: Date
  readonly evaluationDataNumber: number
  /** 32 bits, as in the report: little-endian. */
  readonly miscSelect: number
  readonly miscSelectMask: number
  /** 16 bytes each. */
  readonly attributes: Uint8Array
  readonly attributesMask: Uint8Array
  /** 32 bytes. */
  readonly mrSigner: Uint8Array
  readonly isvProdId: number
  /** Highest ISVSVN first. */
  readonly levels: readonly ComponentLevel[]
}

/** What of an identity a report is compared with. Intel PCS API v4, "Get TDX QE Identity". */
export type QeIdentityRules = Pick<
  QeIdentity,
  'miscSelect' | 'miscSelectMask' | 'attributes' | 'attributesMask' | 'mrSigner' | 'isvProdId'
>

/**
 * Reads the value of "enclaveIdentity". Throws FormatError 'bad-value', also for an identity of another enclave. Intel
 * PCS API v4, "Get TDX QE Identity".
 */
export function readQeIdentity(value: unknown): QeIdentity {
  const fields = new JsonFields(value, 'QE identity')
  fields.oneOf(
    'id',
    ['TD_QE'],
    'the identity of another enclave says nothing of the one that signs quotes of TDs',
  )
  fields.oneOf('version', [2])
  return {
    issueDate: fields.date('issueDate'),
    nextUpdate: fields.date('nextUpdate'),
    evaluationDataNumber: fields.integer('tcbEvaluationDataNumber', 0xffff_ffff),
    miscSelect: fields.hex('miscselect', 4).readUInt32LE(),
    miscSelectMask: fields.hex('miscselectMask', 4).readUInt32LE(),
    attributes: fields.hex('attributes', 16),
    attributesMask: fields.hex('attributesMask', 16),
    mrSigner: fields.hex('mrsigner', 32),
    isvProdId: fields.integer('isvprodid', 0xffff),
    levels: readComponentLevels(fields),
  }
}

/**
 * The first way in which `report` is not of the enclave described; values in hex or decimal. Intel PCS API v4, "Get TDX
 * QE Identity".
 */
export interface QeMismatch {
  readonly field: 'MRSIGNER' | 'ISVPRODID' | 'MISCSELECT' | 'ATTRIBUTES'
  readonly expected: string
  readonly got: string
}

/**
 * Compares as the PCS API v4 says ("Get TDX QE Identity"): what the mask selects of the report (Intel SDM volume 3D,
 * "Layout of REPORT") equals the identity's value. An enclave in debug mode never passes, whatever the mask. Never
 * throws.
 */
export function qeMismatch(report: EnclaveReport, rules: QeIdentityRules): QeMismatch | undefined {
  const attributes = masked(report.attributes, rules.attributesMask)
  const miscSelect = (report.miscSelect & rules.miscSelectMask) >>> 0
  const debug = ((report.attributes[0] ?? 0) & ENCLAVE_DEBUG) !== 0
  const compared: readonly (readonly [QeMismatch['field'], string, string])[] = [
    ['MRSIGNER', hex(rules.mrSigner), hex(report.mrSigner)],
    ['ISVPRODID', String(rules.isvProdId), String(report.isvProdId)],
    ['MISCSELECT', `0x${rules.miscSelect.toString(16)}`, `0x${miscSelect.toString(16)}`],
    ['ATTRIBUTES', hex(rules.attributes), hex(attributes)],
    ['ATTRIBUTES', 'an enclave that cannot be debugged', debug ? hex(report.attributes) : ''],
  ]
  const broken = compared.find(([, expected, got]) => got !== '' && expected !== got)
  return broken && { field: broken[0], expected: broken[1], got: broken[2] }
}

function masked(value: Uint8Array, mask: Uint8Array): Uint8Array {
  return value.map((byte, index) => byte & (mask[index] ?? 0xff))
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
