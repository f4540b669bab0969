/** `--guest-features`, which people know as bits (sev-snp-measure's flag) and as QEMU's property names. */
import { UsageError } from '../base/errors.ts'
import { GUEST_FEATURE_BITS, type GuestFeature, SNP_ACTIVE } from '../platforms/launch-options.ts'
import { wholeNumber } from './material-files.ts'

const FEATURES = Object.entries(GUEST_FEATURE_BITS) as readonly (readonly [GuestFeature, bigint])[]

/** A number stands for itself; names are added to `always`, the bits that the platform sets. Throws UsageError. */
export function guestFeatureBits(text: string, always: bigint): bigint {
  if (/^[0-9]/.test(text)) return wholeNumber(text, '--guest-features')
  return text.split(',').reduce((bits, name) => {
    const bit = FEATURES.find(([each]) => each === name.trim())?.[1]
    if (bit !== undefined) return bits | bit
    throw bad(`has "${name}"`)
  }, always)
}

/** What QEMU is to be asked for, beside what SNP always has. Throws UsageError for bits that it has no name for. */
export function guestFeatureNames(bits: bigint): readonly GuestFeature[] {
  const named = FEATURES.filter(([, bit]) => (bits & bit) !== 0n)
  const asked = named.reduce((sum, [, bit]) => sum | bit, SNP_ACTIVE)
  if (bits === asked) return named.map(([name]) => name)
  if ((bits & SNP_ACTIVE) === 0n) throw bad(`is 0x${bits.toString(16)}: bit 0 is set in every SEV-SNP guest`)
  throw bad(`is 0x${bits.toString(16)}: QEMU cannot be asked for 0x${(bits & ~asked).toString(16)}`)
}

function bad(problem: string): UsageError {
  const names = FEATURES.map(([name, bit]) => `${name} (0x${bit.toString(16)})`).join(', ')
  return new UsageError(`--guest-features ${problem}; there are ${names}`, { code: 'bad-value' })
}
