/**
 * Requests about emulated platforms: authentic because the policy names their roots, so that appraisal can be tested.
 */
import { sha256Hex } from '../../base/digest.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { replayEventLog, replaySystemdLog } from '../../formats/event-log/replay.ts'
import { parseSystemdLog } from '../../formats/event-log/systemd-log.ts'
import { type SyntheticEvent, syntheticLog } from '../../formats/event-log/testing/synthetic-log.ts'
import { parseCertificate } from '../../formats/x509.ts'
import type { ResolvedPolicy } from '../policy/resolve.ts'
import type { VerifyRequest } from '../request.ts'
import { attestationKeyId } from '../tpm/quote-file.ts'
import { type SnpClaims, SnpSignerEmulation, type SnpSignerOptions } from './snp-signer.ts'
import { encodeAttest, makeAk, type SoftwareKey, signAttest } from './software-tpm.ts'
import { type CollateralSpec, collateralFiles, SIMULATED_TIME } from './tdx-collateral.ts'
import { makeTdxPki } from './tdx-pki.ts'
import { makeTdxQuote, type QuoteSpec } from './tdx-quote.ts'

const EMPTY = { certificates: [], crls: [], collateral: [], quotes: [] } as const

/** Made once: keys take time. */
const milan = new SnpSignerEmulation()
const pki = makeTdxPki()

export interface SnpCase {
  readonly claims?: SnpClaims
  readonly platform?: SnpSignerOptions
  readonly policy?: ResolvedPolicy
  readonly more?: Partial<VerifyRequest>
}

/** A report of an emulated platform; without a policy the strict defaults of SNP. */
export function snpRequest({ claims, platform, policy = { snp: {} }, more }: SnpCase = {}): VerifyRequest {
  const emulation = platform ? new SnpSignerEmulation({ keys: milan.keys, ...platform }) : milan
  return {
    ...EMPTY,
    evidence: emulation.report(claims),
    certificates: Object.values(emulation.certificates),
    policy: { simulatedRoots: [emulation.root.keyId], ...policy },
    at: new Date('2026-01-01T00:00:00Z'),
    ...more,
  }
}

export interface TdxCase {
  readonly quote?: QuoteSpec
  readonly collateral?: CollateralSpec
  /** Files to leave out. */
  readonly without?: readonly (keyof ReturnType<typeof collateralFiles>)[]
  readonly policy?: ResolvedPolicy
  readonly more?: Partial<VerifyRequest>
}

/** A quote of an emulated platform with all of its collateral. */
export function tdxRequest({
  quote,
  collateral,
  without = [],
  policy = { tdx: {} },
  more,
}: TdxCase = {}): VerifyRequest {
  const root = parseCertificate(pki.certificates.root)
  const files = Object.entries(collateralFiles(pki, collateral))
  return {
    ...EMPTY,
    evidence: makeTdxQuote(pki, quote),
    certificates: [pki.certificates.root],
    collateral: files
      .filter(([name]) => !(without as readonly string[]).includes(name))
      .map(([, bytes]) => bytes),
    policy: { simulatedRoots: [sha256Hex(root.publicKey.raw)], ...policy },
    at: SIMULATED_TIME,
    ...more,
  }
}

const ak = makeAk({ scheme: 'ecdsa' })
const PCRS = 24

export interface TpmCase {
  /** SHA-256 bank; default PCR 7 alone. */
  readonly pcrs?: ReadonlyMap<number, Uint8Array>
  readonly nonce?: Uint8Array | undefined
  readonly resetCount?: number
  /** Default: the AK that requests name. */
  readonly signer?: SoftwareKey | undefined
  readonly policy?: ResolvedPolicy
  readonly more?: Partial<VerifyRequest>
}

/** SHA-256 of the SubjectPublicKeyInfo of the emulated TPM's AK, hex. */
export const emulatedAkId = (): string => attestationKeyId(ak.area)

/** As tools of guests write it: message, signature, and the values of all 24 PCRs. */
export function quoteFile({
  pcrs = new Map([[7, Buffer.alloc(32, 7)]]),
  nonce,
  resetCount,
  signer = ak,
}: TpmCase = {}): Buffer {
  const spec = {
    pcrs: [{ bank: 'sha256' as const, values: pcrs }],
    ...(nonce && { nonce }),
    ...(resetCount !== undefined && { resetCount }),
  }
  const attest = encodeAttest(signer, spec)
  const scheme = signer.area.key.kind === 'rsa' ? 'rsassa' : 'ecdsa'
  const signature = signAttest(signer, attest, { scheme, hash: 'sha256' })
  const values = Array.from({ length: PCRS }, (_, index) =>
    Buffer.from(pcrs.get(index) ?? Buffer.alloc(32)).toString('hex'),
  )
  return Buffer.from(
    JSON.stringify({ message: attest.toString('hex'), signature: signature.toString('hex'), pcrs: values }),
  )
}

/** TPMT_PUBLIC of the emulated TPM's AK. */
export const emulatedAkArea = (): typeof ak.area => ak.area

/** TPM2B_PUBLIC. */
function akFile(): Buffer {
  const size = Buffer.alloc(2)
  size.writeUInt16BE(ak.area.bytes.length)
  return Buffer.concat([size, ak.area.bytes])
}

export function tpmRequest(spec: TpmCase = {}): VerifyRequest {
  const { policy = { tpm: {} }, more } = spec
  return { ...EMPTY, evidence: quoteFile(spec), ak: akFile(), policy, at: SIMULATED_TIME, ...more }
}

export interface LogCase {
  readonly events: readonly SyntheticEvent[]
  readonly systemd?: Buffer | undefined
  /** Registers that the quote leaves out. */
  readonly unquoted?: readonly number[] | undefined
  readonly signer?: SoftwareKey | undefined
  readonly nonce?: Uint8Array | undefined
  readonly policy?: ResolvedPolicy
  readonly more?: Partial<VerifyRequest>
}

/** A log, and a quote of a TPM over exactly what it replays to; registers that nothing extended are quoted as well. */
export function logRequest({
  events,
  systemd,
  unquoted = [],
  policy = { eventLog: {} },
  signer,
  nonce,
  more,
}: LogCase): VerifyRequest {
  const evidence = syntheticLog(events)
  const firmware = replayEventLog(parseEventLog(evidence), 'sha256')
  const records = systemd ? parseSystemdLog(systemd) : []
  const all = replaySystemdLog(firmware, { records, registers: 'pcr', bank: 'sha256' })
  // A TPM quotes them in ascending order.
  const quoted = Array.from({ length: PCRS }, (_, index) => index).filter(
    (index) => !unquoted.includes(index),
  )
  const pcrs = new Map(quoted.map((index) => [index, all.get(index) ?? Buffer.alloc(32)]))
  const common = { ...EMPTY, evidence, userspaceLog: systemd, ak: akFile(), policy, at: SIMULATED_TIME }
  return { ...common, quotes: [quoteFile({ pcrs, signer, nonce })], ...more }
}
