/** What a scenario needs to know of an image, whoever built it: how to log in, how it ends, what it can do. */
import { z } from 'zod'

/** What scenarios may ask of an image; one that lacks something is skipped, and the report says what. */
export const IMAGE_CAPABILITIES = [
  'login',
  'luks-root',
  'recovery-key',
  'tpm2-tools',
  'own-uki',
  'offline-sealing',
  'plain-partition',
] as const
export type ImageCapability = (typeof IMAGE_CAPABILITIES)[number]

export const imageId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, 'lower-case letters, digits, "." and "-", at most 63')

/** A regular expression over console output. */
export const pattern = z.string().min(1).refine(isPattern, 'not a regular expression')

const seconds = z.number().int().min(1).max(86_400)
const singleLine = z
  .string()
  .min(1)
  .regex(/^[^\n\r]*$/, 'one line')

/** The patterns are the same for both kinds, so that a description can say what is unusual only. */
export const loginSchema = z
  .strictObject({
    kind: z
      .enum(['automatic', 'password'])
      .describe('automatic: a root shell appears by itself; password: user and password are typed'),
    user: singleLine.optional(),
    password: singleLine.optional().describe('in clear; only for images without secrets'),
    passwordFile: z
      .string()
      .min(1)
      .optional()
      .describe('first line of this file; relative to the description'),
    loginPrompt: pattern.default('login: *$'),
    passwordPrompt: pattern.default('[Pp]assword: *$'),
    shellPrompt: pattern.default('[#$] *$'),
  })
  .superRefine((login, context) => {
    if (login.kind === 'automatic') return
    if (login.user === undefined) context.addIssue({ code: 'custom', message: 'kind "password" needs user' })
    if ((login.password === undefined) === (login.passwordFile === undefined))
      context.addIssue({ code: 'custom', message: 'kind "password" needs one of password and passwordFile' })
  })

export const timeoutsSchema = z.strictObject({
  bootSeconds: seconds.default(300).describe('from power-on to the login prompt, on a host without KVM'),
  shutDownSeconds: seconds.default(90),
})

/** What systemd-cryptsetup asks, in the initrd of any distribution. */
export const UNLOCK_PROMPT = 'Please enter (the )?(recovery key|passphrase|password)[^:]*: *'

/** The keys that built and brought images share. */
export const commonShape = {
  id: imageId,
  title: singleLine,
  login: loginSchema,
  shutDown: singleLine.default('systemctl poweroff').describe('command that powers off'),
  reboot: singleLine.default('systemctl reboot').describe('command that resets'),
  timeouts: timeoutsSchema.default({ bootSeconds: 300, shutDownSeconds: 90 }),
}

/** Whose keys the variable store holds when the image boots with Secure Boot. */
export type SecureBootKeys = 'checkout' | 'microsoft' | 'off'

export interface ImageDescription {
  readonly id: string
  readonly title: string
  /** `built`: by a recipe in images/; `brought`: somebody's disk. */
  readonly origin: 'built' | 'brought'
  /** Absolute path of the file that says all this. */
  readonly file: string
  readonly login: z.infer<typeof loginSchema>
  readonly shutDown: string
  readonly reboot: string
  readonly timeouts: z.infer<typeof timeoutsSchema>
  readonly secureBoot: SecureBootKeys
  /** How the encrypted root asks for its key at the console, as a regular expression; absent: it is not encrypted. */
  readonly unlockPrompt?: string
  /** File with the key that opens it, absolute; absent: every VM gets one of its own, or there is none. */
  readonly unlockKeyFile?: string
  /** Label of an unencrypted partition with a file system; absent: there is none. */
  readonly plainPartition?: string
  readonly capabilities: ReadonlySet<ImageCapability>
}

function isPattern(source: string): boolean {
  try {
    new RegExp(source)
    return true
  } catch {
    return false
  }
}
