/**
 * The events as a schema, for whoever reads a stream that may be damaged, foreign or of another version. The published
 * file `events.schema.json` is made from it, and the compiler checks that it says what `events.ts` says.
 */
import { z } from 'zod'
import { PLATFORM_IDS } from '../platforms/platform-id.ts'
import { EVENT_SCHEMA_VERSION, OLDEST_READABLE_EVENTS, PHASES, type RunEvent } from './events.ts'

const text = z.string()
const count = z.number().int().nonnegative()
const list = <Item extends z.ZodType>(item: Item) => z.array(item).readonly()
const maybe = <Value extends z.ZodType>(value: Value) => z.exactOptional(value)

const variant = z.strictObject({
  platform: z.enum(PLATFORM_IDS),
  vtpm: z.enum(['stateful', 'stateless', 'none']),
  ...{ firmware: text, image: text, qemu: text, vcpus: count, memoryMiB: count },
  emulatedOn: maybe(z.enum(PLATFORM_IDS)),
})

const basis = z.enum(['hardware', 'rehearsed', 'emulated', 'predicted'])
const claim = z.strictObject({
  ...{ id: text, claim: text, basis, outcome: z.enum(['pass', 'fail', 'skip']), expected: text, got: text },
})

const boot = {
  ...{ number: count, process: count, slot: text, entry: text },
  refused: list(z.strictObject({ entry: text, why: text })),
  ending: z.enum([
    ...(['running', 'reset', 'power-off', 'panic', 'watchdog', 'gave-up', 'unhealthy'] as const),
    ...(['nothing-bootable', 'cut'] as const),
  ]),
  unlocked: z.boolean(),
  pcrs: z.record(text, text).readonly(),
  why: z.enum([
    ...(['opened', 'foreign-tpm', 'policy-mismatch', 'no-pcr-signature', 'pcr-signature-missing'] as const),
    ...([
      'nothing-sealed',
      'no-tpm',
      'altered-image',
      'not-attested',
      'access-denied',
      'nothing-bootable',
      'unknown',
    ] as const),
  ]),
  words: text,
}

const brokenAttempt = z.strictObject({ reason: text, seconds: z.number(), dir: text, claims: list(claim) })

const scenarioResult = z.strictObject({
  ...{ scenario: text, variant, outcome: z.enum(['pass', 'fail', 'error', 'skip']), reason: text },
  hint: maybe(text),
  ...{ seconds: z.number(), claims: list(claim) },
  boots: maybe(list(z.strictObject({ ...boot, vm: text }))),
  ...{ dir: text, attempts: count },
  broken: maybe(list(brokenAttempt)),
  repetition: maybe(count),
  unstable: maybe(text),
})

/** What `result.json` of a run holds. */
export const runResultSchema = z.strictObject({
  results: list(scenarioResult),
  expired: maybe(list(z.strictObject({ place: text, reason: text, until: text, variants: count }))),
  otherShards: maybe(count),
})

const planned = list(
  z.strictObject({ key: text, scenario: text, variant, repetition: maybe(z.number().int().positive()) }),
)

const host = z.strictObject({
  ...{ name: text, system: text, processor: text, cores: count, memoryMiB: count, attestbed: text },
})

const registerDifference = z.strictObject({
  name: text,
  verdict: z.enum(['equal', 'different', 'log-disagrees', 'unknown']),
  ...{ predicted: maybe(text), seen: maybe(text) },
  events: list(
    z.strictObject({
      same: z.boolean(),
      predicted: maybe(z.strictObject({ type: text, what: text, digest: maybe(text) })),
      logged: maybe(z.strictObject({ type: text, digest: text })),
    }),
  ),
})

const evidenceText = z.strictObject({
  title: text,
  says: list(
    z.strictObject({
      title: text,
      rows: list(z.strictObject({ label: text, value: text, note: maybe(text) })),
    }),
  ),
  vouchedBy: list(z.strictObject({ state: z.enum(['holds', 'open']), text })),
})

const at = z.number().describe('milliseconds since the epoch')
const argv = list(text)

function event<Type extends string, Shape extends z.ZodRawShape>(type: Type, shape: Shape) {
  return z.strictObject({ type: z.literal(type), at, ...shape })
}

function ofScenario<Type extends string, Shape extends z.ZodRawShape>(type: Type, shape: Shape) {
  return z.strictObject({ type: z.literal(type), at, key: text, ...shape })
}

export const eventSchema = z.discriminatedUnion('type', [
  event('run-started', {
    version: z.literal(EVENT_SCHEMA_VERSION),
    ...{ directory: text, planned, jobs: count, host: maybe(host) },
  }),
  event('run-extended', { planned }),
  ofScenario('scenario-started', {
    ...{ scenario: text, title: text, variant, directory: text, attempt: count },
    isSampled: maybe(z.literal(true)),
  }),
  ofScenario('phase', { vm: text, phase: z.enum(PHASES) }),
  ofScenario('vm-started', { vm: text, argv }),
  ofScenario('qmp-event', { vm: text, name: text, data: text }),
  ofScenario('host-action', { vm: text, text }),
  ofScenario('registers', { vm: text, bank: text, registers: list(registerDifference) }),
  ofScenario('evidence', { vm: text, page: evidenceText }),
  ofScenario('command-lines', { commands: list(argv) }),
  ofScenario('guest-command', { vm: text, argv }),
  ofScenario('console-line', { vm: text, line: text }),
  ofScenario('vm-ended', { vm: text, kind: text, reason: text, consoleTail: text }),
  ofScenario('boot-ended', { vm: text, boot: z.strictObject(boot), line: text }),
  ofScenario('note', { text }),
  ofScenario('claim', { result: claim }),
  ofScenario('attempt-ended', { result: scenarioResult }),
  ofScenario('scenario-ended', { result: scenarioResult }),
  event('run-note', { text }),
  event('run-ended', { result: runResultSchema }),
])

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false
/** Does not compile where the two differ. */
export const SCHEMA_IS_THE_TYPE: Same<z.infer<typeof eventSchema>, RunEvent> = true

const readable = z.number().int().min(OLDEST_READABLE_EVENTS).max(EVENT_SCHEMA_VERSION)
/** First line of a scenario's own stream. */
const logStarted = event('log-started', { version: z.literal(EVENT_SCHEMA_VERSION) })

/** First line of any stream that can be read, whichever version wrote it. */
export const streamHeaderSchema = z.looseObject({
  type: z.enum(['run-started', 'log-started']),
  version: readable,
})

/** The JSON Schema of a line of `events.jsonl`: what `events.schema.json` holds. */
export function eventsJsonSchema(): object {
  return z.toJSONSchema(z.union([eventSchema, logStarted]), { io: 'input', reused: 'ref' })
}
