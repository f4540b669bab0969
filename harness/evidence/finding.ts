/**
 * What an appraisal found. Every check reports for itself, so that one page shows all that is wrong; the code is what
 * tests assert and tools read.
 */
import { AppraiseError, type Finding } from '../base/errors.ts'

export type { Finding }

/** Closed: a new check is a new code here and a test that provokes it. */
export type FindingCode =
  // any kind
  | 'policy-silent'
  | 'evidence-missing'
  | 'prediction-missing'
  | 'simulated-root'
  | 'nonce-missing'
  | 'revocation-unchecked'
  | 'crl-unused'
  | 'collateral-too-old'
  | 'report-data'
  // SNP
  | 'launch-digest'
  | 'product'
  | 'report-version'
  | 'signing-key'
  | 'chip-id'
  | 'csp-id'
  | 'debug'
  | 'guest-policy'
  | 'platform-info'
  | 'vmpl'
  | 'reported-tcb'
  | 'current-tcb'
  | 'committed-tcb'
  | 'launch-tcb'
  | 'provisional-firmware'
  | 'firmware-version'
  | 'guest-svn'
  | 'mitigations'
  | 'host-data'
  | 'family-id'
  | 'image-id'
  | 'id-key'
  | 'author-key'
  | 'migration-agent'
  // TDX
  | 'mrtd'
  | 'rtmr'
  | 'tcb-status'
  | 'advisory'
  | 'td-attributes'
  | 'xfam'
  | 'mr-seam'
  | 'mr-config-id'
  | 'mr-owner'
  | 'mr-owner-config'
  | 'service-td'
  | 'tee-tcb-svn'
  | 'fmspc'
  | 'tcb-evaluation-number'
  | 'quote-version'
  // TPM and event logs
  | 'bank'
  | 'pcr'
  | 'pcr-not-quoted'
  | 'ak'
  | 'clock'
  | 'reset-count'
  | 'quotes-inconsistent'
  | 'firmware'
  | 'secure-boot'
  | 'key-database'
  | 'image-not-allowed'
  | 'image-signer'
  | 'uki-signer'
  | 'command-line'
  | 'addon'
  | 'phase'
  | 'boot-services'
  | 'event-not-covered'
  | 'runtime-claim'

/**
 * `expected` and `got` must be safe to print: hex, numbers, names of ours, or escaped (`escapeControls`). Never throws.
 */
export function finding(
  code: FindingCode,
  message: string,
  { expected, got }: { readonly expected: string; readonly got: string },
): Finding {
  return { code, message, expected, got }
}

/**
 * Throws AppraiseError `not-acceptable` with all findings where there are any; `what` names the evidence in its
 * message.
 */
export function mustBeAcceptable(what: string, findings: readonly Finding[]): void {
  if (findings.length === 0) return
  const codes = findings.map(({ code }) => code).join(', ')
  throw new AppraiseError(`cannot accept the ${what}: ${findings.length} findings (${codes}), 0 required`, {
    findings,
  })
}
