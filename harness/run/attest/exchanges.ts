/** What a broker's audit log says of a scenario's guests, in a form for claims. Pure. */
import type { AuditRecord } from '../../broker/index.ts'

export interface ExchangeSummary {
  /** Attestations that were decided. */
  readonly attested: number
  readonly refused: number
  /** How often a resource left the broker. */
  readonly released: number
  /** Why not, each once: codes of the findings, else of the refusals; sorted. */
  readonly codes: readonly string[]
}

export function summarize(records: readonly AuditRecord[]): ExchangeSummary {
  const decisions = records.filter((record) => record.event === 'attest')
  const resources = records.filter((record) => record.event === 'resource')
  const findings = decisions.flatMap(({ verdicts }) => verdicts.flatMap((verdict) => verdict.findings))
  const codes = findings.map(({ code }) => code)
  // A policy that denies says no more than the findings do.
  const others = [...decisions, ...resources].flatMap(({ code }) =>
    code === undefined || (codes.length > 0 && GENERAL.has(code)) ? [] : [code],
  )
  return {
    attested: decisions.filter(({ outcome }) => outcome === 'attested').length,
    refused: decisions.filter(({ outcome }) => outcome === 'refused').length,
    released: resources.filter(({ outcome }) => outcome === 'released').length,
    codes: [...new Set([...codes, ...others])].sort(),
  }
}

/** Refusals that follow from findings. */
const GENERAL: ReadonlySet<string> = new Set(['policy-denied', 'not-authentic'])
