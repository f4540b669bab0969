/** Certificates and revocation lists from files of any form: PEM, DER, and the certificate table of an SNP host. */
import { FormatError } from '../base/errors.ts'
import { type Crl, parseCrl } from '../formats/crl.ts'
import { JsonText } from '../formats/json-text.ts'
import { looksLikePem, parseCertificates, parseCrls, parsePem } from '../formats/pem.ts'
import { CERTIFICATE_GUIDS, parseCertificateTable } from '../formats/snp/certificate-table.ts'
import type { Certificate } from '../formats/x509.ts'
import { plainBytes } from './text-forms.ts'
import { isJson } from './unwrap.ts'

/** Contents of files, in any form and order. */
export interface EndorsementFiles {
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
}

/** What the files hold (RFC 5280, 4.1 and 5.1); nothing is trusted yet. */
export interface Endorsements {
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
}

/**
 * Reads files of at most 4 MiB and 64 certificates or lists (PEM, DER, DER in hex or base64 as caches answer; a list
 * 1 MiB, a certificate 64 KiB), tables of at most 1 MiB (AMD 56421, 4.1.8.1), and the JSON of Azure's THIM
 * (`vcekCert`, `certificateChain`) of at most 1 MiB. Throws FormatError, also for a file of none of these forms: what
 * was given and not read must not look as if it counted.
 */
export function readEndorsementFiles({ certificates, crls }: EndorsementFiles): Endorsements {
  const read = [...certificates, ...crls].map(readFile)
  return {
    certificates: read.flatMap((each) => each.certificates),
    crls: read.flatMap((each) => each.crls),
  }
}

const DER_SEQUENCE = 0x30

/** What an Azure host answers a guest that asks for its certificates (THIM): PEM in the members of a JSON object. */
const THIM = { what: 'certificates in JSON', maxBytes: 1024 * 1024, maxDepth: 4 }
const THIM_MEMBERS = ['vcekCert', 'certificateChain'] as const

function readFile(file: Uint8Array): Endorsements {
  if (isJson(file)) return readPem(pemOf(JsonText.parse(file, THIM)))
  if (looksLikePem(file)) return readPem(file)
  const bytes = plainBytes(file)
  return bytes[0] === DER_SEQUENCE ? readDer(bytes) : readTable(bytes)
}

/** Nothing for other JSON, so that reading it as PEM says that a certificate is missing. */
function pemOf(document: JsonText): Buffer {
  const members = document.members()
  const texts = THIM_MEMBERS.map((name) => ({ name, value: members?.get(name)?.value ?? '' }))
  const other = texts.find(({ value }) => typeof value !== 'string')
  if (other)
    throw new FormatError(`cannot read ${THIM.what}: ${other.name} is no text, it must be PEM`, {
      ...{ code: 'bad-value', field: other.name, offset: 0 },
    })
  return Buffer.from(texts.map(({ value }) => value).join('\n'))
}

function readPem(bytes: Uint8Array): Endorsements {
  const labels = new Set(parsePem(bytes).map(({ label }) => label))
  const hasLists = labels.has('X509 CRL')
  return {
    // Without either, the error says that a certificate is missing.
    certificates: labels.has('CERTIFICATE') || !hasLists ? parseCertificates(bytes) : [],
    crls: hasLists ? parseCrls(bytes) : [],
  }
}

/** Both are SEQUENCEs of a SEQUENCE: the one that parses. */
function readDer(bytes: Uint8Array): Endorsements {
  try {
    return { certificates: parseCertificates(bytes), crls: [] }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    try {
      return { certificates: [], crls: [parseCrl(bytes)] }
    } catch {
      throw error
    }
  }
}

const CERTIFICATES: readonly string[] = [
  CERTIFICATE_GUIDS.vcek,
  CERTIFICATE_GUIDS.vlek,
  CERTIFICATE_GUIDS.ask,
  CERTIFICATE_GUIDS.ark,
]

/** What a host puts beside the entries that AMD names is its own business. */
function readTable(bytes: Uint8Array): Endorsements {
  const entries = parseCertificateTable(bytes)
  return {
    certificates: entries
      .filter(({ guid }) => CERTIFICATES.includes(guid))
      .flatMap((entry) => parseCertificates(entry.bytes)),
    crls: entries.filter(({ guid }) => guid === CERTIFICATE_GUIDS.crl).map((entry) => parseCrl(entry.bytes)),
  }
}
