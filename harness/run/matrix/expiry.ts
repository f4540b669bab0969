/** Beside the reader of matrices, which brings YAML and its schema: a run without a matrix starts without them. */
import type { MatrixMark } from './file.ts'

/** `today`: ISO 8601. A mark holds up to and with its last day. */
export function isExpired({ until }: Pick<MatrixMark, 'until'>, today: string): boolean {
  return until !== undefined && until < today
}
