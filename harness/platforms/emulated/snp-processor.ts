/** An emulated AMD security processor: reports of the ABI's versions 2, 3 and 5, by a VCEK or a VLEK. */
import { randomBytes } from 'node:crypto'
import { UsageError } from '../../base/errors.ts'
import { ecKeyPair, makeCrl } from '../../evidence/testing/pki.ts'
import {
  type SnpClaims,
  SnpSignerEmulation,
  type SnpSignerOptions,
} from '../../evidence/testing/snp-signer.ts'
import { decodeGuestPolicy } from '../../formats/snp/flags.ts'
import { tcbLayout } from '../../formats/snp/tcb.ts'
import { parseCertificate } from '../../formats/x509.ts'
import {
  type EmulatedProcessor,
  type EndorsementFault,
  type LaunchFields,
  type ProcessorOptions,
  TEE_FAULTS,
  type TeeAnswer,
  type TeeEndorsements,
  type TeeFault,
  type TeeLaunch,
  type TeeQuestion,
} from './processor.ts'

const DEBUG = 1n << 19n
/** Serial number of the intermediate: AMD revokes authorities alone, since all its leaves have the serial 0. */
const INTERMEDIATE_SERIAL = 0x10001
const OLD_TCB = { fmc: 0, bootloader: 2, tee: 0, snp: 8, microcode: 115 }
/** 0x2a0 bytes are signed; this one is in GUEST_SVN. */
const SIGNED_OFFSET = 4
const DAY_MS = 86_400_000

/** Faults that are the processor's own; the others are in what it is asked to say. */
type Identity = 'other-chip' | 'old-tcb' | 'vlek'
const IDENTITIES: readonly Identity[] = ['other-chip', 'old-tcb', 'vlek']

export function makeSnpProcessor(options: ProcessorOptions): EmulatedProcessor {
  return new SnpProcessor(options)
}

class SnpProcessor implements EmulatedProcessor {
  readonly platform = 'sev-snp'
  readonly provider = 'sev_guest'
  readonly faults = TEE_FAULTS
  readonly chip: string
  readonly #honest: SnpSignerEmulation
  readonly #hwId: Buffer
  readonly #options: ProcessorOptions
  /** By the faults that make a processor another one. */
  readonly #others = new Map<string, SnpSignerEmulation>()

  constructor(options: ProcessorOptions) {
    const { product = 'genoa' } = options
    this.#options = options
    this.#hwId = randomBytes(tcbLayout(product) === 'turin' ? 8 : 64)
    this.chip = Buffer.concat([this.#hwId, Buffer.alloc(64)]).toString('hex', 0, 64)
    this.#honest = new SnpSignerEmulation({ product, hwId: this.#hwId })
  }

  answer({ reportData, launch, faults }: TeeQuestion): TeeAnswer {
    const signer = this.#signerFor(faults)
    const report = signer.report(claimsOf({ reportData, launch, faults, version: this.#version }))
    if (faults.has('forged')) report.writeUInt8(report.readUInt8(SIGNED_OFFSET) ^ 1, SIGNED_OFFSET)
    return { outblob: report, auxblob: signer.certificateTable() }
  }

  get #version(): 2 | 3 | 5 {
    return this.#options.reportVersion ?? (this.#honest.product === 'turin' ? 5 : 3)
  }

  #signerFor(faults: ReadonlySet<TeeFault>): SnpSignerEmulation {
    const own = IDENTITIES.filter((fault) => faults.has(fault))
    if (own.length === 0) return this.#honest
    const key = own.join(' ')
    const signer = this.#others.get(key) ?? new SnpSignerEmulation(this.#otherThan(new Set(own)))
    this.#others.set(key, signer)
    return signer
  }

  /** Under the same root: what is wrong must be no stranger's. A VCEK is derived from chip and TCB, so it is another key. */
  #otherThan(faults: ReadonlySet<Identity>): SnpSignerOptions {
    const { product, keys } = this.#honest
    return {
      product,
      signer: faults.has('vlek') ? 'vlek' : 'vcek',
      hwId: faults.has('other-chip') ? randomBytes(this.#hwId.length) : this.#hwId,
      ...(faults.has('old-tcb') && { tcb: OLD_TCB }),
      keys: { ...keys, leaf: ecKeyPair('P-384') },
    }
  }

  endorsements(faults: readonly EndorsementFault[] = []): TeeEndorsements {
    const { certificates, root } = this.#honest
    return {
      certificates: [certificates.root],
      crls: faults.includes('no-revocation-lists') ? [] : [this.#revocationList(faults)],
      ...{ collateral: [], simulatedRoot: root.keyId },
    }
  }

  #revocationList(faults: readonly EndorsementFault[]): Buffer {
    const at = (days: number) => new Date(this.#options.now.getTime() + days * DAY_MS)
    return makeCrl({
      issuer: parseCertificate(this.#honest.certificates.root).subject.raw,
      signer: this.#honest.keys.root,
      thisUpdate: at(-60),
      nextUpdate: at(faults.includes('expired-collateral') ? -1 : 60),
      ...(faults.includes('revoked-key') && { revoked: [{ serial: INTERMEDIATE_SERIAL }] }),
    })
  }
}

interface Said extends Pick<TeeQuestion, 'reportData' | 'launch' | 'faults'> {
  readonly version: 2 | 3 | 5
}

function claimsOf({ reportData, launch, faults, version }: Said): SnpClaims {
  const { fields, digest } = launch
  const policy = BigInt(fields.POLICY ?? '0x30000')
  const hasAuthor = fields.AUTHOR_KEY_EN === '1'
  return {
    version,
    policy: decodeGuestPolicy(faults.has('debug-policy') ? policy | DEBUG : policy),
    measurement: faults.has('other-launch') ? inverted(digest) : digest,
    reportData: faults.has('other-report-data') ? inverted(reportData) : reportData,
    hostData: hostDataOf(launch, faults),
    ...bytesOf(fields, { familyId: 'FAMILY_ID', imageId: 'IMAGE_ID', idKeyDigest: 'ID_KEY_DIGEST' }),
    ...(hasAuthor && bytesOf(fields, { authorKeyDigest: 'AUTHOR_KEY_DIGEST' })),
    ...(fields.GUEST_SVN !== undefined && { guestSvn: Number(fields.GUEST_SVN) }),
    keyInfo: { authorKeyEnabled: hasAuthor },
  }
}

const HOST_DATA_BYTES = 32

function hostDataOf({ fields }: TeeLaunch, faults: ReadonlySet<TeeFault>): Uint8Array {
  const said =
    fields.HOST_DATA === undefined ? Buffer.alloc(HOST_DATA_BYTES) : Buffer.from(fields.HOST_DATA, 'hex')
  if (said.length !== HOST_DATA_BYTES)
    throw new UsageError(`HOST_DATA has ${said.length} bytes, it must have ${HOST_DATA_BYTES}`, {
      code: 'bad-value',
    })
  return faults.has('other-host-data') ? inverted(said) : said
}

/** Those of the named fields that the launch has. */
function bytesOf<Name extends string>(
  fields: LaunchFields,
  names: Readonly<Record<Name, keyof LaunchFields>>,
): Partial<Record<Name, Buffer>> {
  const present = Object.entries<keyof LaunchFields>(names).flatMap(([name, field]) => {
    const value = fields[field]
    return value === undefined ? [] : [[name, Buffer.from(value, 'hex')] as const]
  })
  return Object.fromEntries(present) as Partial<Record<Name, Buffer>>
}

/** Another value of the same length. */
function inverted(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.map((byte) => byte ^ 0xff))
}
