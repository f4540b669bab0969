import { UsageError } from '../base/errors.ts'
import { rebootBy } from './confidential.ts'
import type { PlatformDescriptor } from './descriptor.ts'
import { bitsOf, fixedBase64, type LaunchOptions, type NamedBits } from './launch-options.ts'
import { snpPrediction } from './predicted-launch.ts'
import { sevHostNeeds } from './sev.ts'
import { withSev } from './sev-object.ts'

/** SEV-SNP firmware ABI, guest policy: bit 17 must be one. */
const RESERVED_ONE = 1n << 17n
const POLICY_BITS: NamedBits = {
  smt: 1n << 16n,
  migrate: 1n << 18n,
  debug: 1n << 19n,
  'single-socket': 1n << 20n,
  cxl: 1n << 21n,
  'aes-256-xts': 1n << 22n,
  'rapl-off': 1n << 23n,
  'ciphertext-hiding': 1n << 24n,
  'page-swap-off': 1n << 25n,
}
const DEFAULT_POLICY = ['smt']

export const sevSnp: PlatformDescriptor = {
  id: 'sev-snp',
  title: 'AMD SEV-SNP',
  basis: 'hardware',
  needs: [
    ...sevHostNeeds,
    { fact: 'cpu-sev-snp', why: 'the CPU must have SEV-SNP' },
    { fact: 'kvm-amd-sev-snp', why: 'kvm_amd must offer SEV-SNP' },
    // The kernel accounts SNP guests with the SEV-ES ones.
    { fact: 'sev-es-asids', why: 'an ASID must be left for an SNP guest', unknownIsEnough: true },
    { fact: 'qemu-sev-snp', why: 'QEMU must know sev-snp-guest' },
  ],
  wants: [],
  // From host kernel 6.11 on, pflash fails with `KVM_SET_USER_MEMORY_REGION2 ... Invalid argument`.
  firmwareLoads: ['bios'],
  firmwareFeature: 'sev-snp',
  qemuSince: [9, 1],
  predictLaunch: snpPrediction,
  emulation: {
    firmwareFeature: 'sev-snp',
    standIn: 'stand-in',
    load: async () => (await import('./emulated/snp-processor.ts')).makeSnpProcessor,
  },
  guestSlot: 'sev_es',
  launchOptions: ['cpu', 'policy', 'guestFeatures', 'hostData', 'idBlock'],
  reboot: rebootBy,
  apply: (description, host, options = {}) =>
    withSev(
      description,
      { platform: sevSnp, host, options },
      {
        type: 'sev-snp-guest',
        policy: policyOf(options),
        sharedMemory: true,
        properties: snpProperties(options),
      },
    ),
}

function policyOf({ policy = DEFAULT_POLICY }: LaunchOptions): bigint {
  if (typeof policy !== 'bigint') return RESERVED_ONE | bitsOf('the policy', policy, POLICY_BITS)
  if ((policy & RESERVED_ONE) !== 0n && policy >> 26n === 0n) return policy
  throw new UsageError(
    `the policy is 0x${policy.toString(16)}: bit 17 must be set, and the bits from 26 on are reserved`,
    { code: 'bad-value' },
  )
}

function snpProperties({
  guestFeatures = [],
  hostData,
  idBlock,
}: LaunchOptions): Readonly<Record<string, unknown>> {
  return {
    ...Object.fromEntries(guestFeatures.map((feature) => [feature, true])),
    'host-data': fixedBase64('HOST_DATA', hostData, 32),
    'id-block': fixedBase64('the ID block', idBlock?.block, 96),
    'id-auth': fixedBase64('the ID authentication information', idBlock?.authentication, 4096),
    'author-key-enabled': idBlock?.authorKey,
  }
}
