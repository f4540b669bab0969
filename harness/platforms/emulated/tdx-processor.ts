/** An emulated TDX module and quoting enclave: quotes of version 4 and 5, with the collateral that the PCS would give. */

import { sha256Hex } from '../../base/digest.ts'
import { UsageError } from '../../base/errors.ts'
import { collateralFiles, qeIdentity, tcbInfo } from '../../evidence/testing/tdx-collateral.ts'
import { makeTdxPki, SERIAL, SIMULATED_FMSPC, type TdxPki } from '../../evidence/testing/tdx-pki.ts'
import { makeTdxQuote, type TdReportSpec, UP_TO_DATE_SVN } from '../../evidence/testing/tdx-quote.ts'
import { parseCertificate } from '../../formats/x509.ts'
import {
  type EmulatedProcessor,
  type EndorsementFault,
  type ProcessorOptions,
  TEE_FAULTS,
  type TeeAnswer,
  type TeeEndorsements,
  type TeeQuestion,
} from './processor.ts'

const DEBUG = 1n << 0n
const SEPT_VE_DISABLE = 1n << 28n
/** Of a platform that the collateral of the honest one says nothing about. */
const OTHER_FMSPC = Buffer.from('50515253dcba', 'hex')
/** TEE_TCB_SVN[2], microcode: below what the first level of the TCB info asks for. */
const MICROCODE = 2
/** MRTD begins here in a quote of version 4; all of the body is signed. */
const SIGNED_OFFSET = 48 + 136
const DAY_MS = 86_400_000

export function makeTdxProcessor(options: ProcessorOptions): EmulatedProcessor {
  return new TdxProcessor(options)
}

class TdxProcessor implements EmulatedProcessor {
  readonly platform = 'tdx'
  readonly provider = 'tdx_guest'
  readonly faults = TEE_FAULTS.filter((fault) => fault !== 'vlek')
  readonly chip = SIMULATED_FMSPC.toString('hex')
  readonly #options: ProcessorOptions
  readonly #honest: TdxPki
  #other: TdxPki | undefined

  constructor(options: ProcessorOptions) {
    this.#options = options
    this.#honest = makeTdxPki()
  }

  answer(question: TeeQuestion): TeeAnswer {
    const { faults } = question
    if (faults.has('vlek'))
      throw new UsageError('a TDX platform cannot have the fault vlek: it is a kind of key of SEV-SNP', {
        code: 'bad-value',
      })
    const version = this.#options.quoteVersion ?? 4
    const pki = faults.has('other-chip') ? this.#stranger() : this.#honest
    const quote = makeTdxQuote(pki, { version, body: bodyOf(question) })
    if (faults.has('forged')) quote.writeUInt8(quote.readUInt8(SIGNED_OFFSET) ^ 1, SIGNED_OFFSET)
    return { outblob: quote, auxblob: Buffer.alloc(0) }
  }

  /** Below the same root, so that its kind is all that tells it apart. */
  #stranger(): TdxPki {
    const { pck: _, ...keys } = this.#honest.keys
    this.#other ??= makeTdxPki({ keys, sgx: { fmspc: OTHER_FMSPC } })
    return this.#other
  }

  endorsements(faults: readonly EndorsementFault[] = []): TeeEndorsements {
    const { certificates, rootCrl, pckCrl } = this.#honest
    const validity = this.#validity(faults)
    const documents = {
      issueDate: pcsTime(validity.thisUpdate),
      nextUpdate: pcsTime(validity.nextUpdate),
    }
    const revoked = faults.includes('revoked-key') ? { revoked: [{ serial: SERIAL.pck }] } : {}
    const files = collateralFiles(this.#honest, {
      tcbInfo: tcbInfo(documents),
      qeIdentity: qeIdentity(documents),
      rootCrl: rootCrl(this.#validity([])),
      pckCrl: pckCrl({ ...this.#validity([]), ...revoked }),
    })
    const { rootCrl: ofRoot, pckCrl: ofPck, ...collateral } = files
    return {
      certificates: [certificates.root],
      crls: faults.includes('no-revocation-lists') ? [] : [ofRoot, ofPck],
      collateral: Object.values(collateral),
      simulatedRoot: sha256Hex(parseCertificate(certificates.root).publicKey.raw),
    }
  }

  #validity(faults: readonly EndorsementFault[]): { readonly thisUpdate: Date; readonly nextUpdate: Date } {
    const at = (days: number) => new Date(this.#options.now.getTime() + days * DAY_MS)
    return { thisUpdate: at(-20), nextUpdate: at(faults.includes('expired-collateral') ? -1 : 10) }
  }
}

/** `2025-06-19T10:16:03Z`, without parts of seconds. */
function pcsTime(time: Date): string {
  return time.toISOString().replace(/[.][0-9]{3}Z$/, 'Z')
}

function bodyOf({ reportData, launch, registers, faults }: TeeQuestion): TdReportSpec {
  const { fields, digest } = launch
  const attributes = fields.TDATTRIBUTES === undefined ? SEPT_VE_DISABLE : BigInt(fields.TDATTRIBUTES)
  const configId = registerOf(fields.MRCONFIGID)
  const svn = Uint8Array.from(UP_TO_DATE_SVN)
  if (faults.has('old-tcb')) svn[MICROCODE] = 0
  return {
    teeTcbSvn: svn,
    tdAttributes: faults.has('debug-policy') ? attributes | DEBUG : attributes,
    mrTd: faults.has('other-launch') ? inverted(digest) : digest,
    mrConfigId: faults.has('other-host-data') ? inverted(configId) : configId,
    ...{ mrOwner: registerOf(fields.MROWNER), mrOwnerConfig: registerOf(fields.MROWNERCONFIG) },
    rtmrs: registers,
    reportData: faults.has('other-report-data') ? inverted(reportData) : reportData,
  }
}

const REGISTER_BYTES = 48

function registerOf(hex: string | undefined): Buffer {
  return hex === undefined ? Buffer.alloc(REGISTER_BYTES) : Buffer.from(hex, 'hex')
}

/** Another value of the same length. */
function inverted(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.map((byte) => byte ^ 0xff))
}
