/** A TDX quote for people and for JSON. */
import type { TdxQuote } from '../../formats/tdx/quote.ts'
import { decodeTdAttributes, isUnderDebug } from '../../formats/tdx/td-report.ts'
import { nameText } from '../../formats/x509.ts'
import { hexOf } from '../checks.ts'
import type { Decoded, Fields } from '../examination.ts'
import { day, hexOrZeros, holds, open, type PageSection, row, shortName, type Voucher } from '../page.ts'
import type { VerifiedTdxQuote } from './verify.ts'

/**
 * Fields by the names of TDREPORT (Intel TDX module ABI) in lower case; bytes in hex as they lie in the quote. Never
 * throws.
 */
export function describeTdxQuote(quote: TdxQuote, verified?: VerifiedTdxQuote): Decoded {
  return {
    fields: { ...quoteFields(quote), ...(verified && verifiedFields(verified)) },
    page: {
      title: `TDX quote, version ${quote.header.version}, TD report ${quote.body.version}`,
      says: [launchSection(quote), platformSection(quote), ...(verified ? [tcbSection(verified)] : [])],
      vouchedBy: verified ? vouchers(verified) : [],
    },
  }
}

/** As the field lies in the report: eight bytes, the lowest first. */
function littleEndian(value: bigint): string {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes.toString('hex')
}

function quoteFields({ header, body, qeReport, certificationData, trailingBytes }: TdxQuote): Fields {
  const [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmrs
  return {
    version: header.version,
    att_key_type: header.attestationKeyType,
    tee_type: '0x81',
    qe_vendor_id: hexOf(header.qeVendorId),
    user_data: hexOf(header.userData),
    tee_tcb_svn: hexOf(body.teeTcbSvn),
    mr_seam: hexOf(body.mrSeam),
    mrsigner_seam: hexOf(body.mrSignerSeam),
    seam_attributes: hexOf(body.seamAttributes),
    td_attributes: littleEndian(body.tdAttributes),
    xfam: littleEndian(body.xfam),
    mr_td: hexOf(body.mrTd),
    mr_config_id: hexOf(body.mrConfigId),
    mr_owner: hexOf(body.mrOwner),
    mr_owner_config: hexOf(body.mrOwnerConfig),
    ...{ rtmr0: hexOf(rtmr0), rtmr1: hexOf(rtmr1), rtmr2: hexOf(rtmr2), rtmr3: hexOf(rtmr3) },
    report_data: hexOf(body.reportData),
    ...(body.teeTcbSvn2 && { tee_tcb_svn2: hexOf(body.teeTcbSvn2) }),
    ...(body.mrServiceTd && { mr_service_td: hexOf(body.mrServiceTd) }),
    debug_td: isUnderDebug(body.tdAttributes),
    qe_mrsigner: hexOf(qeReport.mrSigner),
    qe_isvprodid: qeReport.isvProdId,
    qe_isvsvn: qeReport.isvSvn,
    inner_cert_type: certificationData.type,
    trailing_bytes: trailingBytes,
  }
}

function verifiedFields({ pck, tcb, evaluationDataNumber, pckChain, root }: VerifiedTdxQuote): Fields {
  const [leaf] = pckChain
  return {
    pck: {
      fmspc: hexOf(pck.fmspc),
      pceid: hexOf(pck.pceId),
      pcesvn: pck.pceSvn,
      cpusvn_comps: [...pck.cpuSvnComponents],
      ppid: hexOf(pck.ppid),
      ...(leaf && { issuer: nameText(leaf.issuer), not_after: leaf.notAfter.toISOString() }),
    },
    root: root.anchor.label,
    tcb: tcb
      ? {
          status: tcb.status,
          advisory_ids: tcb.advisoryIds,
          platform: tcb.platform.status,
          module: `${tcb.module.id} ${tcb.module.status}`,
          qe: tcb.qe.status,
          evaluation_data_number: evaluationDataNumber ?? null,
        }
      : null,
  }
}

function launchSection({ body }: TdxQuote): PageSection {
  const { names } = decodeTdAttributes(body.tdAttributes)
  const underDebug = isUnderDebug(body.tdAttributes)
  return {
    title: 'The TD',
    rows: [
      row('MRTD', hexOrZeros(body.mrTd)),
      ...body.rtmrs.map((rtmr, index) => row(`RTMR${index}`, hexOrZeros(rtmr))),
      row('REPORTDATA', hexOrZeros(body.reportData)),
      row(
        'TDATTRIBUTES',
        littleEndian(body.tdAttributes),
        `${underDebug ? 'UNDER DEBUG: the host can read its memory; ' : ''}${names.join(', ') || 'none set'}`,
      ),
      row('XFAM', littleEndian(body.xfam)),
      row('MRCONFIGID', hexOrZeros(body.mrConfigId)),
      row('MROWNER', hexOrZeros(body.mrOwner)),
      row('MROWNERCONFIG', hexOrZeros(body.mrOwnerConfig)),
      ...(body.mrServiceTd ? [row('MRSERVICETD', hexOrZeros(body.mrServiceTd))] : []),
    ],
  }
}

function platformSection({ body, qeReport }: TdxQuote): PageSection {
  return {
    title: 'The platform',
    rows: [
      row('TEE_TCB_SVN', hexOf(body.teeTcbSvn)),
      ...(body.teeTcbSvn2 ? [row('TEE_TCB_SVN_2', hexOf(body.teeTcbSvn2))] : []),
      row('MRSEAM', hexOrZeros(body.mrSeam)),
      row('quoting enclave', `ISVPRODID ${qeReport.isvProdId}, ISVSVN ${qeReport.isvSvn}`),
    ],
  }
}

function tcbSection({ pck, tcb, evaluationDataNumber }: VerifiedTdxQuote): PageSection {
  const platform = row('FMSPC', hexOf(pck.fmspc), `PCEID ${hexOf(pck.pceId)}, PCESVN ${pck.pceSvn}`)
  if (tcb === undefined)
    return { title: 'Its TCB', rows: [platform, row('status', 'unknown', 'no collateral was given')] }
  const dated = (date: Date | undefined) => (date ? `level of ${date.toISOString().slice(0, 10)}` : '')
  return {
    title: 'Its TCB',
    rows: [
      platform,
      row('status', tcb.status, `tcbEvaluationDataNumber ${evaluationDataNumber}`),
      row('platform', tcb.platform.status, dated(tcb.platform.tcbDate)),
      row('module', `${tcb.module.id}: ${tcb.module.status}`, dated(tcb.module.tcbDate)),
      row('quoting enclave', tcb.qe.status, dated(tcb.qe.tcbDate)),
      row('advisories', tcb.advisoryIds.join(', ') || 'none'),
    ],
  }
}

function vouchers({ pckChain, root, tcb, findings }: VerifiedTdxQuote): readonly Voucher[] {
  const [leaf, ...issuers] = pckChain
  const authorities = issuers.map(shortName)
  const uncheckedLists = findings.find(({ code }) => code === 'crl-missing')
  return [
    holds(
      'the attestation key signed header and TD report; the quoting enclave bound that key to its report',
    ),
    holds(
      `the PCK certificate's key signed the enclave's report; it is valid until ${leaf ? day(leaf.notAfter) : 'never'}`,
    ),
    holds(
      `${authorities.join(', ')}, then ${root.anchor.label}${root.simulated ? ' (SIMULATED)' : ' (pinned)'}`,
    ),
    tcb
      ? holds('TCB info and QE identity, signed by the same root')
      : open('TCB status: no collateral was given'),
    uncheckedLists === undefined
      ? holds('revocation: no certificate of the path is on the list of its issuer')
      : open(`revocation: ${uncheckedLists.expected}, got ${uncheckedLists.got}`),
  ]
}
