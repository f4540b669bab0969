/** What a scenario needs to know of an image, whoever built it: how to log in, how it ends, what it can do. */
import type { z } from 'zod'
import type { loginSchema, timeoutsSchema } from './image-schema.ts'

/** What scenarios may ask of an image; one that lacks something is skipped, and the report says what. */
export const IMAGE_CAPABILITIES = [
  'login',
  'luks-root',
  'recovery-key',
  'tpm2-tools',
  'own-uki',
  'offline-sealing',
  'plain-partition',
  /** Updates itself between two UKIs, and tells on its console how. */
  'ab-slots',
  /** Its initrd takes in credentials and system extensions, as systemd does. */
  'stub-companions',
  /** Its initrd gets the root's key from the broker that its measured command line names. */
  'attester',
  /** Its root is in clear under a hash tree whose root hash is on the measured command line. */
  'verity-root',
  /** Answers TLS clients with evidence for the key of its TLS, which it makes at each boot. */
  'attested-service',
] as const
export type ImageCapability = (typeof IMAGE_CAPABILITIES)[number]

/** What systemd-cryptsetup asks, in the initrd of any distribution. */
export const UNLOCK_PROMPT = 'Please enter (the )?(recovery key|passphrase|password)[^:]*: *'

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
  /** Size of the disk that a VM of it sees, so how large its overlay can grow; absent for a brought one: not looked at yet. */
  readonly diskMiB?: number
}
