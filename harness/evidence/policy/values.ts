/** The values that a policy is made of. Hex is given in quotes: YAML reads 0012 as the number ten. */
import { z } from 'zod'

/**
 * Exactly `bytes` bytes as hex digits, in either case; comes out in lower case. ZodError, which `parsePolicy` makes a
 * UsageError with its place.
 */
export function hex(bytes: number): z.ZodType<string, string> {
  return z
    .string({ error: `${bytes} bytes in hex, in quotes` })
    .regex(/^[0-9a-fA-F]*$/, 'only hex digits, without 0x')
    .length(bytes * 2, `${bytes * 2} hex digits (${bytes} bytes)`)
    .transform((text) => text.toLowerCase())
    .describe(`${bytes} bytes in hex, in quotes`)
}

/** At most `bytes` bytes as hex digits, at least one. ZodError as `hex`. */
export function hexUpTo(bytes: number): z.ZodType<string, string> {
  return z
    .string({ error: `1 to ${bytes} bytes in hex, in quotes` })
    .regex(/^(?:[0-9a-fA-F]{2})+$/, 'whole bytes in hex, without 0x')
    .max(bytes * 2, `at most ${bytes * 2} hex digits (${bytes} bytes)`)
    .transform((text) => text.toLowerCase())
    .describe(`1 to ${bytes} bytes in hex, in quotes`)
}

/**
 * One of these values is required. An empty list would refuse everything, which is never meant. ZodError, which
 * `parsePolicy` makes a UsageError with its place.
 */
export function anyOf<Value extends z.ZodType>(value: Value): z.ZodArray<Value> {
  return z.array(value).min(1, 'at least one value; leave the key out to accept any')
}

/** A whole number from 0. */
export const count = z.number().int().min(0)
/** 0 to 255. */
export const byte = count.max(255)

/** The two states of what is forbidden by default. */
export const FORBIDDEN_OR_ALLOWED = ['forbidden', 'allowed'] as const
/** What is forbidden unless the policy allows it. */
export const forbiddenByDefault = z.enum(FORBIDDEN_OR_ALLOWED).optional().describe('default: forbidden')
/** What is required of a bit; a bit that is not named may have either value. */
export const bit = z.enum(['required', 'forbidden']).optional().describe('default: either')

const file = z.string().min(1).describe('relative to the policy file')

const MAX_PART = 1 << 20
/** What goes into a digest, in this order, without separators. */
const part = z.union([
  z.literal('nonce').describe('the bytes of --nonce'),
  z.strictObject({ hex: hexUpTo(MAX_PART) }),
  z.strictObject({ file }),
])

/**
 * REPORT_DATA (64 bytes) or a TPM quote's extraData: a value, or a digest of parts; what is shorter than the field is
 * filled up with zeros at its end. Without this key and with --nonce the field must hold the nonce itself.
 */
export const bindingSchema = z
  .strictObject({
    value: hexUpTo(64).optional(),
    sha256: z.array(part).min(1).optional(),
    sha384: z.array(part).min(1).optional(),
    sha512: z.array(part).min(1).optional(),
  })
  .refine((binding) => Object.keys(binding).length === 1, 'exactly one of value, sha256, sha384 and sha512')
  .optional()

/** What a field must be bound to. */
export type Binding = NonNullable<z.output<typeof bindingSchema>>
/** A part of a digest: the nonce, bytes in hex, or a file. */
export type BindingPart = z.output<typeof part>

/** A certificate (RFC 5280, 4.1) or key (4.1.2.7) by the SHA-256 of its DER, or the file itself (PEM or DER). */
export const fingerprint = z.union([hex(32), z.strictObject({ file })])
/** SHA-256 in hex, or the file that it is of. */
export type Fingerprint = z.output<typeof fingerprint>

/** A section that says nothing would accept what nobody looked at. ZodError as `anyOf`. */
export function saysSomething(section: object | undefined): boolean {
  return section === undefined || Object.keys(section).length > 0
}
/** What is wrong with a section that names nothing. */
export const SAYS_NOTHING = 'requires nothing; name at least one value that the evidence must have'
