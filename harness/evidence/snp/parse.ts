/** SNP evidence as it travels: a report, alone or with the certificates that the host hands out beside it. */
import { FormatError } from '../../base/errors.ts'
import type { Crl } from '../../formats/crl.ts'
import { parseCertificates, parseCrls } from '../../formats/pem.ts'
import {
  CERTIFICATE_GUIDS,
  parseCertificateTable,
  type TableEntry,
} from '../../formats/snp/certificate-table.ts'
import { parseSnpReport, SNP_REPORT_BYTES, type SnpReport } from '../../formats/snp/report.ts'
import type { Certificate } from '../../formats/x509.ts'

/**
 * A report of 1184 bytes (AMD 56860, ATTESTATION_REPORT) and what the host put beside it (AMD 56421, 4.1.8.1; at most
 * 1 MiB).
 */
export interface SnpEvidence {
  readonly report: SnpReport
  /** The host's certificate table; empty where there is none. */
  readonly table: readonly TableEntry[]
  /** Of the entries whose GUID AMD assigned; none of them is trusted yet. */
  readonly certificates: readonly Certificate[]
  readonly crls: readonly Crl[]
}

/**
 * Parses a report of 1184 bytes with, optionally, a certificate table: either `auxblob` (configfs-tsm has the report as
 * `outblob`), or what follows the report in `bytes` (an extended report in one file). Bytes after the report that are
 * no certificate table are refused. Throws FormatError, also for a certificate or list of AMD's that is malformed.
 */
export function parseSnpEvidence(bytes: Uint8Array, auxblob?: Uint8Array): SnpEvidence {
  const behind = bytes.subarray(SNP_REPORT_BYTES)
  if (auxblob && behind.length > 0)
    throw new FormatError('cannot parse SNP evidence: there are two certificate tables, one is allowed', {
      code: 'trailing-bytes',
      field: 'certificate table',
      offset: SNP_REPORT_BYTES,
    })
  const report = parseSnpReport(bytes.subarray(0, SNP_REPORT_BYTES))
  const table = parseCertificateTable(auxblob ?? behind)
  const { crl, ...certificates } = CERTIFICATE_GUIDS
  const known: readonly string[] = Object.values(certificates)
  return {
    report,
    table,
    certificates: table
      .filter(({ guid }) => known.includes(guid))
      .flatMap((entry) => parseCertificates(entry.bytes)),
    crls: table.filter(({ guid }) => guid === crl).flatMap((entry) => parseCrls(entry.bytes)),
  }
}
