/** What a broker's audit log says of a scenario's guests, in a form for claims. Pure. */
import type { AuditRecord, RootStatement } from '../../broker/index.ts'

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

/** One time that evidence was decided on. Digests are SHA-256, hex. */
export interface Attestation {
  /** Of the TEE's evidence, as it was sent. */
  readonly evidence: string
  /** Of the public areas of EK and AK; undefined where evidence of no vTPM came. */
  readonly vtpm: { readonly ek: string; readonly ak: string } | undefined
  /** What any policy found wrong with it, in words: which register, which image. */
  readonly findings: readonly string[]
  /** Whether its session got a resource. */
  readonly released: boolean
  /** Those resources. */
  readonly resources: readonly string[]
  /** What the guest said of its root: proven only where `resources` has one that is released for just that. */
  readonly root: RootStatement | undefined
}

export function attestationsOf(records: readonly AuditRecord[]): readonly Attestation[] {
  const left = records.flatMap((record) =>
    record.event === 'resource' && record.outcome === 'released' ? [record] : [],
  )
  return records.flatMap((record) => {
    if (record.event !== 'attest') return []
    const resources = left.filter(({ session }) => session === record.session).map(({ resource }) => resource)
    return {
      ...{ evidence: record.evidence.primary, vtpm: record.tpm, root: record.root },
      findings: record.verdicts.flatMap(({ findings }) => findings.map(({ message }) => message)),
      ...{ released: resources.length > 0, resources },
    }
  })
}

/** Refusals that follow from findings. */
const GENERAL: ReadonlySet<string> = new Set(['policy-denied', 'not-authentic'])
