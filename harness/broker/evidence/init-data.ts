/** Init data: what the host says the guest was told before it started, bound to HOST_DATA or MRCONFIGID. */
import { type DigestAlgorithm, digest, equalBytes } from '../../base/digest.ts'
import type { Finding } from '../../base/errors.ts'
import { BrokerRefusal } from '../refusal.ts'

const ALGORITHM_LINE = /^algorithm\s*=\s*(["'])(sha256|sha384|sha512)\1\s*(?:#.*)?$/

/**
 * The digest that the register must hold: by the algorithm that the document names at its top (Trustee,
 * kbs/docs/initdata.md), cut or filled up with zeros to the register's `bytes`. Throws BrokerRefusal `malformed-request`.
 */
export function initDataDigest(
  { format, body }: { readonly format: string; readonly body: string },
  bytes: number,
): Buffer {
  if (format !== 'toml') throw new BrokerRefusal('malformed-request', 'init-data.format must be toml')
  const head = body.split('\n', 256)
  const table = head.findIndex((line) => line.trimStart().startsWith('['))
  const named = (table < 0 ? head : head.slice(0, table)).flatMap(
    (line) => ALGORITHM_LINE.exec(line.trim())?.[2] ?? [],
  )
  const [algorithm, ...others] = named
  if (algorithm === undefined || others.length > 0)
    throw new BrokerRefusal(
      'malformed-request',
      'init-data names no algorithm of sha256, sha384, sha512, or several',
    )
  const register = Buffer.alloc(bytes)
  register.set(digest(algorithm as DigestAlgorithm, body).subarray(0, bytes))
  return register
}

/** A finding where the register holds anything else. */
export function initDataFindings(expected: Uint8Array, register: Uint8Array): readonly Finding[] {
  if (equalBytes(expected, register)) return []
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
  return [
    {
      code: 'init-data',
      message: 'the init data that came along is not the one that the guest was launched with',
      ...{ expected: hex(expected), got: hex(register) },
    },
  ]
}
