/** One thing that differs between two documents. */
import type { InputName } from '../../measure/documents/document.ts'

export interface Difference {
  /** `input cpu`, `page 0x80d000`, `pages 0x800000 to 0x808fff`, `pcr4 event 3`, `launchDigest`, `package openssl`. */
  readonly where: string
  /** What it is in A against what it is in B. */
  readonly what: string
  /** Inputs that differ and reach this place; empty where none of the known ones explains it. */
  readonly causes: readonly InputName[]
  /** Why, where it is known of a version: "the kernel setup header is no longer rewritten". */
  readonly because?: string
}
