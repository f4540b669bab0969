/**
 * The authorities behind an emulated TDX platform: root, PCK authority, PCK, TCB signing. Made when asked for, never
 * kept, and SIMULATED in every name, so that nothing takes them for Intel's. A specification says what is to differ.
 */
import { der, integer, octetString, oid, sequence } from '../../formats/testing/der-writer.ts'
import { parseCertificate } from '../../formats/x509.ts'
import type { TdxRoot } from '../tdx/root.ts'
import { simulatedTdxRoot } from '../tdx/simulated-root.ts'
import {
  authority,
  type CertificateSpec,
  type CrlSpec,
  commonNameOf,
  ecKeyPair,
  extension,
  type KeyPair,
  keyUsageBits,
  makeCertificate,
  makeCrl,
  publicKeyInfo,
} from './pki.ts'

const SGX = '1.2.840.113741.1.13.1'

/** Of the emulated platform's PCK certificate. */
export interface SgxExtensionSpec {
  readonly ppid?: Uint8Array
  readonly fmspc?: Uint8Array
  readonly pceId?: Uint8Array
  readonly pceSvn?: number
  /** 16 SVNs. */
  readonly components?: readonly number[]
  readonly cpuSvn?: Uint8Array
  readonly sgxType?: number
  /** Ids to leave out, below 1.2.840.113741.1.13.1: "4" for the FMSPC, "2.17" for PCESVN. */
  readonly without?: readonly string[]
  /** Ids to have two times. */
  readonly twice?: readonly string[]
}

export const SIMULATED_FMSPC = Buffer.from('50515253abcd', 'hex')
const COMPONENTS = [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]

/** Content of the SGX extension. */
export function sgxExtension(spec: SgxExtensionSpec = {}): Buffer {
  const { components = COMPONENTS, without = [], twice = [] } = spec
  const entry = (id: string, value: Uint8Array) => {
    const encoded = sequence(oid(`${SGX}.${id}`), value)
    return without.includes(id) ? [] : twice.includes(id) ? [encoded, encoded] : [encoded]
  }
  const tcb = [
    ...components.flatMap((svn, index) => entry(`2.${index + 1}`, integer(svn))),
    ...entry('2.17', integer(spec.pceSvn ?? 11)),
    ...entry('2.18', octetString(spec.cpuSvn ?? Uint8Array.from(components))),
  ]
  return sequence(
    ...entry('1', octetString(spec.ppid ?? Buffer.alloc(16, 0x11))),
    ...entry('2', sequence(...tcb)),
    ...entry('3', octetString(spec.pceId ?? Buffer.alloc(2))),
    ...entry('4', octetString(spec.fmspc ?? SIMULATED_FMSPC)),
    ...entry('5', der(0x0a, Buffer.from([spec.sgxType ?? 1]))),
    ...entry('6', octetString(Buffer.alloc(16, 0x22))),
  )
}

type Changes = Partial<CertificateSpec>

export interface TdxPkiSpec {
  /** Of another platform, as far as both share them; default new ones. */
  readonly keys?: Partial<TdxPki['keys']>
  readonly root?: Changes
  readonly pckAuthority?: Changes
  readonly pck?: Changes
  readonly tcbSigning?: Changes
  readonly sgx?: SgxExtensionSpec
}

export interface TdxPki {
  readonly keys: Readonly<Record<'root' | 'pckAuthority' | 'pck' | 'tcbSigning', KeyPair>>
  /** DER. */
  readonly certificates: Readonly<Record<'root' | 'pckAuthority' | 'pck' | 'tcbSigning', Buffer>>
  /** What a verifier must be told to trust; no default does. */
  readonly root: TdxRoot
  readonly rootCrl: (changes?: Partial<CrlSpec>) => Buffer
  readonly pckCrl: (changes?: Partial<CrlSpec>) => Buffer
}

const NAMES = {
  root: commonNameOf('SIMULATED SGX Root CA'),
  pckAuthority: commonNameOf('SIMULATED SGX PCK Platform CA'),
  pck: commonNameOf('SIMULATED SGX PCK Certificate'),
  tcbSigning: commonNameOf('SIMULATED SGX TCB Signing'),
}
/** Serial numbers, for lists that revoke. */
export const SERIAL = { root: 1, pckAuthority: 2, pck: 3, tcbSigning: 4 } as const

/** MRSIGNER of the emulated quoting enclave: not Intel's, so that a mix of roots is refused by that alone. */

export function makeTdxPki(spec: TdxPkiSpec = {}): TdxPki {
  const keys = {
    ...{ root: ecKeyPair('P-256'), pckAuthority: ecKeyPair('P-256') },
    ...{ pck: ecKeyPair('P-256'), tcbSigning: ecKeyPair('P-256') },
    ...spec.keys,
  }
  const make = (name: keyof typeof NAMES, issuer: keyof typeof NAMES, changes: Changes = {}) =>
    makeCertificate({
      ...{ subject: NAMES[name], issuer: NAMES[issuer], serial: SERIAL[name] },
      ...{ publicKey: publicKeyInfo(keys[name]), signer: keys[issuer] },
      extensions:
        name === 'root' || name === 'pckAuthority' ? [authority(), keyUsageBits(5, 6)] : [keyUsageBits(0, 1)],
      ...changes,
    })
  const pckExtensions = [keyUsageBits(0, 1), extension(SGX, sgxExtension(spec.sgx))]
  const certificates = {
    root: make('root', 'root', spec.root),
    pckAuthority: make('pckAuthority', 'root', spec.pckAuthority),
    pck: make('pck', 'pckAuthority', { extensions: pckExtensions, ...spec.pck }),
    tcbSigning: make('tcbSigning', 'root', spec.tcbSigning),
  }
  return {
    ...{ keys, certificates, root: simulatedTdxRoot(parseCertificate(certificates.root)) },
    rootCrl: (changes) => makeCrl({ issuer: NAMES.root, signer: keys.root, ...changes }),
    pckCrl: (changes) => makeCrl({ issuer: NAMES.pckAuthority, signer: keys.pckAuthority, ...changes }),
  }
}
