import type { DigestAlgorithm } from '../../base/digest.ts'

/** TPM_ALG_ID of hash algorithms, and the length of their digests in bytes: TCG Algorithm Registry 1.34, table 3. */
export interface HashAlgorithm {
  readonly id: number
  readonly name: string
  readonly digestBytes: number
  /** How node:crypto knows it; undefined where we do not compute it. */
  readonly bank: DigestAlgorithm | undefined
}

const ALGORITHMS: readonly HashAlgorithm[] = [
  { id: 0x0004, name: 'sha1', digestBytes: 20, bank: 'sha1' },
  { id: 0x000b, name: 'sha256', digestBytes: 32, bank: 'sha256' },
  { id: 0x000c, name: 'sha384', digestBytes: 48, bank: 'sha384' },
  { id: 0x000d, name: 'sha512', digestBytes: 64, bank: 'sha512' },
  { id: 0x0012, name: 'sm3-256', digestBytes: 32, bank: undefined },
  { id: 0x0027, name: 'sha3-256', digestBytes: 32, bank: undefined },
  { id: 0x0028, name: 'sha3-384', digestBytes: 48, bank: undefined },
  { id: 0x0029, name: 'sha3-512', digestBytes: 64, bank: undefined },
]

const BY_ID: ReadonlyMap<number, HashAlgorithm> = new Map(ALGORITHMS.map((each) => [each.id, each]))

/**
 * Undefined for an identifier that the registry does not give to a hash algorithm. TCG Algorithm Registry 1.34, table
 * 3; 16 bits. Never throws.
 */
export function hashAlgorithm(id: number): HashAlgorithm | undefined {
  return BY_ID.get(id)
}

/** TPM_ALG_ID of a bank, 16 bits: TCG Algorithm Registry 1.34, table 3. TypeError for one that has none. */
export function hashAlgorithmId(bank: DigestAlgorithm): number {
  const found = ALGORITHMS.find((each) => each.bank === bank)
  if (!found) throw new TypeError(`no TPM_ALG_ID is known for ${bank}`)
  return found.id
}
