/** The TPM's key derivation: TPM 2.0 Part 1, "Key Derivation Function" (SP 800-108 in counter mode, SP 800-56A). */
import { createHash, createHmac } from 'node:crypto'
import type { DigestAlgorithm } from '../../base/digest.ts'

/** TPM 2.0 Part 1, KDFa(); the label without its NUL. */
export interface KdfaInput {
  readonly key: Uint8Array
  /** Without its NUL: "STORAGE", "INTEGRITY". */
  readonly label: string
  readonly contextU?: Uint8Array
  readonly contextV?: Uint8Array
}

/** TPM 2.0 Part 1, KDFa(): `bits` is a multiple of 8; returns bits / 8 bytes. Never throws. */
export function kdfa(hash: DigestAlgorithm, input: KdfaInput, bits: number): Buffer {
  const { key, label, contextU = Buffer.alloc(0), contextV = Buffer.alloc(0) } = input
  return counterBlocks(bits, (counter) =>
    createHmac(hash, key)
      .update(counter)
      .update(`${label}\0`)
      .update(contextU)
      .update(contextV)
      .update(u32be(bits))
      .digest(),
  )
}

/** TPM 2.0 Part 1, KDFe(); the label without its NUL, coordinates as long as the curve. */
export interface KdfeInput {
  /** X coordinate of the shared point, as long as the curve's field. */
  readonly z: Uint8Array
  readonly label: string
  /** X coordinates of the ephemeral and of the static key. */
  readonly partyU: Uint8Array
  readonly partyV: Uint8Array
}

/** TPM 2.0 Part 1, KDFe(): `bits` is a multiple of 8; returns bits / 8 bytes. Never throws. */
export function kdfe(hash: DigestAlgorithm, { z, label, partyU, partyV }: KdfeInput, bits: number): Buffer {
  return counterBlocks(bits, (counter) =>
    createHash(hash).update(counter).update(z).update(`${label}\0`).update(partyU).update(partyV).digest(),
  )
}

function counterBlocks(bits: number, block: (counter: Buffer) => Buffer): Buffer {
  const blocks: Buffer[] = []
  for (let counter = 1, length = 0; length < bits / 8; counter++) {
    const next = block(u32be(counter))
    blocks.push(next)
    length += next.length
  }
  return Buffer.concat(blocks).subarray(0, bits / 8)
}

function u32be(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
