/**
 * What a VCEK or VLEK certificate says besides its key: "Versioned Chip Endorsement Key (VCEK) Certificate and KDS
 * Interface Specification" (AMD 57230), chapter 3.
 */
import { VerifyError } from '../../base/errors.ts'
import type { DerReader } from '../../formats/der.ts'
import { TAG } from '../../formats/der.ts'
import { SNP_PRODUCTS, type SnpProduct, type TcbLayout, tcbLayout } from '../../formats/snp/tcb.ts'
import { type Certificate, commonName, findExtension, nameText } from '../../formats/x509.ts'
import { extensionReader } from '../../formats/x509-extensions.ts'
import { LINE_NAMES } from './roots.ts'

/** Which key signed: of the chip, or of a cloud provider (AMD 56860, KEY_INFO.SIGNING_KEY). */
export type SnpSigner = 'vcek' | 'vlek'

/** The extensions of a VCEK or VLEK certificate: AMD 57230, X.509v3 extensions of VCEK and VLEK. */
export interface SnpEndorsement {
  readonly signer: SnpSigner
  /** As certified: "Milan-B0", "Genoa". */
  readonly productName: string
  readonly product: SnpProduct
  /** The TCB that the key was derived for, laid out as TCB_VERSION of the product. */
  readonly tcb: Uint8Array
  /** VCEK only: 64 bytes, on Turin 8. */
  readonly hwId?: Uint8Array
  /** VLEK only: the cloud provider that it was issued to; safe to print. */
  readonly cspId?: string
}

const ARC = '1.3.6.1.4.1.3704.1'
const PRODUCT_NAME = `${ARC}.2`
const HW_ID = `${ARC}.4`
const CSP_ID = `${ARC}.5`
const HW_ID_BYTES: Readonly<Record<TcbLayout, number>> = { 'milan-genoa': 64, turin: 8 }

/**
 * OIDs below `${ARC}.3` of the eight bytes of a TCB_VERSION: 1 blSPL, 2 teeSPL, 3 snpSPL, 4-7 reserved, 8 ucodeSPL, 9
 * fmcSPL.
 */
const TCB_OIDS: Readonly<Record<TcbLayout, readonly number[]>> = {
  'milan-genoa': [1, 2, 4, 5, 6, 7, 3, 8],
  turin: [9, 1, 2, 3, 5, 6, 7, 8],
}

const SIGNERS: Readonly<Record<string, SnpSigner>> = { 'SEV-VCEK': 'vcek', 'SEV-VLEK': 'vlek' }

/**
 * By the common name; undefined for certificates of authorities and strangers. AMD 57230, subject of VCEK and VLEK.
 * Never throws.
 */
export function signerOf({ subject }: Certificate): SnpSigner | undefined {
  return SIGNERS[commonName(subject) ?? '']
}

/**
 * Reads the extensions. They are worth what the chain is: call it on certificates that were verified, or compare only
 * to choose one. Throws VerifyError 'bad-certificate' where one is missing, and FormatError where one is malformed. AMD
 * 57230, chapter 3.
 */
export function readEndorsement(certificate: Certificate): SnpEndorsement {
  const signer = signerOf(certificate)
  if (!signer)
    throw unfit(certificate, {
      expected: 'the common name SEV-VCEK or SEV-VLEK',
      got: nameText(certificate.subject),
    })
  const productName = ia5(certificate, PRODUCT_NAME, 'productName')
  const product = SNP_PRODUCTS.find((line) => productName.split('-')[0] === LINE_NAMES[line])
  if (!product)
    throw unfit(certificate, { expected: 'a product name of Milan, Genoa or Turin', got: productName })
  const layout = tcbLayout(product)
  const tcb = Uint8Array.from(TCB_OIDS[layout], (arc) => readByte(certificate, `${ARC}.3.${arc}`))
  const common = { signer, productName, product, tcb }
  if (signer === 'vcek') return { ...common, hwId: readHwId(certificate, HW_ID_BYTES[layout]) }
  return { ...common, cspId: ia5(certificate, CSP_ID, 'cspID') }
}

function readByte(certificate: Certificate, oid: string): number {
  const reader = open(certificate, oid)
  const value = reader.smallInteger(oid, 255)
  reader.end(oid)
  return value
}

function ia5(certificate: Certificate, oid: string, field: string): string {
  const reader = open(certificate, oid)
  const { content, contentOffset } = reader.read(TAG.ia5String, field)
  reader.end(field)
  if (content.some((byte) => byte < 0x20 || byte > 0x7e))
    throw reader.error('bad-value', field, 'has characters that are not printable ASCII', contentOffset)
  return Buffer.from(content).toString('latin1')
}

/** AMD writes the bytes bare; its specification calls them an OCTET STRING, so that form is read too. */
function readHwId(certificate: Certificate, length: number): Uint8Array {
  const extension = findExtension(certificate, HW_ID)
  const bytes = extension?.value
  if (bytes?.length === length) return bytes
  if (extension && bytes?.length === length + 2) {
    const reader = extensionReader(extension)
    const content = reader.octetString('hwID')
    reader.end('hwID')
    if (content.length === length) return content
  }
  throw unfit(certificate, {
    expected: `a hwID of ${length} bytes`,
    got: bytes ? `${bytes.length} bytes` : 'none',
  })
}

function open(certificate: Certificate, oid: string): DerReader {
  const extension = findExtension(certificate, oid)
  if (extension) return extensionReader(extension)
  throw unfit(certificate, { expected: `the extension ${oid}`, got: 'none' })
}

function unfit(
  { subject }: Certificate,
  { expected, got }: { readonly expected: string; readonly got: string },
): VerifyError {
  return new VerifyError(
    `cannot use the certificate of "${nameText(subject)}" for SNP: it must have ${expected}, it has ${got}`,
    { code: 'bad-certificate', expected, got },
  )
}
