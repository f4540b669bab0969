import { DerReader } from '../../formats/der.ts'
import { parsePublicKeyInfo } from '../../formats/public-key-info.ts'
import type { TrustAnchor } from '../certificates/chain.ts'
import type { QeIdentityRules } from './qe-identity.ts'
import type { TdxModule } from './tcb-info.ts'

/**
 * What a TDX quote is traced back to: a pinned key, and what the vendor behind it lets quote. The key alone is not
 * enough, as the PCK signs the report of any enclave that the platform's owner admits to provisioning. Intel SGX PCK
 * Certificate and CRL Profile Specification, 2.3.4.1.
 */
export interface TdxRoot {
  readonly anchor: TrustAnchor
  /** An emulated TEE's root: no default policy accepts what it vouches for. */
  readonly simulated: boolean
  /** 16 bytes of the quote's header. */
  readonly qeVendorId: Uint8Array
  /** Taken where no signed QE identity was given. */
  readonly qe: QeIdentityRules
  /** Taken where no TCB info was given. */
  readonly module: TdxModule
}

/**
 * Intel SGX Root CA, SHA-256 of the SubjectPublicKeyInfo a0af0312…6c67a49e: the same in certificates of quotes from
 * five sources, in Intel's PCS chains of 2026, and in two independent verifiers' trust stores.
 */
const INTEL_ROOT_KEY =
  '3059301306072a8648ce3d020106082a8648ce3d03010703420004' +
  '0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5' +
  '67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394'

/** DER of CN=Intel SGX Root CA, O=Intel Corporation, L=Santa Clara, ST=CA, C=US. */
const INTEL_ROOT_NAME =
  '3068311a301806035504030c11496e74656c2053475820526f6f74204341311a3018060355040a0c11496e74656c20436f72' +
  '706f726174696f6e3114301206035504070c0b53616e746120436c617261310b300906035504080c024341310b3009060355' +
  '040613025553'

const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex')

/** Of the quoting enclave for TDs, as every QE identity since 2023 has them; the mask is that of the PCS. */
const INTEL_TD_QE: QeIdentityRules = {
  miscSelect: 0,
  miscSelectMask: 0xffff_ffff,
  attributes: bytes('11000000000000000000000000000000'),
  attributesMask: bytes('fbffffffffffffff0000000000000000'),
  mrSigner: bytes('dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5'),
  isvProdId: 2,
}

/** A module that Intel signed reports zero for its signer, and may have no attribute. */
export const INTEL_TDX_MODULE: TdxModule = {
  mrSigner: new Uint8Array(48),
  attributes: new Uint8Array(8),
  attributesMask: new Uint8Array(8).fill(0xff),
}

/** Intel SGX Root CA (P-256, pinned), and the constants of Intel's quoting enclave and module. */
export const INTEL_TDX_ROOT: TdxRoot = {
  anchor: {
    label: 'Intel SGX Root CA',
    name: bytes(INTEL_ROOT_NAME),
    publicKey: parsePublicKeyInfo(new DerReader(bytes(INTEL_ROOT_KEY), { what: 'pinned key' })),
    notBefore: new Date('2018-05-21T10:45:10Z'),
    notAfter: new Date('2049-12-31T23:59:59Z'),
  },
  simulated: false,
  qeVendorId: bytes('939a7233f79c4ca9940a0db3957f0607'),
  qe: INTEL_TD_QE,
  module: INTEL_TDX_MODULE,
}
