/**
 * An emulated TDX module and quoting enclave: quotes in the real format, signed down to a simulated root. What is
 * overridden is signed as it is, so that a test reaches the check it is about; `patch` breaks bytes afterwards.
 */
import { createHash, sign } from 'node:crypto'
import { ByteWriter } from '../../base/bytes.ts'
import { encodePem } from '../../formats/pem.ts'
import { ecKeyPair, type KeyPair, publicKeyInfo } from './pki.ts'
import { SIMULATED_MRSIGNER, SIMULATED_QE_VENDOR, type TdxPki } from './tdx-pki.ts'

/** Fields of the TD's report; absent ones are zero. Registers of 48 bytes, REPORTDATA of 64. */
export interface TdReportSpec {
  readonly teeTcbSvn?: Uint8Array
  readonly mrSeam?: Uint8Array
  readonly mrSignerSeam?: Uint8Array
  readonly seamAttributes?: Uint8Array
  readonly tdAttributes?: bigint
  readonly xfam?: bigint
  readonly mrTd?: Uint8Array
  readonly mrConfigId?: Uint8Array
  readonly mrOwner?: Uint8Array
  readonly mrOwnerConfig?: Uint8Array
  readonly rtmrs?: readonly Uint8Array[]
  readonly reportData?: Uint8Array
  readonly teeTcbSvn2?: Uint8Array
  readonly mrServiceTd?: Uint8Array
}

export interface QeReportSpec {
  readonly miscSelect?: number
  readonly attributes?: Uint8Array
  readonly mrSigner?: Uint8Array
  readonly isvProdId?: number
  readonly isvSvn?: number
  readonly reportData?: Uint8Array
}

export interface QuoteSpec {
  /** Default 4. */
  readonly version?: 4 | 5
  /** Version 5 only; default '1.5'. */
  readonly bodyVersion?: '1.0' | '1.5'
  readonly body?: TdReportSpec
  readonly qe?: QeReportSpec
  readonly qeVendorId?: Uint8Array
  /** Default 32 bytes. */
  readonly authenticationData?: Uint8Array
  /** Default the PCK's chain, type 5. */
  readonly certification?: { readonly type: number; readonly data: Uint8Array }
  readonly trailing?: Uint8Array
  /** X and Y, instead of those of the key that signs the body. */
  readonly attestationKey?: Uint8Array
  /** Bytes after what the signature data consists of, counted in its length; and after the QE report's part. */
  readonly slack?: Uint8Array
  readonly nestedSlack?: Uint8Array
  /** Who signs the QE's report, instead of the PCK; and the body, instead of the attestation key. */
  readonly qeSigner?: KeyPair
  readonly bodySigner?: KeyPair
}

const NOTHING = new Uint8Array()

/** TEE_TCB_SVN that the simulated TCB info calls up to date: module family 1, SVN 6. */
export const UP_TO_DATE_SVN = Uint8Array.from([6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])

export function makeTdxQuote(pki: TdxPki, spec: QuoteSpec = {}): Buffer {
  const key = ecKeyPair('P-256')
  const attestationKey = spec.attestationKey ?? publicKeyInfo(key).subarray(-64)
  const authenticationData = spec.authenticationData ?? Buffer.alloc(32, 0x77)
  const binding = createHash('sha256').update(attestationKey).update(authenticationData).digest()
  const signedBytes = Buffer.concat([header(spec), body(spec)])
  const qeReport = encodeQeReport({ reportData: Buffer.concat([binding, Buffer.alloc(32)]), ...spec.qe })
  const certification = spec.certification ?? { type: 5, data: pckChain(pki) }
  const nested = new ByteWriter({ what: 'QE report certification data' })
    .bytes(qeReport, 'QE report')
    .bytes(rawSignature(qeReport, spec.qeSigner ?? pki.keys.pck), 'QE report signature')
    .u16le(authenticationData.length, 'QE authentication data size')
    .bytes(authenticationData, 'QE authentication data')
    .u16le(certification.type, 'QE certification data type')
    .u32le(certification.data.length, 'QE certification data size')
    .bytes(certification.data, 'QE certification data')
    .bytes(spec.nestedSlack ?? NOTHING, 'slack')
    .finish()
  const signatureData = new ByteWriter({ what: 'signature data' })
    .bytes(rawSignature(signedBytes, spec.bodySigner ?? key), 'quote signature')
    .bytes(attestationKey, 'ECDSA attestation key', 64)
    .u16le(6, 'certification data type')
    .u32le(nested.length, 'certification data size')
    .bytes(nested, 'certification data')
    .bytes(spec.slack ?? NOTHING, 'slack')
    .finish()
  const length = Buffer.alloc(4)
  length.writeUInt32LE(signatureData.length)
  return Buffer.concat([signedBytes, length, signatureData, spec.trailing ?? NOTHING])
}

/** PEM, leaf first, with the NUL that Intel's quote generation appends. */
export function pckChain({ certificates }: TdxPki): Buffer {
  const { pck, pckAuthority, root } = certificates
  const pem = [pck, pckAuthority, root].map((der) => encodePem('CERTIFICATE', der))
  return Buffer.from(`${pem.join('')}\0`, 'latin1')
}

export function rawSignature(data: Uint8Array, { privateKey }: KeyPair): Buffer {
  return sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
}

function header({ version = 4, qeVendorId = SIMULATED_QE_VENDOR }: QuoteSpec): Buffer {
  return new ByteWriter({ what: 'quote header' })
    .u16le(version, 'Version')
    .u16le(2, 'Attestation Key Type')
    .u32le(0x81, 'TEE Type')
    .zeros(4)
    .bytes(qeVendorId, 'QE Vendor ID', 16)
    .zeros(20)
    .finish()
}

function body({
  version = 4,
  bodyVersion = version === 5 ? '1.5' : '1.0',
  body: fields = {},
}: QuoteSpec): Buffer {
  const report = encodeTdReport(fields, bodyVersion)
  if (version === 4) return report
  const descriptor = new ByteWriter({ what: 'body descriptor' })
    .u16le(bodyVersion === '1.5' ? 3 : 2, 'Body Type')
    .u32le(report.length, 'Body Size')
  return Buffer.concat([descriptor.finish(), report])
}

const REGISTER = 48

function encodeTdReport(fields: TdReportSpec, version: '1.0' | '1.5'): Buffer {
  const register = (value: Uint8Array | undefined) => value ?? Buffer.alloc(REGISTER)
  const writer = new ByteWriter({ what: 'TD report' })
    .bytes(fields.teeTcbSvn ?? UP_TO_DATE_SVN, 'TEE_TCB_SVN', 16)
    .bytes(register(fields.mrSeam), 'MRSEAM', REGISTER)
    .bytes(register(fields.mrSignerSeam), 'MRSIGNERSEAM', REGISTER)
    .bytes(fields.seamAttributes ?? Buffer.alloc(8), 'SEAMATTRIBUTES', 8)
    .u64le(fields.tdAttributes ?? 1n << 28n, 'TDATTRIBUTES')
    .u64le(fields.xfam ?? 0x602e7n, 'XFAM')
    .bytes(register(fields.mrTd), 'MRTD', REGISTER)
    .bytes(register(fields.mrConfigId), 'MRCONFIGID', REGISTER)
    .bytes(register(fields.mrOwner), 'MROWNER', REGISTER)
    .bytes(register(fields.mrOwnerConfig), 'MROWNERCONFIG', REGISTER)
  for (let index = 0; index < 4; index++) writer.bytes(register(fields.rtmrs?.[index]), 'RTMR', REGISTER)
  writer.bytes(fields.reportData ?? Buffer.alloc(64), 'REPORTDATA', 64)
  if (version === '1.0') return writer.finish()
  return writer
    .bytes(fields.teeTcbSvn2 ?? fields.teeTcbSvn ?? UP_TO_DATE_SVN, 'TEE_TCB_SVN_2', 16)
    .bytes(register(fields.mrServiceTd), 'MRSERVICETD', REGISTER)
    .finish()
}

/** Intel SDM volume 3D, "Layout of REPORT". */
function encodeQeReport(fields: QeReportSpec): Buffer {
  return new ByteWriter({ what: 'QE report' })
    .zeros(16)
    .u32le(fields.miscSelect ?? 0, 'MISCSELECT')
    .zeros(28)
    .bytes(fields.attributes ?? Buffer.from('1500000000000000e700000000000000', 'hex'), 'ATTRIBUTES', 16)
    .zeros(32)
    .zeros(32)
    .bytes(fields.mrSigner ?? SIMULATED_MRSIGNER, 'MRSIGNER', 32)
    .zeros(96)
    .u16le(fields.isvProdId ?? 2, 'ISVPRODID')
    .u16le(fields.isvSvn ?? 6, 'ISVSVN')
    .zeros(60)
    .bytes(fields.reportData ?? Buffer.alloc(64), 'REPORTDATA', 64)
    .finish()
}
