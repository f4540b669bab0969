/** The file that `attestbed broker serve` is told by: what stands where, and what is released by which policy. */
import { isIP } from 'node:net'
import { z } from 'zod'
import { UsageError } from '../base/errors.ts'
import { parsePlacedYaml } from '../formats/yaml.ts'
import { rootStatementSchema } from './evidence/root-statement.ts'
import { DELIVERIES } from './release-policy.ts'
import { isResourcePath } from './store/resource-path.ts'

const file = z.string().min(1).describe('relative to this file')
const files = z.array(file).min(1).optional()
const count = (most: number) => z.number().int().min(1).max(most).optional()
const port = z.number().int().min(0).max(65_535)

const listenSchema = z.union([
  z.strictObject({
    host: z
      .string()
      .refine((text) => isIP(text) > 0 || text === 'localhost', 'an IP address, or localhost')
      .optional(),
    port: port.optional(),
  }),
  z.strictObject({ socket: file }),
])

const limitsSchema = z.strictObject({
  ...{ maxPending: count(1_000_000), maxAttested: count(1_000_000), sessionMs: count(86_400_000) },
  ...{ authBytes: count(1 << 20), attestBytes: count(32 << 20), headerBytes: count(1 << 18) },
  ...{ bodiesBytes: count(2 ** 40), strangerBytes: count(32 << 20), stallMs: count(600_000) },
  ...{ headersMs: count(600_000), requestMs: count(600_000), keepAliveMs: count(600_000) },
  ...{ connections: count(100_000), requestsPerSecond: count(1_000_000), burst: count(1_000_000) },
})

const resourceSchema = z.strictObject({
  path: z.string().refine(isResourcePath, '<repository>/<type>/<tag>, each 1 to 64 of A-Z a-z 0-9 . _ -'),
  policy: file.describe('an appraisal policy, as of attestbed verify'),
  ...{ certificates: files, crls: files, collateral: files },
  delivery: z.enum(DELIVERIES).optional(),
  root: z.array(rootStatementSchema).min(1).max(64).optional().describe('what the guest may say of its root'),
})

const configSchema = z.strictObject({
  listen: listenSchema.optional().describe('default: loopback, any free port'),
  tls: z
    .strictObject({ certificate: file, key: file })
    .optional()
    .describe('PEM; without it serve needs --self-signed'),
  store: z.strictObject({ directory: file, key: file }),
  audit: z.strictObject({ log: file, evidence: file.optional() }),
  tokens: z
    .strictObject({ key: file, certificates: file.optional(), issuer: z.string().min(1).max(256).optional() })
    .optional(),
  limits: limitsSchema.optional(),
  resources: z.array(resourceSchema).min(1),
})
/** What the file says, names of files as it spells them. */
export type BrokerConfig = z.output<typeof configSchema>

const MAX_BYTES = 1024 * 1024

/** At most 1 MiB of YAML, as UTF-8. Throws UsageError `bad-config` with line and column; also for a resource that is named twice. */
export function parseBrokerConfig(text: string, { file }: { readonly file: string }): BrokerConfig {
  const bytes = Buffer.byteLength(text)
  if (bytes > MAX_BYTES)
    throw new UsageError(`a configuration of ${bytes} bytes is not read, at most ${MAX_BYTES} are`, {
      ...{ code: 'bad-config', position: { file, line: 1, column: 1 } },
    })
  const { value, positionOf } = parsePlacedYaml(text, { file, schema: configSchema })
  const paths = value.resources.map(({ path }) => path)
  const again = paths.findIndex((path, index) => paths.indexOf(path) !== index)
  if (again < 0) return value
  throw new UsageError(`the resource ${paths[again]} is named twice`, {
    ...{ code: 'bad-config', position: positionOf(['resources', again, 'path']) },
  })
}
