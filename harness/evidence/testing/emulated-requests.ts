/** Requests about emulated platforms: authentic because the policy names their roots, so that appraisal can be tested. */
import { sha256Hex } from '../../base/digest.ts'
import { parseCertificate } from '../../formats/x509.ts'
import type { ResolvedPolicy } from '../policy/resolve.ts'
import type { VerifyRequest } from '../verify-evidence.ts'
import { type SnpClaims, SnpSignerEmulation, type SnpSignerOptions } from './snp-signer.ts'
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
