/** Azure's way: the paravisor hashes the vTPM's keys into REPORT_DATA. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { DIGEST_LENGTHS, digest, equalBytes } from '../../base/digest.ts'
import { FormatError } from '../../base/errors.ts'
import type { HclReport } from '../../formats/hcl-report.ts'
import { bindingMismatch, type EndorsingReport, mustBeMostPrivileged } from './hardware-report.ts'

const REPORT_DATA_BYTES = 64
const MAX_KEYS = 16
const MIN_RSA_BITS = 2048

/** The JSON that REPORT_DATA is a digest of: Azure, "HCL report". */
export interface HclRuntimeData {
  /** HCLAkPub: signs quotes. */
  readonly ak: KeyObject
  /** HCLEkPub; older paravisors leave it out. */
  readonly ek: KeyObject | undefined
  /** "vm-configuration" as the paravisor sees it: secure-boot, tpm-enabled, vmUniqueId. Text and booleans; escape before showing. */
  readonly vmConfiguration: Readonly<Record<string, unknown>>
  /** "user-data": what the guest wrote to NV index 0x01400002, 64 bytes. */
  readonly userData: Uint8Array | undefined
}

/** A vTPM whose attestation key the hardware vouches for: Microsoft, "Guest attestation for confidential VMs". */
export interface VtpmEndorsement extends HclRuntimeData {
  readonly kind: 'hcl'
  readonly hardware: 'snp' | 'tdx'
}

/**
 * `report` is the verified SNP report out of the HCL report, or the verified TD quote beside it. Throws VerifyError
 * `binding-mismatch` where REPORT_DATA is not the runtime data's digest, FormatError where that is no JSON of keys.
 * Microsoft, "Guest attestation for confidential VMs".
 */
export function verifyHclEndorsement(hcl: HclReport, report: EndorsingReport): VtpmEndorsement {
  if (report.kind !== hcl.hardware)
    throw bindingMismatch('the report is of another kind of hardware', {
      expected: hcl.hardware,
      got: report.kind,
    })
  mustBeMostPrivileged(report)
  const expected = Buffer.alloc(REPORT_DATA_BYTES)
  digest(hcl.hash, hcl.runtimeData).copy(expected)
  if (!equalBytes(expected, report.reportData))
    throw bindingMismatch(`REPORT_DATA is not the ${hcl.hash} digest of the runtime data`, {
      expected: expected.toString('hex'),
      got: Buffer.from(report.reportData).toString('hex'),
    })
  return { kind: 'hcl', hardware: hcl.hardware, ...parseRuntimeData(hcl) }
}

/**
 * What the runtime data says, before anything vouches for it: for showing. Throws FormatError. Microsoft, "Guest
 * attestation for confidential VMs"; RFC 7517 for its keys.
 */
export function parseRuntimeData({ runtimeData }: Pick<HclReport, 'runtimeData'>): HclRuntimeData {
  const document = parseJson(runtimeData)
  const keys = document['keys']
  if (!Array.isArray(keys) || keys.length > MAX_KEYS)
    throw malformed('keys', `must be a list of at most ${MAX_KEYS}`)
  const named = (kid: string) => keys.filter((key: unknown) => isObject(key) && key['kid'] === kid)
  const [ak, ...more] = named('HCLAkPub')
  if (ak === undefined || more.length > 0) throw malformed('keys', 'must have one HCLAkPub')
  const [ek] = named('HCLEkPub')
  const configuration = document['vm-configuration']
  return {
    ak: publicKey(ak, 'HCLAkPub'),
    ek: ek === undefined ? undefined : publicKey(ek, 'HCLEkPub'),
    vmConfiguration: isObject(configuration) ? configuration : {},
    userData: readUserData(document['user-data']),
  }
}

type JsonObject = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseJson(bytes: Uint8Array): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw malformed('variable_data', 'is not JSON in UTF-8')
  }
  if (!isObject(value)) throw malformed('variable_data', 'is not a JSON object')
  return value
}

function publicKey(jwk: JsonObject, name: string): KeyObject {
  const { kty, n, e } = jwk
  const key =
    kty === 'RSA' && typeof n === 'string' && typeof e === 'string' ? rsaKey({ kty, n, e }) : undefined
  if (key && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS) return key
  throw malformed(name, `is not an RSA key of ${MIN_RSA_BITS} bits or more in JWK form`)
}

/** Undefined for numbers that are no key. */
function rsaKey(key: { readonly kty: 'RSA'; readonly n: string; readonly e: string }): KeyObject | undefined {
  try {
    return createPublicKey({ key, format: 'jwk' })
  } catch {
    return undefined
  }
}

function readUserData(value: unknown): Uint8Array | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'string' && /^(?:[0-9a-fA-F]{2}){0,64}$/.test(value)) return Buffer.from(value, 'hex')
  throw malformed('user-data', `is not at most ${DIGEST_LENGTHS.sha512} bytes in hex`)
}

function malformed(field: string, problem: string): FormatError {
  return new FormatError(`cannot parse HCL runtime data: ${field} ${problem}`, {
    code: 'bad-value',
    field,
    offset: 0,
  })
}
