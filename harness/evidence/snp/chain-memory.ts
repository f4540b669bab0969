/**
 * Chains that were verified, for a server to which the same chips come again and again: a chain costs as much as half a
 * report. Nothing of a report is kept, and whoever gives no memory has every chain verified anew.
 */
import { digest } from '../../base/digest.ts'
import type { Crl } from '../../formats/crl.ts'
import type { SnpReport } from '../../formats/snp/report.ts'
import type { Certificate } from '../../formats/x509.ts'
import type { VerifiedSnpChain } from './chain.ts'

/** All that decides which chain is found and whether it holds, but for the time. */
export interface ChainInputs {
  /** Of which signer, TCB and chip tell which leaf is taken. AMD 56860, ATTESTATION_REPORT. */
  readonly report: SnpReport
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
  /** SHA-256 of the keys of simulated roots, lower-case hex, as the policy names them. */
  readonly simulatedRoots: readonly string[]
}

const MOST = 256
/** AMD's chains come in 6 KiB. */
const MOST_BYTES = 64 * 1024

/**
 * Of at most 256 chains (by default), the longest unused forgotten first. Certificates are views of what they came in, so
 * one that came in more than 64 KiB is not kept: all together hold at most 256 times that.
 */
export class SnpChainMemory {
  readonly #most: number
  readonly #chains = new Map<string, VerifiedSnpChain>()

  constructor(most = MOST) {
    this.#most = most
  }

  /**
   * A chain that was verified from the same inputs and still holds at the time. Undefined outside of its validity too:
   * who verifies it again says which part of it is over. AMD 57230, chapters 2 and 3; RFC 5280, 6.1. Never throws.
   */
  find(inputs: ChainInputs, at: Date): VerifiedSnpChain | undefined {
    const key = keyOf(inputs)
    const known = this.#chains.get(key)
    if (known === undefined) return undefined
    this.#chains.delete(key)
    const { notBefore, notAfter } = known.chain
    if (at < notBefore || at > notAfter) return undefined
    this.#chains.set(key, known)
    return known
  }

  /** Keeps what these inputs gave, where it is small. Only for what `verifySnpReport` gave out. Never throws. */
  keep(inputs: ChainInputs, chain: VerifiedSnpChain): void {
    const buffers = new Set(chain.chain.path.map(({ raw }) => raw.buffer))
    const bytes = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0)
    if (bytes > MOST_BYTES) return
    this.#chains.set(keyOf(inputs), chain)
    const [oldest] = this.#chains.keys()
    if (this.#chains.size > this.#most && oldest !== undefined) this.#chains.delete(oldest)
  }
}

/** DER says where it ends, and all else has one length: the counts in front make the whole unambiguous. */
function keyOf({ report, certificates, crls, simulatedRoots }: ChainInputs): string {
  const { version, keyInfo, reportedTcb, chipId, processor } = report
  const head = [version, keyInfo.signingKey, processor?.product, certificates.length, crls.length]
  const parts = [
    JSON.stringify([...head, [...simulatedRoots].sort()]),
    ...[reportedTcb.raw, chipId],
    ...[...certificates, ...crls].map(({ raw }) => raw),
  ]
  return digest('sha256', ...parts).toString('base64')
}
