/**
 * An emulated AMD security processor: signs reports in the real format with keys that its own root certifies. The root
 * is made anew each time and says SIMULATED; nothing that trusts AMD trusts it.
 */
import { randomBytes, sign } from 'node:crypto'
import { CERTIFICATE_GUIDS, encodeCertificateTable } from '../../formats/snp/certificate-table.ts'
import { COMPONENT_BYTES } from '../../formats/snp/ecdsa.ts'
import { encodeSnpReport, type SnpReportFields } from '../../formats/snp/encode-report.ts'
import {
  decodeGuestPolicy,
  decodePlatformInfo,
  encodeKeyInfo,
  type KeyInfo,
} from '../../formats/snp/flags.ts'
import { SNP_SIGNED_BYTES, type SnpReportVersion } from '../../formats/snp/report.ts'
import {
  type CpuidSignature,
  decodeTcb,
  encodeTcb,
  type SnpProduct,
  type SnpTcb,
  tcbLayout,
} from '../../formats/snp/tcb.ts'
import * as write from '../../formats/testing/der-writer.ts'
import { parseCertificate } from '../../formats/x509.ts'
import type { SnpSigner } from '../snp/endorsement.ts'
import { LINE_NAMES, type SnpRoot, simulatedSnpRoot } from '../snp/roots.ts'
import * as pki from './pki.ts'

export interface SnpSignerOptions {
  /** Default `milan`. */
  readonly product?: SnpProduct
  /** Default `vcek`. */
  readonly signer?: SnpSigner
  /** Components of every TCB of the reports. */
  readonly tcb?: Omit<SnpTcb, 'raw'>
  /** 64 bytes, on Turin 8; default random. */
  readonly hwId?: Uint8Array
  /** AMD's root and intermediate have 4096 bits; default 2048, which are made much faster. */
  readonly rsaBits?: number
  /** Of another emulation; default new ones. */
  readonly keys?: SnpSignerKeys
  /** Changes to each certificate, for tests of what must be refused. */
  readonly change?: { readonly [role in 'root' | 'intermediate' | 'leaf']?: Partial<pki.CertificateSpec> }
}

export interface SnpSignerKeys {
  readonly root: pki.KeyPair
  readonly intermediate: pki.KeyPair
  readonly leaf: pki.KeyPair
}

export interface SnpSignerCertificates {
  /** DER. */
  readonly root: Buffer
  readonly intermediate: Buffer
  readonly leaf: Buffer
}

/** What a report says beyond the defaults; `signature` is the processor's own. */
export type SnpClaims = Partial<Omit<SnpReportFields, 'signature' | 'keyInfo'>> & {
  readonly keyInfo?: Partial<Omit<KeyInfo, 'raw'>>
}

const CPUID: Readonly<Record<SnpProduct, CpuidSignature>> = {
  milan: { family: 25, model: 1, stepping: 1 },
  genoa: { family: 25, model: 17, stepping: 1 },
  turin: { family: 26, model: 2, stepping: 1 },
}

const DEFAULT_TCB = { fmc: 1, bootloader: 4, tee: 0, snp: 24, microcode: 219 }

export class SnpSignerEmulation {
  readonly product: SnpProduct
  readonly signer: SnpSigner
  readonly certificates: SnpSignerCertificates
  readonly root: SnpRoot
  readonly keys: SnpSignerKeys
  readonly #tcb: SnpTcb
  readonly #hwId: Uint8Array

  constructor(options: SnpSignerOptions = {}) {
    const { product = 'milan', signer = 'vcek', tcb = DEFAULT_TCB, rsaBits = 2048 } = options
    const layout = tcbLayout(product)
    this.product = product
    this.signer = signer
    this.#tcb = decodeTcb(encodeTcb(tcb, layout), layout)
    this.#hwId = options.hwId ?? randomBytes(layout === 'turin' ? 8 : 64)
    this.keys = options.keys ?? makeKeys(rsaBits)
    this.certificates = this.#makeCertificates(options)
    this.root = simulatedSnpRoot(parseCertificate(this.certificates.root), product)
  }

  /** 1184 bytes. The defaults are those of a guest that a strict policy accepts. */
  report(claims: SnpClaims = {}): Buffer {
    const unsigned = encodeSnpReport(this.#fields(claims))
    return this.sign(unsigned)
  }

  /** Signs the first 672 bytes as they are: for tests that need authentic nonsense. */
  sign(report: Uint8Array): Buffer {
    const key = { key: this.keys.leaf.privateKey, dsaEncoding: 'ieee-p1363' as const }
    const signature = sign('sha384', report.subarray(0, SNP_SIGNED_BYTES), key)
    const signed = Buffer.from(report)
    signed.fill(0, SNP_SIGNED_BYTES)
    signed.set(signature.subarray(0, COMPONENT_BYTES).reverse(), SNP_SIGNED_BYTES)
    signed.set(signature.subarray(COMPONENT_BYTES).reverse(), SNP_SIGNED_BYTES + 72)
    return signed
  }

  /** As configfs-tsm's `auxblob`. */
  certificateTable(): Buffer {
    const { root, intermediate, leaf } = this.certificates
    return encodeCertificateTable([
      { guid: CERTIFICATE_GUIDS.ark, bytes: root },
      { guid: CERTIFICATE_GUIDS.ask, bytes: intermediate },
      { guid: CERTIFICATE_GUIDS[this.signer], bytes: leaf },
    ])
  }

  #fields({ keyInfo, ...claims }: SnpClaims): SnpReportFields {
    const version: SnpReportVersion = claims.version ?? 3
    const info = { authorKeyEnabled: false, maskChipKey: false, signingKey: this.signer, ...keyInfo }
    const firmware = { major: 1, minor: 55, build: 29 }
    const chipId = Buffer.alloc(64)
    if (this.signer === 'vcek') chipId.set(this.#hwId)
    const zeros = (length: number) => new Uint8Array(length)
    return {
      ...{
        version,
        guestSvn: 0,
        policy: decodeGuestPolicy(0x30000n),
        vmpl: 0,
        familyId: zeros(16),
        imageId: zeros(16),
      },
      ...{ currentTcb: this.#tcb, reportedTcb: this.#tcb, committedTcb: this.#tcb, launchTcb: this.#tcb },
      ...{ platformInfo: decodePlatformInfo(version === 2 ? 0x05n : 0x25n), reportData: zeros(64) },
      ...{ measurement: zeros(48), hostData: zeros(32), idKeyDigest: zeros(48), authorKeyDigest: zeros(48) },
      ...{ reportId: randomBytes(32), reportIdMa: Buffer.alloc(32, 0xff), chipId },
      ...{ currentFirmware: firmware, committedFirmware: firmware },
      ...(version >= 3 && { cpuid: CPUID[this.product] }),
      ...(version >= 4 && { launchMitigations: 0n, currentMitigations: 0n }),
      ...claims,
      keyInfo: { ...info, raw: encodeKeyInfo(info) },
      signature: { r: zeros(COMPONENT_BYTES), s: zeros(COMPONENT_BYTES) },
    }
  }

  #makeCertificates({ change = {} }: SnpSignerOptions): SnpSignerCertificates {
    const line = LINE_NAMES[this.product]
    const { root, intermediate, leaf } = this.keys
    const names = {
      root: amdLikeName(`SIMULATED ARK-${line}`),
      intermediate: amdLikeName(this.signer === 'vcek' ? `SEV-${line}` : `SEV-VLEK-${line}`),
      leaf: amdLikeName(`SEV-${this.signer.toUpperCase()}`),
    }
    return {
      root: pki.makeCertificate({
        ...{
          subject: names.root,
          issuer: names.root,
          publicKey: pki.publicKeyInfo(root),
          signer: root,
          serial: 0x10000,
        },
        ...{ extensions: [pki.authority(), pki.keyUsageBits(5, 6)], ...change.root },
      }),
      intermediate: pki.makeCertificate({
        ...{
          subject: names.intermediate,
          issuer: names.root,
          publicKey: pki.publicKeyInfo(intermediate),
          signer: root,
        },
        ...{ serial: 0x10001, extensions: [pki.authority(0), pki.keyUsageBits(5)], ...change.intermediate },
      }),
      leaf: pki.makeCertificate({
        ...{
          subject: names.leaf,
          issuer: names.intermediate,
          publicKey: pki.publicKeyInfo(leaf),
          signer: intermediate,
        },
        ...{ serial: 0, extensions: this.leafExtensions(), ...change.leaf },
      }),
    }
  }

  /** As AMD 57230 has them, in its order: struct version, product, TCB, then hwID or cspID. */
  leafExtensions(): Buffer[] {
    const turin = this.product === 'turin'
    const arcs = turin ? [9, 1, 2, 3, 5, 6, 7, 8] : [1, 2, 4, 5, 6, 7, 3, 8]
    const name = LINE_NAMES[this.product]
    return [
      pki.extension('1.3.6.1.4.1.3704.1.1', write.integer(turin ? 1 : 0)),
      pki.extension(
        '1.3.6.1.4.1.3704.1.2',
        write.ia5(this.signer === 'vcek' && !turin ? `${name}-B0` : name),
      ),
      ...arcs.map((arc, at) =>
        pki.extension(`1.3.6.1.4.1.3704.1.3.${arc}`, write.integer(this.#tcb.raw[at] ?? 0)),
      ),
      this.signer === 'vcek'
        ? pki.extension('1.3.6.1.4.1.3704.1.4', this.#hwId)
        : pki.extension('1.3.6.1.4.1.3704.1.5', write.ia5('CN=cloud.example')),
    ]
  }
}

function makeKeys(rsaBits: number): SnpSignerKeys {
  return {
    root: pki.rsaKeyPair(rsaBits),
    intermediate: pki.rsaKeyPair(rsaBits),
    leaf: pki.ecKeyPair('P-384'),
  }
}

/** AMD's names but for the organization, which must not be taken for AMD's. */
function amdLikeName(name: string): Buffer {
  const attributes: readonly (readonly [string, Buffer])[] = [
    ['2.5.4.11', write.utf8('Engineering')],
    ['2.5.4.10', write.utf8('Attestbed SIMULATED')],
    ['2.5.4.3', write.utf8(name)],
  ]
  return write.sequence(...attributes.map(([id, value]) => write.set(write.sequence(write.oid(id), value))))
}
