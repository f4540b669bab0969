/** The evidence of the TEE itself: one entry a TEE, and nothing else knows their names. */
import { z } from 'zod'
import type { EvidenceKind } from '../../evidence/kind.ts'
import { BrokerRefusal } from '../refusal.ts'
import { base64Of } from './base64.ts'
import { snpEvidence, snpEvidenceSchema } from './snp-evidence.ts'

/** Evidence in its binary form, nothing of it verified. */
export interface PrimaryEvidence {
  readonly kind: EvidenceKind
  /** Of a policy. */
  readonly section: 'snp' | 'tdx'
  readonly bytes: Uint8Array
  /** TDX: the firmware's log (CCEL), which the quote's registers cover. */
  readonly eventLog: Uint8Array | undefined
}

interface Tee {
  /** Throws BrokerRefusal `malformed-request`. */
  readonly read: (value: unknown) => PrimaryEvidence
  /** Bytes of the register that init data is bound to. */
  readonly initDataBytes: number
}

/** Trustee's attester sends `quote` and `cc_eventlog`; configfs-tsm has the quote as `outblob`. */
const tdxEvidenceSchema = z.union([
  z.object({ outblob: z.string(), cc_eventlog: z.string().nullish() }),
  z.object({ quote: z.string(), cc_eventlog: z.string().nullish() }),
])

/** By the names of virtee/kbs-types, `Tee`. `sample` is not among them: it proves nothing. */
const TEES: Readonly<Record<string, Tee>> = {
  snp: { read: (value) => snpEvidence(shaped(value, snpEvidenceSchema)), initDataBytes: 32 },
  tdx: { read: (value) => tdxEvidence(shaped(value, tdxEvidenceSchema)), initDataBytes: 48 },
}

/** Throws BrokerRefusal `unsupported-tee`. */
export function supportedTee(name: string): Tee {
  const tee = Object.hasOwn(TEES, name) ? TEES[name] : undefined
  if (tee) return tee
  throw new BrokerRefusal(
    'unsupported-tee',
    `evidence of this TEE is not verified: one of ${Object.keys(TEES).join(', ')} is`,
  )
}

function tdxEvidence(value: z.output<typeof tdxEvidenceSchema>): PrimaryEvidence {
  const bytes = 'quote' in value ? base64Of(value.quote, 'quote') : base64Of(value.outblob, 'outblob')
  const eventLog = value.cc_eventlog ? base64Of(value.cc_eventlog, 'cc_eventlog') : undefined
  return { kind: 'tdx-quote', section: 'tdx', bytes, eventLog }
}

function shaped<Schema extends z.ZodType>(value: unknown, schema: Schema): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new BrokerRefusal('malformed-request', 'primary_evidence does not have a form of its TEE')
}
