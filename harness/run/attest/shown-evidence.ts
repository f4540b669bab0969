/** What a scenario's broker was shown and what it made of it, for the record of the run. */
import type { AttestRecord } from '../../broker/index.ts'
import { readableEvidence } from '../collect-evidence.ts'
import type { EvidenceText } from '../events.ts'
import { judgedPage } from '../judged-page.ts'

/** Guests that attest at once, in one scenario. */
const MOST_KEPT = 16

export class ShownEvidence {
  readonly #show: (page: EvidenceText) => void
  /** By the digest that the record will name. */
  readonly #kept = new Map<string, string>()

  constructor(show: (page: EvidenceText) => void) {
    this.#show = show
  }

  /** `text`: JSON, as it was sent. */
  keep(digest: string, text: string): void {
    this.#kept.set(digest, text)
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > MOST_KEPT && oldest !== undefined) this.#kept.delete(oldest)
  }

  /** Shows what was decided on: decoded where the broker kept it, which it does of what is authentic alone. */
  async decided(record: AttestRecord): Promise<void> {
    const text = this.#kept.get(record.evidence.primary)
    this.#kept.delete(record.evidence.primary)
    const decoded = text === undefined ? undefined : await decode(record.tee, text)
    for (const verdict of record.verdicts) {
      const page = decoded && {
        ...decoded,
        ...(verdict.authentic && { vouchedBy: [{ state: 'holds', text: VOUCHED } as const] }),
      }
      this.#show(judgedPage(page ?? unseen(record), verdict, `for ${verdict.resources.join(', ')}`))
    }
    if (record.verdicts.length === 0) this.#show(refused(record))
  }
}

const VOUCHED = "the broker verified it up to a root of its policy, and its binding to the guest's key"

/** Undefined for what has not the form of its TEE's: a record for people must not keep the broker from answering. */
async function decode(tee: string, text: string): Promise<EvidenceText | undefined> {
  const { supportedTee } = await import('../../broker/evidence/primary-evidence.ts')
  try {
    return await readableEvidence(supportedTee(tee).read(JSON.parse(text)).bytes)
  } catch {
    return undefined
  }
}

function unseen({ tee, evidence }: AttestRecord): EvidenceText {
  const rows = [{ label: 'SHA-256', value: evidence.primary }]
  return {
    title: `evidence of ${tee || 'an unknown TEE'}`,
    says: [{ title: 'As it was sent, not kept', rows }],
    vouchedBy: [],
  }
}

function refused(record: AttestRecord): EvidenceText {
  const { title, says } = unseen(record)
  const rows = [{ label: 'refused', value: record.code ?? 'without a reason' }]
  return { title: `${title}: not looked at`, says: [{ title: 'Verdict', rows }, ...says], vouchedBy: [] }
}
