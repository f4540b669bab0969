/** HCL reports made byte by byte, and a whole VM of Azure's kind around one. */
import { ByteWriter } from '../../base/bytes.ts'
import { digest } from '../../base/digest.ts'
import { publicKeyObject } from '../../formats/tpm2/public.ts'
import type { ResolvedPolicy } from '../policy/resolve.ts'
import type { VerifyRequest } from '../request.ts'
import { type LogCase, logRequest, snpRequest } from './emulated-requests.ts'
import { makeAk, type SoftwareKey } from './software-tpm.ts'

export interface HclSpec {
  /** 2 SNP, 4 TDX. */
  readonly type?: number
  /** 1 SHA-256, 2 SHA-384, 3 SHA-512. */
  readonly hash?: number
  /** Text as it is; anything else as JSON. */
  readonly runtime: unknown
  readonly padding?: number
  /** Default: 1184 or 1024 bytes that are no report. */
  readonly report?: Uint8Array
}

export function hclReport({ type = 2, hash = 1, runtime, padding = 100, report }: HclSpec): Buffer {
  const data = runtimeBytes(runtime)
  return new ByteWriter({ what: 'HCL report' })
    .bytes(Buffer.from('HCLA'), 'signature')
    .u32le(2, 'version')
    .u32le(32 + 1184 + 20 + data.length, 'report_size')
    .u32le(2, 'request_type')
    .zeros(16)
    .bytes(report ?? Buffer.alloc(type === 4 ? 1024 : 1184, 0x5a), 'hw_report')
    .zeros(type === 4 ? 160 : 0)
    .u32le(20 + data.length, 'data_size')
    .u32le(1, 'data_version')
    .u32le(type, 'report_type')
    .u32le(hash, 'hash_type')
    .u32le(data.length, 'variable_data_size')
    .bytes(data, 'variable_data')
    .zeros(padding)
    .finish()
}

function runtimeBytes(runtime: unknown): Buffer {
  return Buffer.from(typeof runtime === 'string' ? runtime : JSON.stringify(runtime))
}

/** Made once: RSA keys take time. The paravisor's AK is always RSA. */
const ak = makeAk({ scheme: 'rsassa' })

export interface HclCase extends Pick<LogCase, 'events' | 'systemd' | 'unquoted'> {
  readonly policy: ResolvedPolicy
  /** Default: the AK that the report endorses. */
  readonly signer?: SoftwareKey
  readonly nonce?: Uint8Array
  readonly more?: Partial<VerifyRequest>
}

/** An HCL report on an emulated SNP platform, its vTPM's quote over what the log replays to, and the log. */
export function hclRequest(spec: HclCase): VerifyRequest {
  const { events, systemd, unquoted, policy, signer = ak, nonce, more } = spec
  const runtime = {
    keys: [{ kid: 'HCLAkPub', ...publicKeyObject(ak.area).export({ format: 'jwk' }) }],
    'vm-configuration': { 'secure-boot': true },
  }
  const reportData = Buffer.alloc(64)
  digest('sha256', runtimeBytes(runtime)).copy(reportData)
  const hardware = snpRequest({ claims: { reportData }, policy })
  const log = logRequest({ events, systemd, unquoted, signer, nonce })
  return {
    ...hardware,
    evidence: hclReport({ runtime, report: hardware.evidence }),
    eventLog: log.evidence,
    userspaceLog: log.userspaceLog,
    quotes: log.quotes,
    nonce,
    ...more,
  }
}
