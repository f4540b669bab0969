/**
 * A processor that has done most of its signatures before they are asked for: a real one signs beside the CPU, and what an
 * emulated one takes of it would be counted with the broker's clients. The signatures are ECDSA's own (FIPS 186-5, 6.4.1):
 * its one use of the curve does not depend on what is signed.
 */
import { createECDH, createHash } from 'node:crypto'
import { SnpSignerEmulation } from '../../harness/evidence/testing/snp-signer.ts'

/** Order of P-384: SP 800-186, 3.2.1.4. */
const ORDER = BigInt(
  '0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
)
/** What a report signs, where r and s stand in it, and how long each is (SEV-SNP ABI, 7.3 and chapter 10). */
const SIGNED_BYTES = 0x2a0
const COMPONENT_BYTES = 72
const COORDINATE_BYTES = 48

interface Prepared {
  readonly r: bigint
  /** 1 / k. */
  readonly inverse: bigint
  /** r times the key. */
  readonly rd: bigint
}

export class PreparedProcessor extends SnpSignerEmulation {
  readonly #stock: Prepared[] = []
  #key: bigint | undefined

  /** Has this many signatures ready. */
  prepare(count: number): void {
    while (this.#stock.length < count) this.#stock.push(this.#one())
  }

  /** Each is used once: two signatures with one k would give the key away. */
  override sign(report: Uint8Array): Buffer {
    const { r, inverse, rd } = this.#stock.pop() ?? this.#one()
    const digest = createHash('sha384').update(report.subarray(0, SIGNED_BYTES)).digest()
    const s = (inverse * (number(digest) + rd)) % ORDER
    const signed = Buffer.from(report)
    signed.fill(0, SIGNED_BYTES)
    signed.set(littleEndian(r), SIGNED_BYTES)
    signed.set(littleEndian(s), SIGNED_BYTES + COMPONENT_BYTES)
    return signed
  }

  #one(): Prepared {
    this.#key ??= number(
      Buffer.from(this.keys.leaf.privateKey.export({ format: 'jwk' }).d ?? '', 'base64url'),
    )
    const curve = createECDH('secp384r1')
    const r = number(curve.generateKeys().subarray(1, 1 + COORDINATE_BYTES)) % ORDER
    return { r, inverse: inverted(number(curve.getPrivateKey())), rd: r * this.#key }
  }
}

function number(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

function littleEndian(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(2 * COORDINATE_BYTES, '0'), 'hex').reverse()
}

/** Modulo the order, by Euclid's algorithm. */
function inverted(value: bigint): bigint {
  let [a, b, x, y] = [value, ORDER, 1n, 0n]
  while (b !== 0n) {
    const quotient = a / b
    ;[a, b, x, y] = [b, a - quotient * b, y, x - quotient * y]
  }
  return ((x % ORDER) + ORDER) % ORDER
}
