import { VerifyError } from '../../base/errors.ts'

/**
 * What a vTPM's endorsement needs of a hardware report that has been *verified*: nothing here looks at its signature.
 * REPORT_DATA of 64 bytes, VMPL 0 to 3: AMD 56860, table 23; Intel TDX module ABI, TDREPORT.
 */
export type EndorsingReport =
  /** `vmpl`: who asked, as the report says; `host` is the hypervisor. */
  | { readonly kind: 'snp'; readonly reportData: Uint8Array; readonly vmpl: number | 'host' }
  | { readonly kind: 'tdx'; readonly reportData: Uint8Array }

/**
 * What runs the vTPM is more privileged than the guest's kernel. The kernel can have reports of its own, about any
 * REPORT_DATA, but not for VMPL 0: so only such a one speaks for the vTPM. Throws VerifyError `binding-mismatch`.
 */
export function mustBeMostPrivileged(report: EndorsingReport): void {
  if (report.kind !== 'snp' || report.vmpl === 0) return
  throw bindingMismatch('the report was asked for by software of a lower privilege level than the vTPM has', {
    expected: 'VMPL 0',
    got: `VMPL ${report.vmpl}`,
  })
}

/** VerifyError `binding-mismatch` of a vTPM. */
export function bindingMismatch(
  problem: string,
  values: { readonly expected: string; readonly got: string },
): VerifyError {
  return new VerifyError(`cannot endorse the vTPM: ${problem}`, { code: 'binding-mismatch', ...values })
}
