/** Files that a policy names become the values that they stand for, before anything is appraised. */
import { createPublicKey, X509Certificate } from 'node:crypto'
import { sha256Hex } from '../../base/digest.ts'
import { UsageError } from '../../base/errors.ts'
import type { DatabasePolicy, EventLogPolicy, TpmPolicy } from './measured-boot.ts'
import type { Policy } from './schema.ts'
import type { SnpPolicy } from './snp.ts'
import type { TdxPolicy } from './tdx.ts'
import type { Binding, BindingPart, Fingerprint } from './values.ts'

/** `T` without the alternatives that name a file. */
type WithoutFiles<T> = T extends { file: string }
  ? never
  : T extends readonly (infer Item)[]
    ? readonly WithoutFiles<Item>[]
    : T extends object
      ? { readonly [Key in keyof T]: WithoutFiles<T[Key]> }
      : T

/** A policy whose files have been read: what appraisal takes. */
export type ResolvedPolicy = WithoutFiles<Policy>
/** Its section `snp`. */
export type ResolvedSnpPolicy = WithoutFiles<SnpPolicy>
/** Its section `tdx`. */
export type ResolvedTdxPolicy = WithoutFiles<TdxPolicy>
/** Its section `tpm`. */
export type ResolvedTpmPolicy = WithoutFiles<TpmPolicy>
/** Its section `eventLog`. */
export type ResolvedEventLogPolicy = WithoutFiles<EventLogPolicy>
/** A binding whose files are bytes in hex. */
export type ResolvedBinding = WithoutFiles<Binding>

/** Content of a file that the policy names, as it spells it. */
export type ReadFile = (name: string) => Promise<Uint8Array>

/**
 * Reads each file that the policy names as `read` gives it; a certificate or key becomes the SHA-256 of its
 * SubjectPublicKeyInfo (RFC 5280, 4.1.2.7). Throws what `read` throws, and UsageError `bad-config` for a file that
 * holds neither.
 */
export async function resolveFiles(policy: Policy, read: ReadFile): Promise<ResolvedPolicy> {
  const { snp, tdx, tpm, eventLog, ...rest } = policy
  return {
    ...rest,
    // What was to be predicted and was not stays, and is a finding.
    ...(snp && { snp: (await withReportData(snp, read)) as unknown as ResolvedSnpPolicy }),
    ...(tdx && { tdx: withoutDocuments(await withReportData(tdx, read)) }),
    ...(tpm && { tpm: await resolveTpm(tpm, read) }),
    ...(eventLog && { eventLog: await resolveEventLog(eventLog, read) }),
  }
}

async function withReportData<Section extends { readonly reportData?: Binding | undefined }>(
  { reportData, ...rest }: Section,
  read: ReadFile,
): Promise<Omit<Section, 'reportData'> & { readonly reportData?: ResolvedBinding }> {
  return { ...rest, ...(reportData && { reportData: await resolveBinding(reportData, read) }) }
}

/** Documents of predictions are for whoever predicts to read before this: one that is left would demand nothing. */
function withoutDocuments<Section extends { readonly predictions?: readonly object[] | undefined }>(
  section: Section,
): WithoutFiles<Section> {
  if (section.predictions?.some((item) => 'file' in item))
    throw new UsageError('the policy names a document of predictions, and nobody has read it', {
      code: 'bad-config',
    })
  return section as unknown as WithoutFiles<Section>
}

async function resolveTpm(
  { aks, extraData, ...rest }: TpmPolicy,
  read: ReadFile,
): Promise<ResolvedTpmPolicy> {
  return {
    ...withoutDocuments(rest),
    ...(aks && { aks: await each(aks, (ak) => fingerprint(ak, read, publicKeyDer)) }),
    ...(extraData && { extraData: await resolveBinding(extraData, read) }),
  }
}

async function resolveEventLog(
  { pk, kek, db, dbx, imagesSignedBy, ukiSignedBy, ...rest }: EventLogPolicy,
  read: ReadFile,
): Promise<ResolvedEventLogPolicy> {
  const certificate = (value: Fingerprint) => fingerprint(value, read, certificateDer)
  const database = async ({ exactly, includes }: DatabasePolicy) => ({
    ...(exactly && { exactly: await each(exactly, certificate) }),
    ...(includes && { includes: await each(includes, certificate) }),
  })
  return {
    ...rest,
    ...(pk && { pk: await database(pk) }),
    ...(kek && { kek: await database(kek) }),
    ...(db && { db: await database(db) }),
    ...(dbx && { dbx: await database(dbx) }),
    ...(imagesSignedBy && { imagesSignedBy: await each(imagesSignedBy, certificate) }),
    ...(ukiSignedBy && { ukiSignedBy: await each(ukiSignedBy, certificate) }),
  }
}

async function resolveBinding(binding: Binding, read: ReadFile): Promise<ResolvedBinding> {
  const parts = (names: readonly BindingPart[]) => each(names, (part) => resolvePart(part, read))
  const { value, sha256, sha384, sha512 } = binding
  return {
    ...(value !== undefined && { value }),
    ...(sha256 && { sha256: await parts(sha256) }),
    ...(sha384 && { sha384: await parts(sha384) }),
    ...(sha512 && { sha512: await parts(sha512) }),
  }
}

async function resolvePart(part: BindingPart, read: ReadFile): Promise<'nonce' | { readonly hex: string }> {
  if (part === 'nonce' || 'hex' in part) return part
  return { hex: Buffer.from(await read(part.file)).toString('hex') }
}

async function fingerprint(
  value: Fingerprint,
  read: ReadFile,
  derOf: (bytes: Uint8Array) => Uint8Array,
): Promise<string> {
  if (typeof value === 'string') return value
  const content = await read(value.file)
  try {
    return sha256Hex(derOf(content))
  } catch (cause) {
    throw new UsageError(`${value.file}, which the policy names, holds no certificate or key in PEM or DER`, {
      code: 'bad-config',
      cause,
    })
  }
}

function certificateDer(bytes: Uint8Array): Uint8Array {
  return new X509Certificate(bytes).raw
}

/** SubjectPublicKeyInfo of a public key or of a certificate's key. */
function publicKeyDer(bytes: Uint8Array): Uint8Array {
  const isPem = Buffer.from(bytes.subarray(0, 64)).includes('-----BEGIN')
  const key = isPem
    ? createPublicKey(Buffer.from(bytes))
    : createPublicKey({ key: Buffer.from(bytes), format: 'der', type: 'spki' })
  return key.export({ format: 'der', type: 'spki' })
}

async function each<From, To>(
  items: readonly From[],
  convert: (item: From) => Promise<To>,
): Promise<readonly To[]> {
  return Promise.all(items.map(convert))
}
