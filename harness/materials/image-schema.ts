/** How the YAML files of images say what an image description says. */
import { z } from 'zod'

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

/** The keys that built and brought images share. */
export const commonShape = {
  id: imageId,
  title: singleLine,
  login: loginSchema,
  shutDown: singleLine.default('systemctl poweroff').describe('command that powers off'),
  reboot: singleLine.default('systemctl reboot').describe('command that resets'),
  timeouts: timeoutsSchema.default({ bootSeconds: 300, shutDownSeconds: 90 }),
}

function isPattern(source: string): boolean {
  try {
    new RegExp(source)
    return true
  } catch {
    return false
  }
}
