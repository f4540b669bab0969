/** The first member of a bundle: what it is about, what else is in it, and what is not. */
import { z } from 'zod'
import { FormatError } from '../base/errors.ts'
import { PLATFORM_IDS } from '../platforms/platform-id.ts'
import { isMemberPath, MOST_MEMBER_BYTES, MOST_MEMBERS, MOST_TOTAL_BYTES } from './limits.ts'
import { SECRET_KINDS } from './secrets.ts'

export const MANIFEST_PATH = 'manifest.json'
export const BUNDLE_KIND = 'attestbed-bundle'
/** Readers refuse a higher one. */
export const BUNDLE_VERSION = 1

const text = (most: number) => z.string().max(most)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const bytes = z.number().int().min(0)
const id = z.string().regex(/^[\w.+-]{1,64}$/)

/** What ends so would be a file that describes an image; a path in a bundle is not followed. */
const image = id.refine((text) => !/\.ya?ml$/i.test(text), 'an id is required, no file')

const variant = z.strictObject({
  platform: z.enum(PLATFORM_IDS),
  emulatedOn: z.enum(PLATFORM_IDS).exactOptional(),
  vtpm: z.enum(['stateful', 'stateless', 'none']),
  firmware: id,
  image,
  qemu: text(4096),
  vcpus: z.number().int().min(1).max(1024),
  memoryMiB: z
    .number()
    .int()
    .min(1)
    .max(16 * 2 ** 20),
})

const signature = z.strictObject({
  scenario: text(128),
  variant,
  outcome: z.enum(['pass', 'fail', 'error', 'skip']),
  falseClaims: z
    .array(z.strictObject({ id: text(64), claim: text(4096), expected: text(65536), got: text(65536) }))
    .max(256),
  errorCode: text(64).optional(),
  reason: text(65536),
  console: z.array(text(16384)).max(100),
  digest: sha256,
})

const material = z.strictObject({
  role: text(32),
  name: text(256),
  bytes,
  sha256: sha256.optional(),
  /** Where it is carried; absent: it is to be had from its recipe or its package. */
  member: text(256).optional(),
})

const member = z.strictObject({
  path: z.string().refine(isMemberPath, 'a relative path of plain letters is required'),
  bytes: bytes.max(MOST_MEMBER_BYTES),
  sha256,
  /** As it was before something was masked in it. */
  original: sha256.optional(),
})

const manifestSchema = z.strictObject({
  kind: z.literal(BUNDLE_KIND),
  version: z.literal(BUNDLE_VERSION),
  /** Version of the attestbed that made it. */
  madeBy: text(64),
  /** ISO 8601, UTC. */
  made: text(40),
  scenario: z.strictObject({
    id: z.string().regex(/^[a-z0-9-]{1,64}\/[a-z0-9-]{1,64}$/),
    title: text(1024),
    sourceSha256: sha256.optional(),
  }),
  variant,
  /** Words of the command line that started the run; shown and never run. */
  argv: z.array(text(4096)).max(256),
  sampling: z
    .strictObject({
      seed: z
        .number()
        .int()
        .min(0)
        .max(2 ** 32 - 1),
      states: z.union([
        z.strictObject({ first: z.number().int().min(1).max(1e6), last: z.number().int().min(1).max(1e6) }),
        z.literal('all'),
      ]),
      order: z
        .string()
        .regex(/^[0-9a-f]{8}$/)
        .exactOptional(),
    })
    .optional(),
  tools: z.strictObject({ kind: z.enum(['tree', 'host']), digest: sha256 }).optional(),
  signature,
  /** Basis of every claim that was decided. */
  claims: z.array(z.strictObject({ id: text(64), basis: text(32), outcome: text(16) })).max(256),
  materials: z.array(material).max(1024),
  members: z
    .array(member)
    .max(MOST_MEMBERS)
    .refine(areDifferent, 'a path is there twice')
    .refine((all) => all.reduce((sum, each) => sum + each.bytes, 0) <= MOST_TOTAL_BYTES, {
      error: `the members take more than ${MOST_TOTAL_BYTES} bytes`,
    }),
  leftOut: z.array(z.strictObject({ what: text(512), bytes, reason: text(512) })).max(MOST_MEMBERS),
  scrubbed: z
    .array(z.strictObject({ member: text(256), kind: z.enum(SECRET_KINDS), count: z.number().int().min(1) }))
    .max(MOST_MEMBERS),
  /** Kinds that were asked for by name and so are not masked. */
  included: z.array(z.enum(SECRET_KINDS)).max(SECRET_KINDS.length),
})

export type Manifest = z.infer<typeof manifestSchema>
export type BundleMember = Manifest['members'][number]
export type BundledMaterial = Manifest['materials'][number]

/** File systems that ignore case would have one overwrite the other; nor may one be a folder of the other. */
function areDifferent(members: readonly { readonly path: string }[]): boolean {
  const paths = members.map(({ path }) => path.toLowerCase())
  const files = new Set([...paths, MANIFEST_PATH])
  return (
    files.size === paths.length + 1 &&
    paths.every((path) =>
      path.split('/').every((_, depth, parts) => depth === 0 || !files.has(parts.slice(0, depth).join('/'))),
    )
  )
}

/** `content`: untrusted. Throws FormatError `bad-magic` for something else, `bad-value` with the place of a mistake. */
export function parseManifest(content: Uint8Array): Manifest {
  const value = parseJson(content)
  const { kind, version } = value
  if (kind !== BUNDLE_KIND)
    throw refusal(`it is no bundle: kind is ${shown(kind)}, "${BUNDLE_KIND}" is required`, 'bad-magic')
  if (version !== BUNDLE_VERSION)
    throw refusal(
      typeof version === 'number' && version > BUNDLE_VERSION
        ? `it has version ${version}, made by a newer attestbed; this one reads version ${BUNDLE_VERSION}`
        : `version is ${shown(version)}, ${BUNDLE_VERSION} is required`,
    )
  const parsed = manifestSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw refusal(`${issue?.path.join('.') || 'the document'}: ${issue?.message ?? 'it is not as required'}`)
}

function parseJson(content: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(content))
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>
  } catch (cause) {
    throw refusal(`it is no JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
  throw refusal('it is no JSON object')
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'missing').slice(0, 60)
}

function refusal(reason: string, code: 'bad-magic' | 'bad-value' = 'bad-value'): FormatError {
  return new FormatError(`cannot read ${MANIFEST_PATH} of the bundle: ${reason}`, {
    ...{ code, field: MANIFEST_PATH, offset: 0 },
  })
}
