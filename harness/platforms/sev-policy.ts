/** The policy of SEV and SEV-ES guests (SEV API 0.24, table 2), by names. */
import { UsageError } from '../base/errors.ts'
import { bitsOf, type LaunchOptions, type NamedBits } from './launch-options.ts'

const NO_DEBUG = 1n << 0n
export const ENCRYPTED_STATE = 1n << 2n

const BITS: NamedBits = {
  'no-key-sharing': 1n << 1n,
  'no-send': 1n << 3n,
  'same-domain': 1n << 4n,
  'only-to-sev': 1n << 5n,
}

/** `debug` stands for the absence of NODBG; bit 2 belongs to the platform. Throws UsageError 'bad-value'. */
export function sevPolicy({ policy = [] }: LaunchOptions, required: bigint): bigint {
  if (typeof policy === 'bigint') return checked(policy, required)
  const debug = policy.includes('debug') ? 0n : NO_DEBUG
  return (
    required |
    debug |
    bitsOf(
      'the policy',
      policy.filter((name) => name !== 'debug'),
      { ...BITS },
    )
  )
}

function checked(policy: bigint, required: bigint): bigint {
  if (policy >> 32n === 0n && (policy & ENCRYPTED_STATE) === required) return policy
  throw new UsageError(
    `the policy is 0x${policy.toString(16)}: at most 32 bits, and bit 2 ${required ? 'set' : 'clear'}, are required`,
    { code: 'bad-value' },
  )
}
